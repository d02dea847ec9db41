import { errno, fallocate, madvise } from '../../ffi/libc.js';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_REMOVE,
} from '../../uapi/mman.js';

/** The calls that throw memory away, in the order they are tried. */
export const DISCARD_CALLS = [
  'MADV_DONTNEED',
  'MADV_DONTNEED_LOCKED',
  'MADV_REMOVE',
  'PUNCH_HOLE',
] as const;
export type DiscardCall = (typeof DISCARD_CALLS)[number];

/** What a call is made on. Plain data: a worker receives it. */
export interface CallTarget {
  readonly address: number;
  /** The file, of which the range starts at offset 0; -1 for memory without one. */
  readonly fd: number;
  readonly bytes: number;
}

/** Makes one call on a whole range. Returns its errno, or 0. */
export function makeCall(call: DiscardCall, { address, fd, bytes }: CallTarget): number {
  return request(call, address, fd, bytes) < 0 ? errno() : 0;
}

function request(call: DiscardCall, address: number, fd: number, bytes: number): number {
  switch (call) {
    case 'MADV_DONTNEED':
      return madvise(address, bytes, MADV_DONTNEED);
    case 'MADV_DONTNEED_LOCKED':
      return madvise(address, bytes, MADV_DONTNEED_LOCKED);
    case 'MADV_REMOVE':
      return madvise(address, bytes, MADV_REMOVE);
    case 'PUNCH_HOLE':
      return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes);
  }
}
