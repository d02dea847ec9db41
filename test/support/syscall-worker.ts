/** The thread behind {@link SyscallThread}: makes the calls that it is sent, one after another. */
import { parentPort } from 'node:worker_threads';
import { errno } from '../../src/ffi/libc.js';
import * as libc from '../../src/ffi/libc.js';
import { blockVcpuSignals, currentThreadId, pinCurrentThread } from '../../src/ffi/thread.js';
import type { SyscallAnswer, SyscallRequest } from './syscall-thread.js';

const port = parentPort!;

const ours: Record<string, (argument: number) => number> = {
  blockVcpuSignals: () => {
    blockVcpuSignals();
    return 0;
  },
  currentThreadId: () => currentThreadId(),
  pinCurrentThread: (cpu) => {
    pinCurrentThread(cpu);
    return 0;
  },
};

port.on('message', ({ name, args }: SyscallRequest) => {
  const call = (ours[name] ?? libc[name as keyof typeof libc]) as (...args: unknown[]) => number;
  let answer: SyscallAnswer;
  try {
    const result = call(...args);
    answer = { result, errno: result < 0 ? errno() : 0, thrown: null };
  } catch (error) {
    answer = { result: -1, errno: 0, thrown: String(error) };
  }
  port.postMessage(answer);
});
