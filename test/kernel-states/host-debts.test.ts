/** What tests change of the host is put back, whatever becomes of the test. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import {
  changeKnob,
  hugetlbSkip,
  leavesHostAlone,
  poolKnob,
  readKnob,
  withKnob,
  withKnobs,
} from '../support/host-knobs.js';
import { openDescriptors } from '../support/leaks.js';

const SUPPORT = new URL('../support/host-knobs.js', import.meta.url).href;

/** Two files that behave as knobs do. */
function knobs(t: Test): { a: string; b: string; values: () => string[] } {
  const folder = t.testdir({ a: 'one\n', b: '[never] always\n' });
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  return { a, b, values: () => [a, b].map((path) => readFileSync(path, 'utf8').trim()) };
}

t.test('a body that ends well, or throws, leaves the knobs as they were', async (t) => {
  const { a, b, values } = knobs(t);
  await withKnob(a, 1, () => undefined); // what Node opens for its first child stays
  const before = openDescriptors();
  await withKnobs({ [a]: 2, [b]: 'always' }, () => t.strictSame(values(), ['2', 'always']));
  t.strictSame(values(), ['one', 'never']);
  const failing = withKnob(a, 3, () => {
    t.strictSame(values(), ['3', 'never']);
    throw new Error('from the body');
  });
  await t.rejects(failing, { message: 'from the body' });
  t.strictSame(values(), ['one', 'never']);
  t.strictSame(openDescriptors(), before, 'nobody watches any more');
});

t.test('a knob is set back once', async (t) => {
  const { a, values } = knobs(t);
  const restore = changeKnob(a, 5);
  restore();
  writeFileSync(a, 'changed by somebody else');
  restore();
  t.equal(values()[0], 'changed by somebody else');
});

t.test('a knob that does not take the value is an error', { timeout: 10_000 }, async (t) => {
  t.throws(() => changeKnob('/proc/self/comm', 'longer than sixteen characters'), {
    message: /comm is longer than six/,
  });
});

/** A process that changes both knobs, the first twice, and then ends as `end` says. */
async function killed(t: Test, end: string): Promise<string[]> {
  const { a, b, values } = knobs(t);
  const code = `
    import { changeKnob, readKnob } from '${SUPPORT}';
    changeKnob('${a}', 2);
    changeKnob('${b}', 'always');
    changeKnob('${a}', 3);
    process.stdout.write([readKnob('${a}'), readKnob('${b}')].join());
    ${end}`;
  const args = ['--input-type=module', '-e', code];
  const { signal, status, stdout } = spawnSync(process.execPath, args);
  t.comment(`the process ended with ${signal ?? `status ${status}`}`);
  t.equal(String(stdout), '3,always', 'it had changed them');
  const changes = watch(a); // the oldest change is undone last
  while (values()[0] !== 'one') {
    await once(changes, 'change');
  }
  changes.close();
  return values();
}

for (const [how, end] of Object.entries({
  'SIGKILL, in the same breath': "process.kill(process.pid, 'SIGKILL');",
  SIGTERM: "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000);",
  'an exception': "throw new Error('a defect');",
  'process.exit': 'process.exit(0);',
  'nothing left to do': '',
})) {
  t.test(`a process that ends by ${how} has its changes undone`, { timeout: 60_000 }, async (t) => {
    t.strictSame(await killed(t, end), ['one', 'never']);
  });
}

const PAGES = 2;
const skip = await hugetlbSkip(HUGE_PAGE_BYTES, PAGES);

t.test(
  'a hugetlb pool shrinks again when its process is killed',
  { skip, timeout: 60_000 },
  async (t) => {
    const knob = poolKnob(HUGE_PAGE_BYTES);
    await leavesHostAlone(async (t) => {
      const before = Number(readKnob(knob));
      const code = `
      import { growHugetlbPool, readKnob } from '${SUPPORT}';
      growHugetlbPool(${HUGE_PAGE_BYTES}, ${PAGES});
      process.stdout.write(readKnob('${knob}'));
      process.kill(process.pid, 'SIGKILL');`;
      const { signal, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code]);
      t.equal(signal, 'SIGKILL');
      t.ok(Number(String(stdout)) >= PAGES, 'it had grown');
      while (Number(readKnob(knob)) !== before) {
        await setTimeout(10); // sysfs tells nobody; the test has a deadline
      }
    })(t);
  },
);
