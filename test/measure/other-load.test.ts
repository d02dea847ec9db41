import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import {
  type CpuTimes,
  isDisturbed,
  OtherLoad,
  otherCpusBetween,
  parseCpuTime,
  readCpuTimes,
} from '../../src/measure/other-load.js';

t.setTimeout(60_000);

const times = (at: number, all: number, own: number): CpuTimes => ({ at, all, own });

t.test('user, nice and system time are use; idling, interrupts and steal are not', async (t) => {
  const stat = (rest: string): string => `cpu  100 20 30 ${rest}\ncpu0 1 2 3 4 5 6 7 8 9 10\n`;
  t.equal(parseCpuTime(stat('4 5 6 7 8 9 10')), 1.5);
  t.equal(parseCpuTime(stat('400 500 600 700 800 900 1000')), 1.5);
  t.ok(Number.isNaN(parseCpuTime('nothing of the kind')));
});

t.test('what this process uses is no disturbance, what others do is', async (t) => {
  const before = times(100, 50, 20);
  t.equal(otherCpusBetween(before, times(102, 53.9, 23.9), 2), 0, 'all of it was ours');
  t.equal(otherCpusBetween(before, times(102, 52.05, 22), 2), 0, 'as much as ticks cannot tell');
  const half = otherCpusBetween(before, times(102, 53.05, 22), 2)!;
  t.ok(Math.abs(half - 0.5) < 1e-6, `${half}`);
  t.equal(otherCpusBetween(before, times(102, 51, 22), 2), 0, 'never below nothing');
});

t.test('a run of some ticks does not tell, unless it was disturbed beyond doubt', async (t) => {
  const before = times(100, 50, 20);
  t.equal(otherCpusBetween(before, times(100.2, 50.2, 20.2), 2), null);
  t.equal(otherCpusBetween(before, times(100.2, 50.35, 20.2), 2)! > 0.1, true);
  t.equal(otherCpusBetween(before, times(100.6, 50.6, 20.6), 2), 0, 'long enough');
});

t.test('more than a tenth of a CPU disturbs', async (t) => {
  t.equal(isDisturbed({ otherCpus: 0.11 }), true);
  t.equal(isDisturbed({ otherCpus: 0.1 }), false);
  t.equal(isDisturbed({ otherCpus: null }), false);
});

t.test('time used does not run backwards', async (t) => {
  const before = readCpuTimes();
  for (let now = before; now.own < before.own + 0.05; now = readCpuTimes()) {
    if (now.all < before.all || now.at < before.at) {
      t.fail('it does');
      return;
    }
  }
  t.pass();
});

/** CPUs that others used while this process waited. */
async function watch(): Promise<number> {
  const load = new OtherLoad();
  load.begin();
  await setTimeout(1500);
  load.end();
  return load.cpus!;
}

t.test('a process that spins beside us is seen', async (t) => {
  // Whatever else this machine does goes on in both halves: only the difference is judged. Where
  // others leave no CPU for one process more, there is none to be seen.
  let seen = 0;
  for (let tries = 0; tries < 3 && seen < 0.3; tries++) {
    const quiet = await watch();
    const child = spawn(process.execPath, ['-e', 'process.stdout.write("!"); for (;;) {}']);
    await once(child.stdout, 'data');
    const busy = await watch();
    child.kill('SIGKILL');
    await once(child, 'close');
    t.comment(`${quiet} without, ${busy} with it`);
    seen = Math.max(busy - quiet, busy > 0.9 ? busy : 0);
  }
  t.ok(seen >= 0.3, `${seen} CPUs more`);
  t.equal(new OtherLoad().cpus, null, 'which is not known before the end');
});

t.test('what this process does itself is not seen as others', async (t) => {
  const before = readCpuTimes();
  let spun = 0;
  for (let now = before; now.own < before.own + 1; now = readCpuTimes()) {
    spun++;
  }
  const after = readCpuTimes();
  t.ok(spun > 0);
  // One second of CPU was ours; others may have used what they like of the rest.
  const others = otherCpusBetween(before, after, 2)! * (after.at - before.at);
  t.ok(others <= after.all - before.all - 0.9, `${others} s of ${after.all - before.all} s`);
});
