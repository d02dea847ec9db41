import t from 'tap';
import { Descriptor } from '../../src/ffi/descriptor.js';
import { errno, ftruncate, madvise, memfd_create } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { countCallsFrom, functionRange, retryTracing } from '../../src/measure/fault-retries.js';
import { perfEvents, ThreadPerfCounters } from '../../src/measure/perf-counters.js';
import {
  MADV_POPULATE_WRITE,
  MAP_SHARED,
  MFD_CLOEXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../src/uapi/mman.js';
import { PERF_RECORD_SAMPLE } from '../../src/uapi/perf.js';
import { rootSkip } from '../support/host.js';
import { MadeRing } from '../support/made-ring.js';

const SYMBOLS = `ffffffff815ec8f0 T __pfx_handle_mm_fault
ffffffff815ec900 T handle_mm_fault
ffffffff815ec900 T an_alias_of_it
ffffffff815ed000 t next_one
ffffffffc0001000 t handle_mm_fault_of_a_module	[kvm]
`;
const RANGE = { high: 0xffff_ffff, from: 0x815e_c900, to: 0x815e_d000 };

t.test('a function reaches to the next address', async (t) => {
  t.strictSame(functionRange(SYMBOLS, 'handle_mm_fault'), RANGE);
  t.equal(functionRange(SYMBOLS, 'nonesuch'), null);
  const cut = SYMBOLS.split('\n').slice(0, 3).join('\n');
  t.equal(functionRange(cut, 'handle_mm_fault'), null, 'nothing is known of where it ends');
  const hidden = SYMBOLS.replace(/^[0-9a-f]{16}/gm, '0'.repeat(16));
  t.equal(functionRange(hidden, 'handle_mm_fault'), null, 'addresses that are not told');
});

/** A sample with these return addresses. */
function chain(made: MadeRing, addresses: readonly bigint[]): MadeRing {
  const record = new DataView(new ArrayBuffer(16 + addresses.length * 8));
  record.setBigUint64(8, BigInt(addresses.length), true);
  for (const [index, address] of addresses.entries()) {
    record.setBigUint64(16 + index * 8, address, true);
  }
  return made.add(PERF_RECORD_SAMPLE, record);
}

t.test('samples whose chain comes through the function, wherever the ring begins', async (t) => {
  const context = 0xffff_ffff_ffff_ff80n;
  for (const tail of [0, 8, 200]) {
    const made = new MadeRing(256, tail);
    chain(made, [context, 0xffff_ffff_815e_c901n]); // right behind its start
    chain(made, [context, 0xffff_ffff_815e_c900n]); // of what is before it: it has called nothing yet
    chain(made, [context, 0xffff_ffff_815e_d001n, 0x815e_c950n, 0xffff_0000_815e_c950n]);
    chain(made, [context, 0xffff_ffff_8000_0000n, 0xffff_ffff_815e_cfffn, 0xffff_ffff_815e_c950n]);
    chain(made, []).lost(0);
    t.strictSame(countCallsFrom(made.ring(), RANGE), { samples: 5, within: 2 });
  }
});

const events = perfEvents(true, { retries: true, faults: 0 });
const skip = rootSkip() || (typeof events.retries === 'string' && events.retries);
const PAGES = 64;

/** How many faults of ours give up mmap_lock in `work`. */
function retriesIn(work: () => void, ringBytes?: number) {
  const retries = events.retries as Exclude<typeof events.retries, string>;
  using perf = new ThreadPerfCounters({
    ...events,
    retries: { ...retries, ...(ringBytes !== undefined && { ringBytes }) },
  });
  perf.start();
  work();
  perf.stop();
  return perf.faultRetries();
}

function populate({ address }: Mapping): void {
  for (let page = 0; page < PAGES; page++) {
    if (madvise(address + page * 4096, 4096, MADV_POPULATE_WRITE) < 0) {
      throw new Error(`MADV_POPULATE_WRITE: ${errno()}`);
    }
  }
}

t.test(
  'a dirtied page of shmem costs its fault the lock; one of anonymous memory does not',
  { skip },
  async (t) => {
    using file = new Descriptor(memfd_create('retries', MFD_CLOEXEC));
    ftruncate(file.fd, PAGES * 4096);
    using shared = Mapping.create(PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd);
    using anonymous = Mapping.scratch(PAGES * 4096);
    const of = (mapping: Mapping): number => retriesIn(() => populate(mapping)).value ?? -1;
    const found = of(shared);
    t.ok(found >= PAGES && found < PAGES * 1.5, `${found} of ${PAGES} faults (Linux 6.18)`);
    const none = of(anonymous);
    t.ok(none >= 0 && none < PAGES / 2, `${none} of ${PAGES}`);
  },
);

t.test('samples that did not fit make it unknown, not fewer', { skip }, async (t) => {
  const map = (): void => {
    for (let time = 0; time < 500; time++) {
      Mapping.scratch(4096).close();
    }
  };
  t.match(retriesIn(map, 8192), { value: null, why: /samples did not fit into a ring/ });
  t.match(retriesIn(map), { value: Number });
});

t.test('what is not asked for is null, and says so', async (t) => {
  using perf = new ThreadPerfCounters(perfEvents(false));
  t.strictSame(perf.faultRetries(), { value: null, why: 'it was not asked for' });
  t.ok(typeof retryTracing(1) === 'string' || skip === false);
});
