/** What this machine has, for tests that need it: a reason to skip, or false. */
import { closeSync, openSync } from 'node:fs';
import { totalmem } from 'node:os';
import { describeHost } from '../../src/measure/host.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';

/** Why `/dev/kvm` cannot be used here, or false. */
export function kvmSkip(): string | false {
  try {
    closeSync(openSync('/dev/kvm', 'r+'));
    return false;
  } catch (error) {
    return `needs /dev/kvm: ${(error as Error).message}`;
  }
}

/** Why KVM here does not emulate a guest at CPL0, as it does under shadow paging; or false. */
export function shadowSkip(): string | false {
  return describeHost().paging === 'shadow' ? false : 'needs shadow paging';
}

/** Why KVM here does not leave guest page tables to the CPU (EPT, NPT); or false. */
export function hardwareSkip(): string | false {
  return describeHost().paging === 'hardware' ? false : 'needs hardware paging (EPT or NPT)';
}

/** Why this is not root, or false. */
export function rootSkip(): string | false {
  return process.geteuid?.() === 0 ? false : 'needs root';
}

/** Why userfaultfd, with the features given, cannot be used here, or false. */
export function uffdSkip(features = 0): string | false {
  try {
    Userfaultfd.open(features).close();
    return false;
  } catch (error) {
    return `needs userfaultfd: ${(error as Error).message}`;
  }
}

/** Why `bytes` bytes of sparse guest memory cannot be had here, or false. */
export function memorySkip(bytes: number): string | false {
  return totalmem() >= bytes ? false : `needs a host of ${bytes / 2 ** 30} GiB`;
}

/** Does something without root's privileges, which it must have. */
export function unprivileged<Result>(action: () => Result): Result {
  process.seteuid!(65534); // nobody
  try {
    return action();
  } finally {
    process.seteuid!(0);
  }
}
