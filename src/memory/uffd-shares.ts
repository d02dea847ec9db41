import { UffdCalls } from '../uffd/userfaultfd.js';

/**
 * Which userfaultfd is for which part of guest memory: each for a share of the same size, in the
 * order of their addresses (the last may be shorter). Plain data: workers receive it.
 */
export interface UffdShares {
  readonly fds: readonly number[];
  /** Bytes of a share: a multiple of the fault unit and of 2 MiB. */
  readonly bytes: number;
}

/**
 * The ioctls on ranges of guest memory, each made of the userfaultfd in whose share it lies: a range
 * that spans shares takes several, for they are mappings of their own (ENOENT across them, 6.18).
 * They take host addresses, as those of {@link UffdCalls}.
 */
export class SharedUffdCalls {
  private readonly guestAddress: number;
  private readonly shares: UffdShares;

  constructor({ guestAddress }: { readonly guestAddress: number }, shares: UffdShares) {
    this.guestAddress = guestAddress;
    this.shares = shares;
  }

  register(address: number, bytes: number, modes: number): void {
    this.each(address, bytes, (uffd, at, length) => uffd.register(at, length, modes));
  }

  unregister(address: number, bytes: number): void {
    this.each(address, bytes, (uffd, at, length) => uffd.unregister(at, length));
  }

  wake(address: number, bytes: number): void {
    this.each(address, bytes, (uffd, at, length) => uffd.wake(at, length));
  }

  continueRange(address: number, bytes: number, pageBytes: number, isProtected = false): number {
    let mapped = 0;
    this.each(address, bytes, (uffd, at, length) => {
      mapped += uffd.continueRange(at, length, pageBytes, isProtected);
    });
    return mapped;
  }

  poisonRange(address: number, bytes: number, pageBytes: number): number {
    let marked = 0;
    this.each(address, bytes, (uffd, at, length) => {
      marked += uffd.poisonRange(at, length, pageBytes);
    });
    return marked;
  }

  private each(
    address: number,
    bytes: number,
    visit: (uffd: UffdCalls, address: number, bytes: number) => void,
  ): void {
    const { fds, bytes: shareBytes } = this.shares;
    for (let at = address; at < address + bytes; ) {
      const share = Math.floor((at - this.guestAddress) / shareBytes);
      const end = Math.min(address + bytes, this.guestAddress + (share + 1) * shareBytes);
      visit(new UffdCalls(fds[share]!), at, end - at);
      at = end;
    }
  }
}
