/** What a process holds, to be compared before and after. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A module that some thread of this process is just loading: tap has one that loads them lazily. */
const MODULE = /\/node_modules\/.*\.(?:[cm]?js|json|map)$/;

/** Open descriptors with what they name, but for the one this call opens itself. */
export function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const name = readlinkSync(`/proc/self/fd/${fd}`);
      return MODULE.test(name) ? [] : [`${fd} ${name}`];
    } catch {
      return []; // the descriptor readdir itself was reading from
    }
  });
}

/** Lines of /proc/self/maps that contain `text`, for instance a file's name. */
export function mappingsOf(text: string): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(text));
}

/** Whether any mapping of this process covers `address`. */
export function isMapped(address: number): boolean {
  return mappingsOf('-').some((line) => {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
    return start !== undefined && parseInt(start, 16) <= address && address < parseInt(end!, 16);
  });
}

/** How many threads this process has. */
export function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

/** Descriptors that only a machine opens: those of KVM, userfaultfd, memory files and counters. */
export function machineDescriptors(): string[] {
  return openDescriptors().filter((line) =>
    /anon_inode:.*(kvm|userfaultfd|perf)|\/dev\/kvm|memfd:/.test(line),
  );
}
