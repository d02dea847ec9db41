import { readFileSync } from 'node:fs';
import t from 'tap';
import { kickThread } from '../../src/ffi/thread.js';
import { SIGBUS, SIGUSR2 } from '../../src/uapi/signal.js';
import { SyscallThread } from '../support/syscall-thread.js';

/** A field of a thread's /proc status. */
function status(thread: number, field: string): string {
  const text = readFileSync(`/proc/self/task/${thread}/status`, 'utf8');
  return new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(text)![1]!;
}

const bit = (signal: number): bigint => 1n << BigInt(signal - 1);

async function started(t: { teardown(end: () => Promise<void>): void }) {
  const thread = new SyscallThread();
  t.teardown(() => thread.end());
  return { thread, id: (await thread.call('currentThreadId')).result };
}

t.test('a thread knows its id', { timeout: 20_000 }, async (t) => {
  const [a, b] = [await started(t), await started(t)];
  t.not(a.id, b.id);
  t.equal(status(a.id, 'Tgid'), `${process.pid}`);
});

t.test('pinning restricts the calling thread, and no other', { timeout: 20_000 }, async (t) => {
  const [a, b] = [await started(t), await started(t)];
  const before = status(b.id, 'Cpus_allowed_list');
  const cpu = Number(/\d+$/.exec(status(a.id, 'Cpus_allowed_list'))![0]);
  t.match(await a.thread.call('pinCurrentThread', cpu), { result: 0 });
  t.equal(status(a.id, 'Cpus_allowed_list'), `${cpu}`);
  t.equal(status(b.id, 'Cpus_allowed_list'), before);
});

t.test('a CPU that does not exist is a usage error', { timeout: 20_000 }, async (t) => {
  const { thread, id } = await started(t);
  const before = status(id, 'Cpus_allowed_list');
  for (const cpu of [1023, 1024, 100_000, -1]) {
    const { thrown } = await thread.call('pinCurrentThread', cpu);
    t.match(thrown, new RegExp(`^UsageError: CPU ${cpu} does not exist`));
  }
  t.equal(status(id, 'Cpus_allowed_list'), before);
});

t.test(
  'a vCPU thread blocks SIGBUS and the kick, and keeps the rest',
  { timeout: 20_000 },
  async (t) => {
    const { thread, id } = await started(t);
    const before = BigInt(`0x${status(id, 'SigBlk')}`);
    await thread.call('blockVcpuSignals');
    const blocked = BigInt(`0x${status(id, 'SigBlk')}`);
    t.equal(blocked, before | bit(SIGBUS) | bit(SIGUSR2));
  },
);

t.test(
  'a kick of a thread that has blocked it is pending and kills nobody',
  { timeout: 20_000 },
  async (t) => {
    const { thread, id } = await started(t);
    await thread.call('blockVcpuSignals');
    kickThread(id);
    kickThread(id);
    t.equal(BigInt(`0x${status(id, 'SigPnd')}`), bit(SIGUSR2));
    t.match(await thread.call('currentThreadId'), { result: id }, 'the thread lives');
  },
);

t.test('a kick of a thread that has ended is no error', { timeout: 20_000 }, async (t) => {
  const thread = new SyscallThread();
  const { result: id } = await thread.call('currentThreadId');
  await thread.end();
  t.doesNotThrow(() => kickThread(id));
});
