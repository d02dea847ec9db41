import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import {
  BUNDLED_GUESTS,
  checkParameters,
  findBundled,
  planUnknown,
} from '../../src/machine/bundled-guests.js';
import {
  decodeTouch,
  parseTouch,
  TOUCH_PARAMETERS,
  touchedContents,
} from '../../src/machine/touch-guest.js';
import { referenceWord } from '../support/reference-pattern.js';

const MEMORY = 64 * 2 ** 20;
const ROOM = (MEMORY - 2 * 2 ** 20) / 4096;
const touch = findBundled('touch')!;

t.test('defaults: every page above the first 2 MiB, once, in order', async (t) => {
  t.strictSame(parseTouch({}, MEMORY), {
    pages: ROOM,
    order: 'sequential',
    writePercent: 0,
    passes: 1,
    share: 'partition',
    seed: 1,
    stride: 512,
    every: 1,
  });
});

t.test('the limits themselves are accepted', async (t) => {
  t.match(parseTouch({ pages: '1', write: '0', seed: '0', stride: '1' }, MEMORY), { pages: 1 });
  t.match(
    parseTouch({ pages: `${ROOM}`, write: '100', seed: '4294967295', passes: '1000000' }, MEMORY),
    { pages: ROOM, writePercent: 100, seed: 0xffff_ffff, passes: 1_000_000 },
  );
});

for (const [name, value] of [
  ['pages', '0'],
  ['pages', `${ROOM + 1}`],
  ['pages', '1e3'],
  ['pages', '-1'],
  ['pages', '0x10'],
  ['pages', ''],
  ['pages', ' 1'],
  ['order', 'backwards'],
  ['order', ''],
  ['write', '101'],
  ['write', '50%'],
  ['passes', '0'],
  ['passes', '99999999999999999999'],
  ['share', 'both'],
  ['seed', '4294967296'],
  ['seed', 'NaN'],
  ['stride', '0'],
  ['stride', '1.5'],
  ['every', '0'],
  ['every', `${ROOM + 1}`],
] as const) {
  t.test(`--param ${name}=${value} is refused by name`, async (t) => {
    t.throws(() => parseTouch({ [name]: value }, MEMORY), UsageError);
    t.throws(() => parseTouch({ [name]: value }, MEMORY), {
      message: new RegExp(`^--param ${name}=`),
    });
  });
}

t.test('each documented parameter is parsed, and no other is taken', async (t) => {
  for (const name of Object.keys(TOUCH_PARAMETERS)) {
    t.doesNotThrow(() => checkParameters(touch, { [name]: '1' }));
    t.throws(() => parseTouch({ [name]: 'nonsense' }, MEMORY), { message: new RegExp(name) });
  }
  for (const name of ['size', 'toString', '__proto__', '']) {
    const given = Object.defineProperty({}, name, { value: '1', enumerable: true });
    t.throws(() => checkParameters(touch, given), UsageError);
  }
  t.throws(() => checkParameters(findBundled('hello')!, { pages: '1' }), {
    message: 'hello has no parameter pages',
  });
  t.throws(() => planUnknown({ pages: '1' }), { code: 'usage', message: /--param pages/ });
});

t.test('guests are found by their whole name', async (t) => {
  t.equal(findBundled('tou'), undefined);
  t.equal(findBundled('toString'), undefined);
  t.strictSame(
    BUNDLED_GUESTS.map(({ name }) => name),
    ['hello', 'touch', 'mce'],
  );
});

t.test('pages that must be overwritten are those the formula chooses', async (t) => {
  const source = { kind: 'pattern', seed: 9 } as const;
  const parameters = parseTouch({ pages: '1000', write: '30' }, MEMORY);
  const contents = touchedContents(parameters, source);
  let written = 0;
  for (let page = 512 - 3; page < 512 + 1003; page++) {
    const touched = page >= 512 && page < 1512;
    const chosen = (referenceWord(page, (9 ^ 0xa5a5a5a5) >>> 0, 0) >>> 0) % 100 < 30;
    const words = new Int32Array(1024);
    if (contents(page)?.fill(page, words, 0, 1024)) {
      written++;
      if (words[1023] !== referenceWord(page, ~9 >>> 0, 1023)) {
        t.fail(`page ${page} has another pattern`);
      }
    }
    if ((contents(page) !== null) !== (touched && chosen)) {
      t.fail(`page ${page}`);
    }
  }
  t.ok(written > 200 && written < 400, `${written} of 1000 pages at 30 %`);
});

t.test('a report is six pairs of 32-bit words', async (t) => {
  const words = Uint32Array.from([7, 1, 8, 0, 9, 0, 0x200004, 1, 11, 2, 12, 3, 0, 0, 0, 0]);
  t.strictSame(decodeTouch(words), {
    pagesVisited: 2 ** 32 + 7,
    wordsCompared: 8,
    wordsMismatched: 9,
    firstMismatch: 2 ** 32 + 0x200004,
    maxCycles: 2 * 2 ** 32 + 11,
    cycles: 3 * 2 ** 32 + 12,
  });
  t.equal(decodeTouch(new Uint32Array(16)).firstMismatch, null);
});

t.test('a guest is judged by all its vCPUs', async (t) => {
  const given = { pages: '10', passes: '2' };
  const config = {
    source: { kind: 'zero' },
    memoryBytes: MEMORY,
    vcpus: 2,
    unitBytes: 4096,
  } as const;
  const { judge } = touch.plan({ ...config, params: given });
  const report = (visited: number, compared: number, wrong = 0): Uint32Array =>
    Uint32Array.from([visited, 0, compared, 0, wrong, 0, wrong && 0x200abc, 0, 5, 0, 6, 0]);
  const judged = (...reports: Uint32Array[]): string | null => judge(reports).complaint;
  t.equal(judged(report(8, 8192), report(12, 12288)), null);
  t.match(judged(report(8, 8192), report(11, 11264)), /visited 19 pages, not 20/);
  t.match(judged(report(8, 8192), report(12, 12287)), /did not compare every word/);
  t.match(judged(report(8, 8192), report(12, 12288, 3)), /3 of 12288 words wrong.* 0x200abc/);
  const overlap = touch.plan({ ...config, params: { ...given, share: 'overlap' } });
  t.match(overlap.judge([report(20, 20480), report(20, 20480)]), { visits: 40, complaint: null });
});
