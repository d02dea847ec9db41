import { readFileSync } from 'node:fs';

/** A mapping of this process, from /proc/self/smaps. */
export interface Area {
  readonly start: number;
  readonly end: number;
  /** A count in bytes, by its name: `Rss`, `ShmemPmdMapped`, …; 0 if the kernel has no such count. */
  readonly bytes: (name: string) => number;
  /** VmFlags: `lo`, `nh`, … */
  readonly flags: readonly string[];
}

/** All mappings of this process, in order. Takes milliseconds for large memory. */
export function readSmaps(): Area[] {
  const text = readFileSync('/proc/self/smaps', 'utf8');
  return text.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).map((area) => {
    const start = Number.parseInt(area, 16);
    const end = Number.parseInt(area.slice(area.indexOf('-') + 1), 16);
    return { start, end, bytes: (name) => 1024 * countIn(area, name), flags: flagsIn(area) };
  });
}

function countIn(area: string, name: string): number {
  const line = `\n${name}:`;
  const place = area.indexOf(line);
  return place < 0 ? 0 : Number.parseInt(area.slice(place + line.length), 10);
}

function flagsIn(area: string): string[] {
  const line = '\nVmFlags: ';
  const place = area.lastIndexOf(line);
  return place < 0
    ? []
    : area
        .slice(place + line.length)
        .trim()
        .split(' ');
}
