/** What is said about errors and exits is made of what guests and the kernel leave behind. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { failedRun } from '../../src/cli/failed-run.js';
import { complain } from '../../src/cli/program.js';
import {
  DefectError,
  type ErrorReport,
  GuestError,
  reportOf,
  SyscallError,
  UnsupportedError,
  UsageError,
} from '../../src/ffi/errors.js';
import { findBundled } from '../../src/machine/bundled-guests.js';
import {
  HISTOGRAM_BYTES,
  largestOf,
  mergeHistograms,
  percentilesOf,
} from '../../src/measure/histogram.js';
import { describeExit, describeRunError } from '../../src/vcpu/describe-exit.js';
import { FakeRunPage } from '../support/fake-run-page.js';
import { anyText } from './arguments.js';
import { ROOM, tryCases } from './cases.js';
import { checkLine, checkSentence } from './complaints.js';

t.setTimeout(240_000 * ROOM);

const errors = fc.oneof(
  fc.tuple(anyText, anyText).map(([message, hint]) => new UsageError(message, hint)),
  anyText.map((message) => new UnsupportedError(message)),
  anyText.map((message) => new GuestError(message)),
  anyText.map((message) => new DefectError(message)),
  fc
    .tuple(anyText, fc.integer({ min: 1, max: 4096 }))
    .map(([call, errno]) => new SyscallError(call, errno)),
  anyText.map((message) => new Error(message)),
  fc.anything(),
);

t.test('whatever is thrown is one line, and survives JSON', async (t) => {
  const page = fc.noShrink(fc.uint8Array({ minLength: 512, maxLength: 512 }));
  const cases = fc.tuple(errors, page, fc.integer({ min: 0, max: 200 }), fc.boolean());
  const run = new FakeRunPage();
  await tryCases(t, 'reports: errors and exits', cases, ([error, bytes, errno, trapped]) => {
    const report = reportOf(error);
    assert.equal(typeof report.message, 'string');
    const { message, code } = JSON.parse(JSON.stringify(report)) as ErrorReport;
    assert.deepEqual([message, code], [report.message, report.code]);
    const json = JSON.parse(failedRun(message, report));
    assert.deepEqual([json.image, json.outcome], [message, 'error']);
    assert.deepEqual([json.error.message, json.error.code], [message, code]);
    let written = '';
    const status = complain(error, (text) => {
      written += text;
    });
    assert([1, 2, 3, 4].includes(status), `status ${status}`);
    assert(written.endsWith('\n'));
    checkLine(written.slice(0, -1));

    run.bytes.u8.set(bytes);
    checkSentence(describeExit(run.page));
    checkSentence(describeRunError(errno, trapped));
  });
});

const word = fc.oneof(
  fc.constantFrom(0, 1, 1024, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);

t.test('reports and histograms that a guest has made up', async (t) => {
  const touch = findBundled('touch')!;
  const cases = fc.record({
    reports: fc.array(fc.array(word, { minLength: 16, maxLength: 16 }), {
      minLength: 1,
      maxLength: 4,
    }),
    counts: fc.array(fc.tuple(fc.integer({ min: 0, max: 1023 }), word), { maxLength: 20 }),
    faulted: fc.oneof(word, fc.constant(2 ** 52)),
    kilohertz: fc.constantFrom(1, 1_000_000, 3_000_000),
  });
  await tryCases(
    t,
    'reports: of hostile guests',
    cases,
    ({ reports, counts, faulted, kilohertz }) => {
      const source = { kind: 'pattern', seed: 1 } as const;
      const { judge } = touch.plan({
        params: {},
        source,
        memoryBytes: 4 * 2 ** 20,
        vcpus: reports.length,
        unitBytes: 4096,
      });
      const { complaint, maxCycles, visits } = judge(
        reports.map((words) => Uint32Array.from(words)),
      );
      assert(complaint !== null, 'no guest visits 512 pages by chance');
      checkSentence(complaint);
      assert(Number.isFinite(visits) && Number.isFinite(maxCycles));

      const histogram = new Uint32Array(HISTOGRAM_BYTES / 4);
      for (const [bucket, count] of counts) {
        histogram[bucket] = count;
      }
      const all = mergeHistograms([histogram, histogram]);
      for (const of of [all, largestOf(all, faulted)]) {
        const found = percentilesOf(of, maxCycles, 1000 / kilohertz);
        const figures = Object.values(found ?? {});
        assert(
          figures.every((figure) => Number.isFinite(figure) && figure >= 0),
          JSON.stringify(found),
        );
      }
    },
  );
});
