/**
 * System calls of this thread that fail because a test says so: with errors that the kernel gives too
 * seldom, or to dying threads only. A seccomp filter hands the calls concerned to another thread,
 * which answers in the kernel's place or lets them go on.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { SyscallError } from '../../src/ffi/errors.js';
import { errno, syscall } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { MADV_POPULATE_WRITE } from '../../src/uapi/mman.js';
import { SYS_ioctl, SYS_madvise, SYS_read } from '../../src/uapi/syscall.js';
import { UFFDIO_API, UFFDIO_CONTINUE, UFFDIO_COPY } from '../../src/uapi/userfaultfd.js';

const SYS_poll = 7;
const SYS_process_vm_readv = 310;
const SYS_seccomp = 317;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_NEW_LISTENER = 8; // since 5.0
const SECCOMP_RET_USER_NOTIF = 0x7fc00000;
const SECCOMP_RET_ALLOW = 0x7fff0000;

// struct seccomp_data
const DATA_NR = 0;
const DATA_ARGS = 16;

// Classic BPF: load a word of seccomp_data, compare and jump, return
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ_K = 0x15;
const BPF_RET_K = 0x06;

/** Which calls can be made to fail: number, and the value that one argument must have. */
export const CALLS = {
  populate: { number: SYS_madvise, argument: 2, value: MADV_POPULATE_WRITE },
  copy: { number: SYS_ioctl, argument: 1, value: UFFDIO_COPY },
  continue: { number: SYS_ioctl, argument: 1, value: UFFDIO_CONTINUE },
  'uffd-api': { number: SYS_ioctl, argument: 1, value: UFFDIO_API },
  'poll-two': { number: SYS_poll, argument: 1, value: 2 },
  'read-messages': { number: SYS_read, argument: 2, value: 512 },
  process_vm_readv: { number: SYS_process_vm_readv, argument: 2, value: 1 },
} as const;

export type CallName = keyof typeof CALLS;

// Words that this thread and the answering one share
export const LISTENER = 0;
/** 1 + index of the call that is to fail; 0: none. */
export const TARGET = 1;
/** How many such calls go on before that. */
export const AFTER = 2;
export const TIMES = 3;
/** The errno; 0 with the bits of `uffdio_api.features` that are to be hidden, low half first. */
export const ERRNO = 4;
export const HIDDEN = 5;
/** Calls that were answered. */
export const ANSWERED = 7;
export const STOP = 8;
export const SHARED_WORDS = 9;

export class FailingCalls {
  private readonly words = new Int32Array(new SharedArrayBuffer(SHARED_WORDS * 4));
  private readonly worker = new Worker(new URL('./failing-thread.js', import.meta.url), {
    workerData: this.words.buffer,
  });

  private constructor() {}

  /** For the calling thread and those it starts, for good: once in a process, and {@link end} last. */
  static async install(): Promise<FailingCalls> {
    const calls = new FailingCalls();
    await once(calls.worker, 'message'); // it was started before the filter: its calls are its own
    Atomics.store(calls.words, LISTENER, installFilter());
    Atomics.notify(calls.words, LISTENER);
    return calls;
  }

  /** The next such calls fail, after some that do not. */
  fail(call: CallName, error: number, { after = 0, times = 1 } = {}): void {
    this.set(call, after, times, error);
  }

  /** The next handshake offers fewer features than the kernel has. */
  hideFeatures(features: number): void {
    this.words[HIDDEN] = features | 0;
    this.words[HIDDEN + 1] = Math.floor(features / 2 ** 32);
    this.set('uffd-api', 0, 1, 0);
  }

  /** How many calls have been made to fail so far. */
  get answered(): number {
    return Atomics.load(this.words, ANSWERED);
  }

  /** From now on the calls concerned fail with ENOSYS. */
  async end(): Promise<void> {
    Atomics.store(this.words, STOP, 1);
    await once(this.worker, 'exit');
  }

  private set(call: CallName, after: number, times: number, error: number): void {
    this.words[AFTER] = after;
    this.words[TIMES] = times;
    this.words[ERRNO] = error;
    Atomics.store(this.words, TARGET, 1 + Object.keys(CALLS).indexOf(call));
  }
}

/** Why calls cannot be made to fail here, or false. */
export function failingSkip(): string | false {
  return process.geteuid?.() === 0 ? false : 'needs root, for a seccomp filter';
}

/** Returns the descriptor on which the calls are announced. */
function installFilter(): number {
  const program: [code: number, jumpTrue: number, jumpFalse: number, k: number][] = [];
  for (const { number, argument, value } of Object.values(CALLS)) {
    program.push(
      [BPF_LD_W_ABS, 0, 0, DATA_NR],
      [BPF_JEQ_K, 0, 3, number],
      [BPF_LD_W_ABS, 0, 0, DATA_ARGS + argument * 8],
      [BPF_JEQ_K, 0, 1, value],
      [BPF_RET_K, 0, 0, SECCOMP_RET_USER_NOTIF],
    );
  }
  program.push([BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW]);
  const page = new ScratchPage();
  const HEADER = 16; // struct sock_fprog
  page.u16[0] = program.length;
  page.setU64(8, page.address + HEADER);
  program.forEach(([code, jumpTrue, jumpFalse, k], index) => {
    const at = HEADER + index * 8; // struct sock_filter
    page.u16[at >> 1] = code;
    page.u8[at + 2] = jumpTrue;
    page.u8[at + 3] = jumpFalse;
    page.u32[(at + 4) >> 2] = k;
  });
  const listener = syscall(
    SYS_seccomp,
    SECCOMP_SET_MODE_FILTER,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    page.address,
    0,
    0,
  );
  if (listener < 0) {
    throw new SyscallError('seccomp', errno());
  }
  return listener;
}
