import t from 'tap';
import { Mapping } from '../../src/ffi/mapping.js';
import { perfEvents, ThreadPerfCounters } from '../../src/measure/perf-counters.js';
import { lockTracing, ThreadLockTrace } from '../../src/measure/thread-lock-trace.js';
import { rootSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

const events = perfEvents(true, { locks: true, faults: 0 });
const skip = rootSkip() || (typeof events.trace === 'string' && events.trace);

/** What the calling thread counts and traces of its locks. */
function traced(work: () => void, ringBytes?: number) {
  const trace = events.trace as Exclude<typeof events.trace, string>;
  using perf = new ThreadPerfCounters({
    ...events,
    trace: { ...trace, ...(ringBytes !== undefined && { ringBytes }) },
  });
  perf.start();
  work();
  const counts = perf.stop();
  return { counts, trace: perf.lockTrace() };
}

const mapAndUnmap = (times: number) => (): void => {
  for (let time = 0; time < times; time++) {
    Mapping.scratch(4096).close();
  }
};

t.test('counts and trace are the same, by mode', { skip }, async (t) => {
  const { counts, trace } = traced(mapAndUnmap(100));
  if (trace.why !== null) {
    throw new Error(trace.why);
  }
  const [own, ...others] = trace.tallies;
  t.strictSame(others, [], 'of one address space');
  t.match(trace, { missing: 0, lost: 0, unknown: 0 });
  t.equal(own!.unmatched, 0);
  t.equal(own!.write.acquisitions, counts.mmapLockWrites.value);
  t.ok(own!.write.acquisitions >= 200, 'each mmap and each munmap');
  const failed = own!.read.failed + own!.write.failed;
  t.equal(failed, counts.mmapLockFailed.value);
  t.equal(
    own!.read.acquisitions + own!.write.acquisitions + failed,
    counts.mmapLockAcquisitions.value,
  );
  t.ok(own!.write.holdNanoseconds > 0 && own!.write.waitNanoseconds > 0);
});

t.test('what does not fit into the ring is known to be missing', { skip }, async (t) => {
  const { counts, trace } = traced(mapAndUnmap(500), 8192);
  if (trace.why !== null) {
    throw new Error(trace.why);
  }
  t.ok(trace.missing > 1000, `${trace.missing} events`);
  t.ok(trace.records > 0 && trace.records * 64 <= 8192);
  t.ok(counts.mmapLockWrites.value! >= 1000, 'and the counts are not');
});

t.test('what is not asked for is not traced, and says so', async (t) => {
  using perf = new ThreadPerfCounters(perfEvents(false));
  t.strictSame(perf.lockTrace(), { why: 'it was not asked for' });
});

t.test('a ring that cannot be had leaves nothing open', { skip }, async (t) => {
  const tracing = lockTracing(0);
  if (typeof tracing === 'string') {
    throw new Error(tracing);
  }
  const before = openDescriptors();
  t.match(ThreadLockTrace.open({ ...tracing, ringBytes: 12288 }, null), /could not be had/);
  const { start } = tracing.formats;
  const formats = { ...tracing.formats, released: { ...start, id: 0x7fff_ffff } };
  t.match(ThreadLockTrace.open({ ...tracing, formats }, null), /perf_event_open failed/);
  t.strictSame(openDescriptors(), before);
  traced(mapAndUnmap(1));
  t.strictSame(openDescriptors(), before);
});

t.test('rings hold what a thread may see, within bounds', { skip }, async (t) => {
  const bytes = (faults: number): number => {
    const tracing = lockTracing(faults);
    return typeof tracing === 'string' ? 0 : tracing.ringBytes;
  };
  t.equal(bytes(0), 2 ** 20);
  t.equal(bytes(2048), 2 ** 22);
  t.equal(bytes(1e9), 2 ** 26);
});
