import t, { type Test } from 'tap';
import { INSTALLED } from '../../src/fault/outcome.js';
import { BACKINGS, type Backing } from '../../src/memory/backing.js';
import { MemoryChanges } from '../../src/memory/changes.js';
import { AWAITED, CLAIMED, MAPPED, MISSING, POISONED } from '../../src/memory/page-states.js';
import { explainAbsence, restoreEntries } from '../../src/memory/repair.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };
/** Of which the kernel drops entries at any time: the file keeps the pages. */
const keepsPages = { ...options, of: ({ fill }: Backing) => fill === 'continue' };
const never = (): boolean => false;

/** Memory in exit delivery with these units mapped, closed when the test ends. */
function mapped(t: Test, backing: Backing, bytes: number, units: readonly number[]) {
  const trap = new TrappedMemory('exit', bytes / PAGE, backing.pageBytes, backing);
  t.teardown(() => trap.close());
  const { resolve } = trap.resolver();
  for (const unit of units) {
    t.equal(resolve(unit), INSTALLED);
  }
  const view = new GuestPages(trap.memory.layout);
  const restore = (start = 0, length = bytes) =>
    restoreEntries(trap.memory.layout, trap.trap, start, length);
  return { trap, view, restore, unitBytes: backing.pageBytes };
}

eachBacking('dropped entries are put back', keepsPages, (t, backing, bytes) => {
  const { trap, view, restore } = mapped(t, backing, bytes, [0, 2]);
  t.strictSame(restore(), { restored: 0, claimed: 0 }, 'nothing is to be done beforehand');
  trap.forget(0, bytes);
  t.strictSame(view.units(), Array(4).fill('EFAULT'));
  t.strictSame(restore(), { restored: bytes, claimed: 0 });
  t.strictSame(view.units(), ['source', 'EFAULT', 'source', 'EFAULT']);
  if (!backing.hugetlb) {
    t.strictSame(trap.ptes(), ['present', 'marker', 'present', 'marker']);
  }
  t.strictSame(restore(), { restored: 0, claimed: 0 }, 'once');
  t.equal(trap.resolver().resolve(1), INSTALLED, 'what is missing can still be brought in');
  t.equal(view.unit(1), 'source');
});

eachBacking('claimed units are counted and left alone', keepsPages, (t, backing, bytes) => {
  const { trap, view, restore, unitBytes } = mapped(t, backing, bytes, [0, 1, 2]);
  const { words } = trap.memory.states;
  words[1] = CLAIMED;
  words[2] = AWAITED;
  words[3] = POISONED;
  trap.forget(0, bytes);
  t.strictSame(restore(), { restored: unitBytes, claimed: 2 * unitBytes });
  t.strictSame(view.units(), ['source', 'EFAULT', 'EFAULT', 'EFAULT']);
  t.strictSame([...words], [MAPPED, CLAIMED, AWAITED, POISONED]);
});

eachBacking('only the range asked for is looked at', keepsPages, (t, backing, bytes) => {
  const { trap, view, restore, unitBytes } = mapped(t, backing, bytes, [0, 1, 2, 3]);
  trap.forget(0, bytes);
  t.strictSame(restore(unitBytes, 2 * unitBytes), { restored: 2 * unitBytes, claimed: 0 });
  t.strictSame(view.units(), ['EFAULT', 'source', 'source', 'EFAULT']);
});

t.test('a part of a unit is put back, and what is there stays', options, async (t) => {
  const trap = new TrappedMemory('exit', 16, 4 * PAGE);
  t.teardown(() => trap.close());
  const { resolve } = trap.resolver();
  resolve(1);
  resolve(2);
  trap.forget(5, 4 * PAGE); // of unit 1 all but its first page, of unit 2 that
  const restored = restoreEntries(trap.memory.layout, trap.trap, 0, 16 * PAGE);
  t.strictSame(restored, { restored: 4 * PAGE, claimed: 0 });
  const view = new GuestPages(trap.memory.layout);
  t.strictSame(view.units(), ['EFAULT', 'source', 'source', 'EFAULT']);
});

t.test('many holes are put back, in more than one call for what is absent', options, async (t) => {
  const trap = new TrappedMemory('exit', 1024);
  t.teardown(() => trap.close());
  const { resolve } = trap.resolver();
  for (let unit = 0; unit < 1024; unit++) {
    resolve(unit);
  }
  for (let unit = 0; unit < 1024; unit += 2) {
    trap.forget(unit, PAGE);
  }
  const { restored } = restoreEntries(trap.memory.layout, trap.trap, 0, 1024 * PAGE);
  t.equal(restored, 512 * PAGE);
  t.strictSame(new Set(new GuestPages(trap.memory.layout).units()), new Set(['source']));
});

t.test('resident units are left to the kernel', options, async (t) => {
  const { trap, view, restore } = mapped(t, BACKINGS.shmem, 4 * PAGE, [0, 1, 2]);
  trap.memory.keepResident([1], trap.trap);
  trap.forget(0, 4 * PAGE);
  t.strictSame(restore(), { restored: 3 * PAGE, claimed: 0 });
  t.equal(trap.pte(1), 'none');
  t.strictSame(view.units(), ['source', 'source', 'source', 'EFAULT'], 'which maps it itself');
});

t.test('in handler delivery what is missing gets no marker', options, async (t) => {
  const trap = new TrappedMemory('handler', 4);
  t.teardown(() => trap.close());
  trap.resolver({ caller: 'handler' }).resolve(0);
  trap.forget(0, 4 * PAGE);
  const restored = restoreEntries(trap.memory.layout, trap.trap, 0, 4 * PAGE);
  t.strictSame(restored, { restored: PAGE, claimed: 0 });
  t.strictSame(trap.ptes(), ['present', 'none', 'none', 'none']);
});

t.test('a fault without an address is explained', options, async (t) => {
  const { trap, view } = mapped(t, BACKINGS.shmem, 4 * PAGE, [0, 1]);
  const changes = new MemoryChanges(trap.memory.layout.changes);
  const explain = (sequence: number) =>
    explainAbsence(trap.memory.layout, trap.trap, sequence, never);

  const before = changes.sequence;
  t.equal(explain(before), 'unexplained', 'every entry is there');
  t.equal(explain(before), 'disturbed', 'the look itself was a change, for other threads');

  trap.forget(0, PAGE);
  t.equal(explain(changes.sequence), 'restored');
  t.equal(view.unit(0), 'source');
  t.equal(explain(changes.sequence), 'unexplained', 'it does not say so twice');

  trap.forget(2, PAGE);
  t.equal(explain(changes.sequence), 'restored', 'a marker was missing');
  t.equal(trap.pte(2), 'marker');

  t.equal(trap.memory.states.claim(3), MISSING);
  trap.forget(3, PAGE);
  t.equal(explain(changes.sequence), 'disturbed', 'another thread brings it in');
  t.equal(trap.pte(3), 'none');
  trap.memory.states.publish(3, MISSING);
  t.equal(explain(changes.sequence), 'restored');
});

t.test('while memory is being changed, nothing is looked at', options, async (t) => {
  const { trap } = mapped(t, BACKINGS.shmem, 4 * PAGE, [0]);
  const { layout } = trap.memory;
  const changes = new MemoryChanges(layout.changes);
  const before = changes.sequence;
  t.ok(changes.begin(never));
  trap.forget(0, PAGE);
  t.equal(explainAbsence(layout, trap.trap, before, never), 'disturbed');
  t.equal(explainAbsence(layout, trap.trap, changes.sequence, never), 'disturbed');
  t.equal(trap.pte(0), 'none');
  changes.end();
  t.equal(explainAbsence(layout, trap.trap, before, never), 'disturbed', 'nor right after');
  t.equal(explainAbsence(layout, trap.trap, changes.sequence, never), 'restored');
});
