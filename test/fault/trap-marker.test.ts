/** SIGBUS as KVM sends it for a trap marker, queued by rt_tgsigqueueinfo(2) instead. */
import t from 'tap';
import { createTrapReader, FOREIGN_TRAP, NO_TRAP } from '../../src/fault/trap-marker.js';
import { syscall } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { blockVcpuSignals, currentThreadId, kickThread } from '../../src/ffi/thread.js';
import { BACKINGS } from '../../src/memory/backing.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';
import { BUS_MCEERR_AR, SIGBUS, siginfo_t } from '../../src/uapi/signal.js';

const SYS_rt_tgsigqueueinfo = 297;

const { file: _file, description: _description, ...backing } = BACKINGS.shmem;

const memory: GuestMemoryLayout = {
  bytes: 3 * 2 ** 30,
  unitBytes: 4096,
  backing,
  guestAddress: 0x7f12_3456_7000, // never touched: only compared with
  aliasAddress: 0,
  fd: -1,
  states: new SharedArrayBuffer(4),
  changes: new SharedArrayBuffer(4),
  collapsed: new SharedArrayBuffer(4),
  resident: [],
  image: [],
};
const siginfo = new ScratchPage();

/** Queues SIGBUS for this thread, which has blocked it. */
function sendBusError(address: number): void {
  siginfo.clear(0, siginfo_t.size);
  siginfo.s32[siginfo_t.offset.si_signo >> 2] = SIGBUS;
  siginfo.s32[siginfo_t.offset.si_code >> 2] = BUS_MCEERR_AR;
  siginfo.setU64(siginfo_t.offset.si_addr, address);
  siginfo.u16[siginfo_t.offset.si_addr_lsb >> 1] = 12;
  const thread = currentThreadId();
  if (syscall(SYS_rt_tgsigqueueinfo, process.pid, thread, SIGBUS, siginfo.address, 0) !== 0) {
    throw new Error('rt_tgsigqueueinfo failed');
  }
}

blockVcpuSignals();

t.test('the unit of a trap is told from its address', async (t) => {
  const { take } = createTrapReader(memory);
  const pages = memory.bytes / 4096;
  for (const page of [0, 1, 2 ** 18, 2 ** 19, pages - 1]) {
    sendBusError(memory.guestAddress + page * 4096);
    t.equal(take(), page);
    sendBusError(memory.guestAddress + page * 4096 + 4095);
    t.equal(take(), page, 'also from its last byte');
  }
});

t.test('units larger than a page', async (t) => {
  const { take } = createTrapReader({ ...memory, unitBytes: 2 ** 21 });
  sendBusError(memory.guestAddress + 5 * 2 ** 21 + 4096);
  t.equal(take(), 5);
});

t.test('nothing pending, and a kick, are no trap', { timeout: 10_000 }, async (t) => {
  const { take } = createTrapReader(memory);
  t.equal(take(), NO_TRAP, 'at once: it does not sleep');
  kickThread(currentThreadId());
  t.equal(take(), NO_TRAP, 'the kick is taken');
  sendBusError(memory.guestAddress + 4096);
  t.equal(take(), 1, 'and did not hide what came after it');
  t.equal(take(), NO_TRAP, 'each signal is taken once');
});

t.test('a kick and a trap at once: both are taken, in two calls', async (t) => {
  const { take } = createTrapReader(memory);
  kickThread(currentThreadId());
  sendBusError(memory.guestAddress);
  t.strictSame([take(), take()].sort(), [NO_TRAP, 0].sort());
  t.equal(take(), NO_TRAP);
});

t.test('an address outside guest memory is foreign', async (t) => {
  const traps = createTrapReader(memory);
  for (const address of [
    0,
    memory.guestAddress - 1,
    memory.guestAddress + memory.bytes,
    memory.guestAddress + 2 ** 32,
  ]) {
    sendBusError(address);
    t.equal(traps.take(), FOREIGN_TRAP);
    t.strictSame(traps.last(), { code: BUS_MCEERR_AR, address });
  }
});
