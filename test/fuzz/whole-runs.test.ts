/**
 * Whole runs of hostile guests, as the command line makes them: with threads, several vCPUs, every
 * delivery, chores in the background, timeouts and interrupts.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { setTimeout as setTimeoutPromise } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { STATUS, statusOfRun } from '../../src/cli/exit-status.js';
import type { AroundPolicy } from '../../src/fault/around.js';
import { FaultlineError } from '../../src/ffi/errors.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunOutcome, RunResult } from '../../src/machine/run-result.js';
import type { BackingName } from '../../src/memory/backing.js';
import { describeRun } from '../../src/report/run-report.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { machineDescriptors, mappingsOf, threadCount } from '../support/leaks.js';
import { ROOM, tryCases } from './cases.js';
import { checkSentence } from './complaints.js';
import { instructions } from './machine-code.js';
import { skippingExceptions } from './skipping-image.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const path = `${t.testdir()}/guest`;

/** Those that a guest can bring about. */
const OUTCOMES: readonly RunOutcome[] = ['completed', 'shutdown', 'timeout', 'error'];
const CODES = ['guest', 'shutdown', 'timeout', 'interrupted'];

const spin = Uint8Array.from([0xfa, 0xeb, 0xfe]);
/** rep outsb of newlines, for ever: as much console as one guest can write. */
const FLOOD = [
  ...[0xbf, 0, 0, 0x30, 0, 0xb9, 0, 0x10, 0, 0, 0xb0, 0x0a, 0xf3, 0xaa], // fill 0x300000
  ...[0x66, 0xba, 0xf8, 0x03], // mov $0x3f8, %dx
  ...[0xbe, 0, 0, 0x30, 0, 0xb9, 0, 0x10, 0, 0, 0xf3, 0x6e, 0xeb, 0xf2], // rep outsb; again
];

const level = fc.constantFrom<0 | 3>(0, 3);
const images = fc.oneof(
  { weight: 3, arbitrary: instructions(16).map((code) => Uint8Array.from([...code, 0xf4])) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(instructions(64), level)
      .map(([code, level]) => skippingExceptions([...code], level)),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(instructions(64), level)
      .map(([code, level]) => buildElf({ code, note: buildNote({ level }) })),
  },
  { weight: 1, arbitrary: fc.constant(spin) },
  { weight: 1, arbitrary: level.map((level) => skippingExceptions(FLOOD, level)) },
);

const runs = fc.record({
  image: images,
  delivery: fc.constantFrom('exit', 'exit', 'handler', 'handler', 'kernel', 'auto'),
  backing: fc.constantFrom<BackingName>('shmem', 'shmem', 'anon-private', 'anon-shared'),
  unitBytes: fc.constantFrom(4096, 65536),
  around: fc.constantFrom<AroundPolicy>(0, 0, 'adaptive'),
  prefetch: fc.constantFrom(null, null, { bytesPerSecond: null }),
  collapse: fc.constantFrom('never', 'never', 'complete', 'end'),
  vcpus: fc.integer({ min: 1, max: 3 }),
  handlers: fc.integer({ min: 1, max: 2 }),
  timeoutSeconds: fc.constantFrom(0.001, 0.3, 0.6, 0.6),
  abortAfter: fc.option(fc.integer({ min: 0, max: 200 }), { freq: 4 }),
} as const);

function checkResult(result: RunResult): void {
  const { outcome, error } = result;
  const detail = JSON.stringify({ outcome, error });
  assert.deepEqual(JSON.parse(JSON.stringify(result)).outcome, outcome);
  assert(OUTCOMES.includes(outcome), detail);
  assert.equal(error === null, outcome === 'completed', detail);
  if (error !== null) {
    assert(CODES.includes(error.code), detail);
    checkSentence(error.message);
  }
  const statuses: readonly number[] = [STATUS.completed, STATUS.failed, STATUS.timeout];
  assert(statuses.includes(statusOfRun(result)), detail);
  assert(!/undefined|NaN|\[object/.test(describeRun(result)), describeRun(result));
}

t.test('every run ends, says how, and leaves nothing', { skip }, async (t) => {
  const ends = new Map<string, number>();
  writeFileSync(path, Uint8Array.from([0xf4]));
  await runGuest({ image: path, memoryBytes: 2 ** 22 });
  const threads = threadCount();
  await tryCases(
    t,
    'whole runs: hostile guests',
    runs,
    async ({ image, abortAfter, ...options }) => {
      writeFileSync(path, image);
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), abortAfter ?? 1e6);
      let console = 0;
      try {
        const result = await runGuest({
          ...options,
          image: path,
          memoryBytes: 2 ** 22,
          signal: abort.signal,
          onConsole: (text) => {
            console += text.length;
          },
        });
        checkResult(result);
        ends.set(result.outcome, (ends.get(result.outcome) ?? 0) + 1);
        assert(
          result.wallSeconds < 10,
          `it took ${result.wallSeconds} s, ${console} bytes of console`,
        );
      } catch (error) {
        // A combination that is refused has not run.
        assert(error instanceof FaultlineError && error.code === 'usage', `${error}`);
      } finally {
        clearTimeout(timer);
      }
      assert.deepEqual(mappingsOf('faultline'), []);
      // A thread that was still loading when its run ended closes its counters when it comes to it.
      const open = machineDescriptors().filter((line) => !line.includes('perf_event'));
      assert.deepEqual(open, []);
    },
  );
  t.comment(JSON.stringify(Object.fromEntries(ends)));
  t.ok(ends.size >= 2, 'runs end in more than one way');
  const isLeft = (): boolean => threadCount() > threads || machineDescriptors().length > 0;
  for (const end = Date.now() + 10_000; isLeft() && Date.now() < end; ) {
    await setTimeoutPromise(20);
  }
  t.ok(threadCount() <= threads, `${threadCount()} threads, ${threads} before`);
  t.strictSame(machineDescriptors(), []);
});
