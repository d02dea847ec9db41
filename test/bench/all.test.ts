/** The set of benches: with benches of our own in place of those that take minutes. */
import t from 'tap';
import { describeAll, runAll } from '../../bench/scale/all.js';
import type { Bench, BenchChoices, BenchOptions } from '../../bench/scale/bench.js';
import { BENCHES } from '../../bench/scale/registry.js';
import { DefectError, GuestError, UnsupportedError } from '../../src/ffi/errors.js';
import { describeHost } from '../../src/measure/host.js';

function fake(name: string, failure: Error | null = null, seen: BenchOptions[] = []): Bench {
  return {
    name,
    description: name,
    extent: '',
    takes: [],
    run: async (options) => {
      seen.push(options);
      options.onStep?.(0, 2, 'first');
      options.onStep?.(1, 2, 'second');
      if (failure !== null) {
        throw failure;
      }
      return {
        schema: 'faultline.bench/1',
        bench: name,
        host: describeHost(),
        startedAt: '',
        command: '',
        constant: {},
        runs: [],
        summary: null,
      };
    },
    describe: ({ bench }) => `the figures of ${bench}`,
  };
}

t.test('all but soak are part of it, each with choices that it takes', async (t) => {
  const seen = new Map<string, BenchOptions[]>();
  const benches = BENCHES.map(({ name, takes }) => {
    seen.set(name, []);
    return { ...fake(name, null, seen.get(name)), takes };
  });
  const { schema, results, command } = await runAll({}, benches);
  t.equal(schema, 'faultline.benches/1');
  t.equal(command, 'faultline bench all');
  t.strictSame(
    results.map(({ bench }) => bench),
    BENCHES.map(({ name }) => name).filter((name) => name !== 'soak'),
  );
  t.equal(seen.get('soak')!.length, 0);
  for (const { name, takes } of BENCHES) {
    for (const { onStep: _, ...choices } of seen.get(name)!) {
      const given = Object.keys(choices) as (keyof BenchChoices)[];
      t.ok(
        given.every((choice) => takes.includes(choice)),
        `${name}: ${given.join(', ')}`,
      );
    }
  }
});

t.test('how far it is goes by what each takes', async (t) => {
  const steps: [number, number, string][] = [];
  const onStep = (...step: [number, number, string]): number => steps.push(step);
  await runAll({ onStep }, [fake('deliveries'), fake('a-new-one'), fake('soak')]);
  t.strictSame(
    steps.map(([, , name]) => name),
    ['deliveries: first', 'deliveries: second', 'a-new-one: first', 'a-new-one: second'],
  );
  const done = steps.map(([at]) => at);
  t.strictSame(
    done,
    done.toSorted((a, b) => a - b),
    'never backwards',
  );
  t.ok(steps.every(([at, total]) => at < total && total === steps[0]![1]));
});

t.test('what this host cannot do is left out, and said', async (t) => {
  const lacking = new UnsupportedError('no gcc here', 'Install it.');
  const set = await runAll({}, [fake('faults'), fake('overhead', lacking)]);
  t.equal(set.results.length, 1);
  t.strictSame(set.leftOut, [{ bench: 'overhead', reason: 'no gcc here. Install it.' }]);
  const text = describeAll(set, [fake('faults')]);
  t.match(text, /^== faults\n\nthe figures of faults$/m);
  t.match(text, /^== overhead\n\nLeft out: no gcc here\. Install it\.$/m);
  await t.rejects(runAll({}, [fake('overhead', lacking)]), {
    code: 'unsupported',
    message: /no bench can be run here; overhead: no gcc here/,
  });
});

t.test('one bench that fails leaves no set', async (t) => {
  for (const failure of [new GuestError('wrong words'), new DefectError('counted wrongly')]) {
    await t.rejects(runAll({}, [fake('faults'), fake('units', failure), fake('micro')]), failure);
  }
});
