/** Memory that fails under a guest: it is told by a machine check and carries on, or the run stops. */
import { join } from 'node:path';
import t from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { mappingsOf, openDescriptors, threadCount } from '../support/leaks.js';

t.setTimeout(200_000);

const MIB = 2 ** 20;
const options = { skip: kvmSkip() || uffdSkip(UFFD_FEATURE_POISON), timeout: 60_000 };
const DELIVERIES = ['exit', 'handler'] as const;
const mce: RunOptions = {
  image: 'mce',
  memoryBytes: 16 * MIB,
  onMemoryError: 'inject',
  poison: [0x300000, 0x301000, 0xfff000],
};
const PAGES = 14 * 256;

for (const delivery of DELIVERIES) {
  t.test(
    `${delivery}: a guest is told where its memory failed, and goes on`,
    options,
    async (t) => {
      const run = await runGuest({ ...mce, delivery });
      t.match(run, {
        outcome: 'completed',
        pages: { touched: PAGES, verified: PAGES - 3, mismatched: 0, poisoned: 3 },
        memoryErrors: {
          count: 3,
          records: mce.poison!.map((gpa) => ({ vcpu: 0, gpa, cause: 'asked', injected: true })),
        },
      });
      const [report] = run.perVcpu;
      const [visited, , , , , , , , checks, , right] = report!.report;
      t.strictSame([visited, checks, right], [PAGES - 3, 3, 3], 'by its own count');
      t.comment(
        `UFFDIO_POISON markers: KVM sent SIGBUS, KVM_X86_SET_MCE gave vector 18 ${checks} times`,
      );
    },
  );

  t.test(`${delivery}: every vCPU that touches it is told`, options, async (t) => {
    const run = await runGuest({ ...mce, delivery, vcpus: 4, params: { share: 'overlap' } });
    t.match(run, { outcome: 'completed', memoryErrors: { count: 12 } });
    const told = run.memoryErrors.records.map(({ vcpu, gpa }) => `${vcpu} ${gpa}`);
    t.equal(new Set(told).size, 12);
  });

  t.test(
    `${delivery}: a larger unit fails as a whole, and the bank says so`,
    options,
    async (t) => {
      const run = await runGuest({ ...mce, delivery, unitBytes: 65536, poison: [0x30_5000] });
      t.match(run, {
        outcome: 'completed',
        pages: { poisoned: 16, verified: PAGES - 16 },
        memoryErrors: {
          count: 16,
          records: Array.from({ length: 16 }, (_, page) => ({ gpa: 0x300000 + page * 4096 })),
        },
      });
    },
  );

  t.test(
    `${delivery}: stop: the report says who touched what, and why it failed`,
    options,
    async (t) => {
      const { poison } = mce;
      const run = await runGuest({
        image: 'touch',
        memoryBytes: 16 * MIB,
        delivery,
        poison: poison!,
      });
      t.match(run, {
        outcome: 'memory-error',
        error: {
          code: 'memory-error',
          message:
            /^vCPU 0 at RIP 0x[0-9a-f]+ \(CR0 .*\): no contents for GPA 0x300000 \(HVA 0x[0-9a-f]+\): it was to fail \(--poison\)$/,
        },
        memoryErrors: { count: 1, records: [{ gpa: 0x300000, cause: 'asked', injected: false }] },
        pages: { mismatched: 0 },
      });
      t.equal(run.memoryErrors.records[0]!.hva % 4096, 0);
    },
  );

  t.test(
    `${delivery}: a guest without a handler shuts down, and is told why`,
    options,
    async (t) => {
      const { poison } = mce;
      const run = await runGuest({ ...mce, image: 'touch', delivery, poison: poison! });
      t.match(run, {
        outcome: 'shutdown',
        error: { message: /^vCPU 0 shut down/, hint: /machine check.*vector 18/ },
        memoryErrors: { count: 1, records: [{ injected: true }] },
      });
    },
  );
}

t.test('one handler of several userfaultfds', options, async (t) => {
  const run = await runGuest({ ...mce, delivery: 'handler', vcpus: 4, uffds: 'per-vcpu' });
  t.match(run, { outcome: 'completed', delivery: { userfaultfds: 4 }, memoryErrors: { count: 3 } });
});

t.test('background prefetch leaves pages alone that fail', options, async (t) => {
  for (const delivery of DELIVERIES) {
    const run = await runGuest({ ...mce, delivery, vcpus: 2, prefetch: { bytesPerSecond: null } });
    t.match(run, { outcome: 'completed', pages: { poisoned: 3 }, memoryErrors: { count: 3 } });
  }
});

// At CPL0, which shadow paging emulates: mov 0x301004, %eax; hlt.
const code = Uint8Array.from([0x8b, 0x04, 0x25, 0x04, 0x10, 0x30, 0x00, 0xf4]);

for (const delivery of DELIVERIES) {
  t.test(
    `${delivery}: no machine check answers an access that KVM emulates`,
    options,
    async (t) => {
      const elf = buildElf({ code, note: buildNote({ level: 0 }) });
      const image = join(t.testdir({ 'cpl0.elf': Buffer.from(elf) }), 'cpl0.elf');
      const run = await runGuest({ ...mce, image, delivery, poison: [0x301000] });
      const isShadow = run.host.paging === 'shadow';
      t.comment(isShadow ? 'KVM emulated it: an MMIO exit inside RAM' : 'the CPU made it');
      t.match(
        run,
        isShadow
          ? { outcome: 'memory-error', error: { hint: /^KVM emulates this access/ } }
          : { outcome: 'shutdown', memoryErrors: { records: [{ injected: true }] } },
      );
    },
  );
}

// jmp 0x5000:0, in real mode: the code there is a page that fails.
const jump = Uint8Array.from([0xea, 0x00, 0x00, 0x00, 0x50]);

for (const delivery of DELIVERIES) {
  t.test(`${delivery}: code that cannot be had is a memory error`, options, async (t) => {
    const image = join(t.testdir({ 'jump.bin': Buffer.from(jump) }), 'jump.bin');
    const run = await runGuest({
      image,
      delivery,
      memoryBytes: 8 * MIB,
      unitBytes: 65536,
      poison: [0x50000],
    });
    t.match(run, {
      outcome: 'memory-error',
      error: {
        message:
          /^vCPU 0 at RIP 0x0 \(CS base 0x50000, .* GPA 0x50000 \(HVA 0x[0-9a-f]+, in the fault unit of 64K at 0x50000\): it was to fail/,
      },
    });
  });
}

t.test('a guest that is stopped while it writes has nothing wrong', options, async (t) => {
  for (const delivery of DELIVERIES) {
    const run = await runGuest({
      image: 'touch',
      delivery,
      memoryBytes: 16 * MIB,
      poison: [0x898000],
      prefetch: { bytesPerSecond: null },
      params: { write: '50' },
    });
    t.match(run, { outcome: 'memory-error', pages: { mismatched: 0 } });
    t.ok(run.pages.verified! > 0);
  }
});

eachBacking(
  'a page at the end fails',
  { ...options, bytes: (pageBytes) => Math.max(16 * MIB, 4 * pageBytes) },
  async (t, backing, memoryBytes) => {
    for (const delivery of DELIVERIES) {
      const run = await runGuest({
        ...mce,
        backing: backing.name as NonNullable<RunOptions['backing']>,
        memoryBytes,
        delivery,
        poison: [memoryBytes - 1],
      });
      t.match(run, { outcome: 'completed', pages: { mismatched: 0 } }, delivery);
      t.ok(run.memoryErrors.count >= 1);
      t.equal(run.memoryErrors.count, run.pages.poisoned);
    }
  },
);

t.test('nothing is left', options, async (t) => {
  const run = (delivery: 'exit' | 'handler') => runGuest({ ...mce, delivery });
  await run('exit'); // koffi and the engine open what they keep
  const before = [openDescriptors(), threadCount(), mappingsOf('faultline').length];
  for (const delivery of DELIVERIES) {
    await run(delivery);
  }
  t.strictSame([openDescriptors(), threadCount(), mappingsOf('faultline').length], before);
});
