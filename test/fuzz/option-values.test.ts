/** Values of options and parameters, by themselves: what they give must be fit for use. */
import assert from 'node:assert/strict';
import { InvalidArgumentError } from 'commander';
import fc from 'fast-check';
import t from 'tap';
import {
  parseAddresses,
  parseAround,
  parseBackground,
  parseFault,
  parseNetwork,
  parseParam,
  parsePin,
  parseSeconds,
  parseSize,
  parseSource,
  parseWhole,
} from '../../src/cli/option-values.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';
import {
  encodeTouch,
  parseTouch,
  TOUCH_PARAMETERS,
  touchedContents,
  touchesPage,
} from '../../src/machine/touch-guest.js';
import { anyText } from './arguments.js';
import { ROOM, tryCases } from './cases.js';
import { checkLine, orRefuses } from './complaints.js';

t.setTimeout(240_000 * ROOM);

const PARSERS: readonly ((text: string) => unknown)[] = [
  parseAddresses,
  parseAround,
  parseBackground,
  parseFault,
  parseNetwork,
  parseParam,
  parsePin,
  parseSeconds,
  parseSize,
  parseSource,
  parseWhole,
];

/** Every number in what a parser gave. */
function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') {
    return [value];
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(numbersIn) : [];
}

t.test('any text is a value, or no value', async (t) => {
  const prefixed = fc
    .tuple(
      fc.constantFrom(
        '',
        'background:',
        'pattern:',
        'vcpu=',
        'a=',
        '10G:',
        '0x',
        'page=',
        'every=',
      ),
      anyText,
    )
    .map((parts) => parts.join(''));
  await tryCases(t, 'option values: any text', prefixed, (text) => {
    for (const parse of PARSERS) {
      try {
        for (const number of numbersIn(parse(text))) {
          assert(number >= 0, `${parse.name} gave ${number}`);
          assert(number === Number.POSITIVE_INFINITY || !Number.isNaN(number), parse.name);
        }
      } catch (error) {
        assert(error instanceof InvalidArgumentError, `${parse.name}: ${(error as Error).stack}`);
        checkLine(error.message);
      }
    }
  });
});

const number = fc.oneof(
  fc.integer({ min: -2, max: 100 }),
  fc.constantFrom(0.5, 4096, 4097, 2 ** 21, 2 ** 22, 2 ** 28, 2 ** 30, 200 * 2 ** 30, 2 ** 53),
  fc.constantFrom(
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -0,
    1e308,
    5e-324,
  ),
);
const maybe = <Value>(arbitrary: fc.Arbitrary<Value>) =>
  fc.option(arbitrary, { nil: undefined, freq: 2 });
const background = fc.option(fc.record({ bytesPerSecond: fc.option(number) }));

/** Of the right types, as TypeScript sees to it, and of any values. */
const configurations = fc.record({
  image: anyText,
  memoryBytes: maybe(number),
  backing: maybe(
    fc.constantFrom('shmem', 'anon-private', 'hugetlb-2M', 'paper', '__proto__', 'file:'),
  ),
  reserve: maybe(fc.boolean()),
  delivery: maybe(fc.constantFrom('auto', 'kernel', 'handler', 'exit', 'toString')),
  strategy: maybe(fc.constantFrom('no-slow-gup', 'no-uffd-wait', 'none')),
  unitBytes: maybe(number),
  around: maybe(fc.oneof(number, fc.constant('adaptive'))),
  collapse: maybe(fc.constantFrom('never', 'complete', 'end', 'constructor')),
  prefetch: maybe(background),
  discard: maybe(background),
  vcpus: maybe(number),
  handlers: maybe(number),
  source: maybe(
    fc.oneof(
      fc.constant({ kind: 'zero' }),
      fc.record({ kind: fc.constant('pattern'), seed: number }),
    ),
  ),
  network: maybe(fc.record({ bitsPerSecond: number, latencyMicroseconds: number })),
  pin: maybe(fc.record({ vcpu: fc.array(number, { maxLength: 3 }) })),
  poison: maybe(fc.array(number, { maxLength: 2 })),
  onMemoryError: maybe(fc.constantFrom('stop', 'inject', 'valueOf')),
  failSource: maybe(
    fc.array(
      fc.oneof(
        fc.record({
          kind: fc.constantFrom('page', 'throw'),
          address: number,
          times: fc.option(number),
        }),
        fc.record({ kind: fc.constant('every'), requests: number, times: fc.option(number) }),
        fc.record({ kind: fc.constant('delay'), milliseconds: number }),
      ),
      { maxLength: 2 },
    ),
  ),
  sourceRetries: maybe(number),
  timeoutSeconds: maybe(number),
});

t.test('any configuration is complete and within its limits, or refused', async (t) => {
  await tryCases(t, 'option values: any configuration', configurations, (given) => {
    const options = Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    );
    const config = orRefuses(() => completeConfig(options as unknown as RunOptions));
    if (config === null) {
      return;
    }
    const { memoryBytes, unitBytes, vcpus, handlers, timeoutSeconds } = config;
    assert(Number.isSafeInteger(memoryBytes) && memoryBytes >= 2 ** 22, `memory ${memoryBytes}`);
    assert(memoryBytes % unitBytes === 0 && unitBytes % 4096 === 0, `unit ${unitBytes}`);
    assert(
      [vcpus, handlers].every((count) => count >= 1 && count <= 64),
      `${vcpus} ${handlers}`,
    );
    assert(timeoutSeconds * 1000 < 2 ** 31 && timeoutSeconds > 0, `timeout ${timeoutSeconds}`);
    for (const rate of numbersIn([config.network, config.prefetch, config.discard])) {
      assert(rate >= 0, `a rate of ${rate}`);
    }
    for (const gpa of config.poison) {
      assert(Number.isInteger(gpa) && gpa >= 0 && gpa < memoryBytes, `poison at ${gpa}`);
    }
    for (const figure of numbersIn([config.failSource, config.sourceRetries])) {
      assert(Number.isFinite(figure) && figure >= 0, `a fault with ${figure}`);
    }
  });
});

t.test('parameters of touch', async (t) => {
  const names = fc.constantFrom(...Object.keys(TOUCH_PARAMETERS), 'colour', '__proto__');
  const value = fc.oneof(
    { weight: 2, arbitrary: fc.integer({ min: 0, max: 2000 }).map(String) },
    { weight: 1, arbitrary: anyText },
    {
      weight: 1,
      arbitrary: fc.constantFrom('random', 'strided', 'sequential', 'overlap', 'partition'),
    },
  );
  const given = fc.array(fc.tuple(names, value), { maxLength: 5 });
  const memory = fc.integer({ min: 1024, max: 51_200 }).map((pages) => pages * 4096);
  const cases = fc.tuple(given, memory, fc.integer({ min: 0, max: 0xffff_ffff }));
  await tryCases(t, 'option values: parameters of touch', cases, ([entries, bytes, seed]) => {
    const parameters = orRefuses(() => parseTouch(Object.fromEntries(entries), bytes));
    if (parameters === null) {
      return;
    }
    for (const source of [{ kind: 'zero' }, { kind: 'pattern', seed }] as const) {
      const block = encodeTouch(parameters, source);
      assert(block.length <= 128, `${block.length} bytes of parameters`);
      const contents = touchedContents(parameters, source);
      const last = bytes / 4096 - 1;
      for (const page of [0, 511, 512, last, last + 1]) {
        assert(touchesPage(parameters, page) || contents(page) === null, `page ${page} is written`);
      }
      assert(!touchesPage(parameters, last + 1), 'it touches pages behind memory');
    }
  });
});
