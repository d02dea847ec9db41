import t from 'tap';
import { micro } from '../../bench/scale/micro.js';
import type { BenchResult } from '../../src/report/bench-result.js';
import type { MicroFigure } from '../../src/report/micro-result.js';

t.setTimeout(60_000);

t.test('it can be interrupted', async (t) => {
  const controller = new AbortController();
  const steps: string[] = [];
  const onStep = (_done: number, _total: number, name: string): void => {
    steps.push(name);
    controller.abort();
  };
  await t.rejects(micro.run({ signal: controller.signal, onStep }), { code: 'interrupted' });
  t.equal(steps.length, 1, 'at once');
  await t.rejects(micro.run({ signal: AbortSignal.abort() }), { code: 'interrupted' });
});

t.test('its table is no wider than a mail', async (t) => {
  const summary = ['close(-1): a call into libc that enters the kernel and fails', 'errno()'].map(
    (part): MicroFigure => ({ part, nanoseconds: { mean: 1234, least: 0.5, p50: 900, p99: 1e5 } }),
  );
  const text = micro.describe({ summary } as unknown as BenchResult<MicroFigure, MicroFigure[]>);
  t.match(text, /^errno\(\) +900 +100000 +1234 +0\.5$/m);
  for (const line of text.split('\n')) {
    t.ok(line.length <= 100, line);
  }
});

t.test('every part is measured', async (t) => {
  const { runs, summary } = await micro.run({});
  t.equal(summary, runs);
  t.ok(runs.length >= 10, `${runs.length} parts`);
  for (const { part, nanoseconds } of runs) {
    const { mean, least, p50, p99 } = nanoseconds;
    t.ok(least >= 0 && least <= p50 && p50 <= p99 && mean > 0, `${part}: ${p50} ns`);
  }
  for (const what of [/ioctl/, /errno/, /reads of a view/, /claim/, /histogram/]) {
    t.ok(
      runs.some(({ part }) => what.test(part)),
      `${what} is among them`,
    );
  }
});
