/** Memory of this machine that really fails, as far as its kernel can tell. Only for a machine of our own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { MADV_HWPOISON } from '../../src/uapi/mman.js';
import { SIG_UNBLOCK, SIGBUS, sigset_t } from '../../src/uapi/signal.js';
import { SyscallThread } from './syscall-thread.js';

const PAGE = 4096;
/** Of the module hwpoison-inject: takes frames out of use, without a process that asked for it. */
const CORRUPT = '/sys/kernel/debug/hwpoison/corrupt-pfn';
const PRESENT = 1n << 63n;
const FRAME = (1n << 55n) - 1n;

/** Why no memory may be made to fail here, or false. */
export function memoryFailureSkip(): string | false {
  if (process.env.FAULTLINE_NESTED !== '1') {
    return 'makes memory of the machine fail: for a nested one (make test-nested)';
  }
  return existsSync(CORRUPT) ? false : 'needs CONFIG_MEMORY_FAILURE and the module hwpoison-inject';
}

/** The number of the frame that a page of a process is in. */
function frameOf(address: number, process: number | 'self'): bigint {
  const entry = Buffer.alloc(8);
  const pagemap = openSync(`/proc/${process}/pagemap`, 'r');
  try {
    readSync(pagemap, entry, 0, 8, (address / PAGE) * 8);
  } finally {
    closeSync(pagemap);
  }
  const word = entry.readBigUInt64LE(0);
  if ((word & PRESENT) === 0n) {
    throw new Error(`no page at 0x${address.toString(16)}`);
  }
  return word & FRAME;
}

/** Has the frames under pages fail, all that are there or none: every mapping of them is taken away. */
export function failFrames(addresses: readonly number[], process: number | 'self' = 'self'): void {
  const frames = addresses.map((address) => frameOf(address, process));
  for (const frame of frames) {
    writeFileSync(CORRUPT, `0x${frame.toString(16)}`);
  }
}

/**
 * MADV_HWPOISON of a page of this process. The kernel sends the calling thread a SIGBUS for it, which
 * would end the process where it is blocked, as it is in a vCPU's thread, or unhandled: another
 * thread asks, and a function of libc that looks at nothing handles the signal meanwhile.
 *
 * @returns 0, or the errno of madvise
 */
export async function adviseFailureHere(address: number): Promise<number> {
  const libc = koffi.load('libc.so.6');
  const signal = libc.func('uintptr_t signal(int number, uintptr_t handler)');
  const nothing = koffi.address(libc.symbol('sched_yield', 'int'));
  const thread = new SyscallThread();
  const before = signal(SIGBUS, nothing);
  try {
    // Threads inherit what is blocked, and a vCPU's thread may have started this one.
    const signals = new ScratchPage(sigset_t.size);
    signals.u32[0] = 1 << (SIGBUS - 1);
    await thread.call('pthread_sigmask', SIG_UNBLOCK, signals.address, 0);
    const answer = await thread.call('madvise', address, PAGE, MADV_HWPOISON);
    return answer.errno;
  } finally {
    signal(SIGBUS, before);
    await thread.end();
  }
}

/** Kilobytes of this machine's memory that have failed. */
export function corruptedKilobytes(): number {
  const [, kilobytes] = /^HardwareCorrupted:\s+(\d+) kB$/m.exec(
    readFileSync('/proc/meminfo', 'utf8'),
  ) ?? [undefined, 'NaN'];
  return Number(kilobytes);
}

/**
 * MADV_HWPOISON of pages of a file that this process has open, by another process: the kernel sends
 * who asks for it a SIGBUS that nobody can block.
 *
 * @returns the signal that ended the other process
 */
export async function adviseFailure(fd: number, pages: readonly number[]): Promise<string | null> {
  const program = fileURLToPath(new URL('./failing-process.js', import.meta.url));
  const file = `/proc/${process.pid}/fd/${fd}`;
  const child = spawn(process.execPath, [program, file, ...pages.map(String)], {
    stdio: 'inherit',
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  return signal;
}
