import t from 'tap';
import type { DeliveryName } from '../../src/machine/delivery.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(300_000);
const MIB = 2 ** 20;
const PAGES = 4096;
const options = {
  image: 'touch',
  memoryBytes: 18 * MIB,
  params: { pages: String(PAGES) },
} as const;

t.test(
  'exit: one KVM_RUN, one sigtimedwait, one UFFDIO_CONTINUE a page, and nobody sleeps',
  { skip },
  async (t) => {
    const { outcome, pages, faults, perFault, delivery } = await runGuest({
      ...options,
      delivery: 'exit',
    });
    t.equal(outcome, 'completed');
    t.equal(delivery.reportedBy, 'trap-marker');
    t.match(pages, { touched: PAGES, verified: PAGES, mismatched: 0 });
    t.match(faults, { count: PAGES, outcomes: { installed: PAGES } });
    t.ok(perFault.syscalls! <= 3.02, `${perFault.syscalls} system calls per fault`);
    t.ok(
      perFault.contextSwitches! <= 0.1,
      `${perFault.contextSwitches} context switches per fault`,
    );
    if (perFault.mmapLockAcquisitions !== null) {
      t.ok(
        perFault.mmapLockAcquisitions <= 1.1,
        `${perFault.mmapLockAcquisitions} mmap_lock acquisitions per fault`,
      );
    }
  },
);

t.test('handler: the vCPU sleeps once a page and is woken once', { skip }, async (t) => {
  const { outcome, pages, faults, perFault } = await runGuest({ ...options, delivery: 'handler' });
  t.equal(outcome, 'completed');
  t.match(pages, { touched: PAGES, verified: PAGES, mismatched: 0 });
  t.match(faults, { count: PAGES, outcomes: { installed: PAGES } });
  t.ok(
    perFault.contextSwitches! > 1.5 && perFault.contextSwitches! < 2.5,
    `${perFault.contextSwitches} context switches per fault`,
  );
  if (perFault.mmapLockAcquisitions !== null) {
    t.ok(
      perFault.mmapLockAcquisitions > 3.5 && perFault.mmapLockAcquisitions < 4.5,
      `${perFault.mmapLockAcquisitions} mmap_lock acquisitions per fault`,
    );
  }
});

t.test('kernel: the kernel serves a fault a written page by itself', { skip }, async (t) => {
  const { outcome, pages, faults, perFault, resolveMicroseconds } = await runGuest({
    ...options,
    delivery: 'kernel',
    params: { ...options.params, write: '100' },
  });
  t.equal(outcome, 'completed');
  t.match(pages, { touched: PAGES, verified: PAGES, mismatched: 0 });
  t.ok(faults.count >= PAGES && faults.count < PAGES * 1.05, `${faults.count} faults`);
  t.equal(resolveMicroseconds, null, 'nothing was resolved in userspace');
  t.equal(perFault.userMicroseconds, null);
});

const matrix: {
  delivery: DeliveryName;
  vcpus: number;
  params: Record<string, string>;
  unitBytes?: number;
  source?: 'zero';
}[] = [];
for (const delivery of ['kernel', 'handler', 'exit'] as const) {
  for (const vcpus of [1, 4]) {
    for (const share of ['partition', 'overlap']) {
      for (const order of ['sequential', 'random', 'strided']) {
        matrix.push({
          delivery,
          vcpus,
          params: { share, order, write: '40', passes: '2', pages: '1000', stride: '37' },
        });
      }
    }
    matrix.push({ delivery, vcpus, params: { pages: '1000', write: '30' }, source: 'zero' });
    matrix.push({
      delivery,
      vcpus,
      params: { pages: '1000', write: '30', order: 'random' },
      unitBytes: 65536,
    });
    matrix.push({
      delivery,
      vcpus,
      params: { pages: '1000', order: 'strided' },
      unitBytes: 2 * MIB,
    });
  }
}
for (const { source, ...chosen } of matrix) {
  const name = [
    chosen.delivery,
    `${chosen.vcpus} vCPUs`,
    `unit ${chosen.unitBytes ?? 4096}`,
    source ?? 'pattern',
    ...Object.entries(chosen.params).map(([key, value]) => `${key}=${value}`),
  ].join(' ');
  t.test(`completes and verifies: ${name}`, { skip }, async (t) => {
    const result = await runGuest({
      image: 'touch',
      memoryBytes: 8 * MIB,
      timeoutSeconds: 30,
      ...chosen,
      ...(source && { source: { kind: source } }),
    });
    t.match(result, { outcome: 'completed', error: null });
    t.match(result.pages, { touched: 1000, verified: 1000, mismatched: 0 });
    if (chosen.delivery !== 'kernel') {
      const units = new Set(
        Array.from({ length: 1000 }, (_, page) =>
          Math.floor(((512 + page) * 4096) / (chosen.unitBytes ?? 4096)),
        ),
      );
      t.equal(result.faults.outcomes.installed, units.size, 'every unit is brought in once');
    }
  });
}

t.test('a guest that finds a wrong word is a mismatch, not a success', { skip }, async (t) => {
  // A random order with another pattern seed in the parameters cannot be had by options: the source
  // is what differs here, zero under a guest that is told to expect the pattern.
  const { PatternSource } = await import('../../src/source/pattern-source.js');
  const compare = PatternSource.prototype.compare;
  t.teardown(() => {
    PatternSource.prototype.compare = compare;
  });
  PatternSource.prototype.compare = (page: number) => (page === 700 ? 5 : -1);
  const result = await runGuest({ ...options, delivery: 'exit' });
  t.equal(result.outcome, 'mismatch');
  t.match(result.error, {
    code: 'mismatch',
    message: /1 of 4096 pages are wrong, the first at GPA 0x2bc014/,
  });
  t.match(result.pages, { touched: null, verified: PAGES - 1, mismatched: 1 });
});
