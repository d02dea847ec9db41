import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { kickThread } from '../../src/ffi/thread.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { cli } from '../support/cli.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip, rootSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(300_000);
const WITHIN_MILLISECONDS = 1000;

const SPIN = [0xeb, 0xfe]; // 0: jmp 0b
const SAY_READY = [
  ...[0xba, 0xf8, 0x03], // mov $0x3f8, %dx
  ...[0xb0, 0x52, 0xee], // mov $'R', %al; out
  ...[0xb0, 0x0a, 0xee], // mov $'\n', %al; out
];
const ready16 = Buffer.from([...SAY_READY, ...SPIN]);
/** The same in 64-bit mode, where mov to DX needs a prefix. */
const ready64 = [0x66, ...SAY_READY, ...SPIN];

const elf = (code: readonly number[], level: 0 | 3): Uint8Array =>
  buildElf({ code: Uint8Array.from(code), note: buildNote({ level }) });

const image = (t: Test, privilegeLevel: 0 | 3): string =>
  join(t.testdir({ spin: Buffer.from(elf(ready64, privilegeLevel)) }), 'spin');

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  for (const mode of ['real mode', 'CPL0', 'CPL3'] as const) {
    t.test(
      `${signal} ends a guest that never exits, in ${mode}`,
      { skip, timeout: 30_000 },
      async (t) => {
        const path =
          mode === 'real mode'
            ? join(t.testdir({ spin: ready16 }), 'spin')
            : image(t, mode === 'CPL0' ? 0 : 3);
        let sent = 0;
        const result = await cli(
          ['run', path, '--vcpus', '4', '--memory', '8M', '--json'],
          [],
          (written, child) => {
            if (sent === 0 && written.split('R\n').length > 4) {
              sent = performance.now();
              child.kill(signal);
            }
          },
        );
        const took = performance.now() - sent;
        t.ok(took < WITHIN_MILLISECONDS, `it took ${took.toFixed(0)} ms`);
        t.equal(result.status, 1, result.stderr);
        t.match(JSON.parse(result.stdout), { outcome: 'error', error: { code: 'interrupted' } });
      },
    );
  }
}

t.test(
  'the timeout ends a guest that never exits, with status 124',
  { skip, timeout: 30_000 },
  async (t) => {
    const result = await cli([
      'run',
      image(t, 3),
      '--vcpus',
      '2',
      '--memory',
      '8M',
      '--timeout',
      '1',
      '--json',
    ]);
    t.equal(result.status, 124, result.stderr);
    const json = JSON.parse(result.stdout);
    t.match(json, {
      outcome: 'timeout',
      error: { code: 'timeout' },
      perVcpu: [{ end: 'stopped' }, { end: 'stopped' }],
    });
    t.ok(json.wallSeconds < 3, `${json.wallSeconds} s in all`);
  },
);

for (const delivery of ['kernel', 'handler', 'exit'] as const) {
  t.test(
    `an abort in the middle of faulting stops every thread: ${delivery}`,
    { skip, timeout: 30_000 },
    async (t) => {
      const controller = new AbortController();
      let aborted = 0;
      const result = await runGuest({
        image: 'touch',
        delivery,
        vcpus: 4,
        handlers: 2,
        memoryBytes: 256 * 2 ** 20,
        params: { passes: '1000000', share: 'overlap' },
        signal: controller.signal,
        onProgress: ({ faults, seconds }) => {
          if (aborted === 0 && (faults > 1000 || (delivery === 'kernel' && seconds > 1.5))) {
            aborted = performance.now();
            controller.abort();
          }
        },
      });
      t.match(result, { outcome: 'error', error: { code: 'interrupted' } });
      t.equal(result.pages.verified, null, 'nothing is claimed of its memory');
      const took = performance.now() - aborted;
      t.ok(took < WITHIN_MILLISECONDS * 2, `stopping and verifying took ${took.toFixed(0)} ms`);
    },
  );
}

t.test('an abort before the start is an interrupted run', { skip, timeout: 30_000 }, async (t) => {
  const result = await runGuest({
    image: 'hello',
    memoryBytes: 8 * 2 ** 20,
    signal: AbortSignal.abort(),
  });
  t.match(result, { outcome: 'error', error: { code: 'interrupted' } });
});

t.test('a triple fault is a shutdown that says where', { skip, timeout: 30_000 }, async (t) => {
  // ud2 with no IDT
  const path = join(t.testdir({ ud2: Buffer.from(elf([0x0f, 0x0b], 0)) }), 'ud2');
  const result = await runGuest({ image: path, memoryBytes: 8 * 2 ** 20 });
  t.equal(result.outcome, 'shutdown');
  t.match(result.error?.message, /vCPU 0 shut down \(triple fault\) at RIP 0x/);
});

t.test('one vCPU that ends badly stops the others', { skip, timeout: 30_000 }, async (t) => {
  // vCPU 0 spins; the others exit with code 3. RSI is the index.
  const code = [
    ...[0x48, 0x85, 0xf6], //             test %rsi, %rsi
    ...[0x74, 0xfb], //                   jz   the start
    ...[0x66, 0xba, 0xf4, 0x00], //       mov  $0xf4, %dx
    ...[0xb8, 0x03, 0x00, 0x00, 0x00], // mov  $3, %eax
    0xef, //                              out  %eax, %dx
  ];
  const path = join(t.testdir({ mixed: Buffer.from(elf(code, 3)) }), 'mixed');
  const result = await runGuest({
    image: path,
    vcpus: 2,
    memoryBytes: 8 * 2 ** 20,
    timeoutSeconds: 20,
  });
  t.match(result, {
    outcome: 'error',
    error: { code: 'guest', message: 'vCPU 1 ended with exit code 3' },
  });
  t.match(result.perVcpu, [{ end: 'stopped' }, { end: 'exited', exitCode: 3 }]);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(
    `${signal} while 64 threads are starting ends the process within a second`,
    { skip, timeout: 60_000 },
    async (t) => {
      let sent = 0;
      const args = ['run', 'touch', '--vcpus', '64', '--memory', '16M', '--json'];
      const result = await cli(
        args,
        [],
        () => undefined,
        (child) => {
          // Node itself has some ten threads.
          const look = setInterval(() => {
            if (readdirSync(`/proc/${child.pid}/task`).length >= 30) {
              clearInterval(look);
              sent = performance.now();
              child.kill(signal);
            }
          }, 5);
        },
      );
      const took = performance.now() - sent;
      t.ok(took < WITHIN_MILLISECONDS, `it took ${took.toFixed(0)} ms`);
      t.equal(result.status, 1, result.stderr);
      t.match(JSON.parse(result.stdout), { error: { code: 'interrupted' } });
    },
  );
}

t.test(
  'a host that gives no more threads: one sentence, status 3, no hang',
  { skip: skip || rootSkip(), timeout: 60_000 },
  async (t) => {
    const poor = [
      'setpriv',
      '--reuid=65533',
      '--regid=65534',
      '--clear-groups',
      '--inh-caps=+dac_override',
      '--ambient-caps=+dac_override',
      'prlimit',
      '--nproc=20',
    ];
    const { status, stderr } = await cli(
      ['run', 'touch', '--memory', '16M', '--vcpus', '16'],
      poor,
    );
    t.equal(status, 3, stderr);
    t.match(stderr, /a thread could not be started.*ulimit/);
  },
);

for (const delivery of ['kernel', 'handler', 'exit'] as const) {
  t.test(
    `a signal sent to a vCPU thread is taken, and does not end every KVM_RUN after it: ${delivery}`,
    { skip, timeout: 60_000 },
    async (t) => {
      const path = image(t, 3);
      const before = new Set(readdirSync('/proc/self/task'));
      const controller = new AbortController();
      const result = await runGuest({
        image: path,
        delivery,
        memoryBytes: 8 * 2 ** 20,
        signal: controller.signal,
        onConsole: () => {
          for (const thread of readdirSync('/proc/self/task').filter((id) => !before.has(id))) {
            // Only a vCPU's thread has it blocked; to any other it would be the end.
            const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8');
            const blocked = BigInt(`0x${/^SigBlk:\s+(\w+)/m.exec(status)![1]}`);
            if ((blocked & 0x800n) !== 0n && (blocked & 0x40n) !== 0n) {
              kickThread(Number(thread));
            }
          }
          setTimeout(() => controller.abort(), 200);
        },
      });
      t.match(result, { error: { code: 'interrupted' } });
      t.ok(result.perVcpu[0]!.kvmRuns < 100, `${result.perVcpu[0]!.kvmRuns} KVM_RUN calls`);
    },
  );
}

t.test(
  'what a callback throws is thrown by the run, which ends',
  { skip, timeout: 30_000 },
  async (t) => {
    const run = runGuest({
      image: image(t, 3),
      memoryBytes: 8 * 2 ** 20,
      onConsole: () => {
        throw new Error('mine');
      },
    });
    await t.rejects(run, { message: 'mine' });
  },
);

t.test('a stdout that cannot be written is one sentence', { skip, timeout: 30_000 }, async (t) => {
  const full = ['sh', '-c', '"$@" > /dev/full', 'sh'];
  const { status, stderr } = await cli(['run', 'hello', '--memory', '4M', '--json'], full);
  t.equal(status, 1);
  t.match(stderr, /stdout cannot be written \(ENOSPC\)/);
  t.notMatch(stderr, /^\s+at /m);
});
