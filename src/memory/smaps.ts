import { readFileSync } from 'node:fs';

/** A mapping of this process, from /proc/self/smaps. */
export interface Area {
  readonly start: number;
  readonly end: number;
  /** Counts in bytes, by name: `Rss`, `ShmemPmdMapped`, … */
  readonly bytes: ReadonlyMap<string, number>;
  /** VmFlags: `lo`, `nh`, … */
  readonly flags: readonly string[];
}

/** All mappings of this process, in order. Takes milliseconds for large memory. */
export function readSmaps(): Area[] {
  const text = readFileSync('/proc/self/smaps', 'utf8');
  return text.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).map((area) => {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(area)!;
    const counts = [...area.matchAll(/^(\w+):\s+(\d+) kB$/gm)];
    const [, flags = ''] = /^VmFlags: (.*)$/m.exec(area) ?? [];
    return {
      start: Number.parseInt(start!, 16),
      end: Number.parseInt(end!, 16),
      bytes: new Map(counts.map(([, name, kilobytes]) => [name!, Number(kilobytes) * 1024])),
      flags: flags.trim().split(' '),
    };
  });
}
