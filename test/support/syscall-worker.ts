/** The thread behind {@link SyscallThread}: makes the calls that it is sent, one after another. */
import { parentPort } from 'node:worker_threads';
import * as libc from '../../src/ffi/libc.js';
import { blockVcpuSignals, currentThreadId, pinCurrentThread } from '../../src/ffi/thread.js';
import type { SyscallAnswer, SyscallRequest } from './syscall-thread.js';

const port = parentPort!;

const calls: Record<string, unknown> = {
  ...libc,
  blockVcpuSignals: () => {
    blockVcpuSignals();
    return 0;
  },
  currentThreadId: () => currentThreadId(),
  pinCurrentThread: (cpu: number) => {
    pinCurrentThread(cpu);
    return 0;
  },
};

port.on('message', ({ name, args }: SyscallRequest) => {
  const call = calls[name] as (...args: unknown[]) => number;
  let answer: SyscallAnswer;
  try {
    const result = call(...args);
    answer = { result, errno: result < 0 ? libc.errno() : 0, thrown: null };
  } catch (error) {
    answer = { result: -1, errno: 0, thrown: String(error) };
  }
  port.postMessage(answer);
});
