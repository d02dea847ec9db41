import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { INSTALLED } from '../../src/fault/outcome.js';
import { close, syscall } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { BACKINGS, type Backing } from '../../src/memory/backing.js';
import { MemoryChanges } from '../../src/memory/changes.js';
import { Blocks, COLLAPSED, collapseBlock } from '../../src/memory/collapse.js';
import { createDiscard } from '../../src/memory/discard.js';
import { hugeMappedBytes } from '../../src/memory/huge-pages.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { eachBacking } from '../support/backings.js';
import { GuestPages } from '../support/guest-pages.js';
import { uffdSkip } from '../support/host.js';
import { PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 60_000 };
const eachOptions = {
  ...options,
  bytes: () => 3 * HUGE_PAGE_BYTES,
  of: ({ collapsible }: Backing) => collapsible,
};
/** Smaller than a block, and not the smallest: 32 to a block. */
const UNIT = 65536;
const UNITS = HUGE_PAGE_BYTES / UNIT;
const never = (): boolean => false;

/** Three blocks: the second complete, of the third a half, of the first nothing. */
function setUp(t: Test, backing: Backing, delivery: 'exit' | 'handler' = 'exit') {
  const pages = (3 * HUGE_PAGE_BYTES) / PAGE;
  const trap = new TrappedMemory(delivery, pages, UNIT, backing);
  t.teardown(() => trap.close());
  const { layout } = trap.memory;
  const { resolve } = trap.resolver({ caller: 'prefetch' });
  for (let unit = UNITS; unit < 2.5 * UNITS; unit++) {
    if (resolve(unit) !== INSTALLED) {
      t.fail(`unit ${unit} was not brought in`);
    }
  }
  return {
    trap,
    layout,
    resolve,
    view: new GuestPages(layout),
    collapse: (block: number, stopping = never) =>
      collapseBlock(layout, trap.trap, block, stopping),
    hugeBytes: () => hugeMappedBytes(layout.guestAddress, layout.bytes),
    flags: () => new Int32Array(layout.collapsed),
  };
}

/** What {@link setUp} has brought in. */
const AFTER_SET_UP = Array.from({ length: 3 * UNITS }, (_, unit) =>
  unit >= UNITS && unit < 2.5 * UNITS ? 'source' : 'EFAULT',
);

eachBacking('a complete block is mapped by a huge page', eachOptions, (t, backing) => {
  const { trap, collapse, hugeBytes, view, flags, layout } = setUp(t, backing);
  t.equal(hugeBytes(), 0);
  t.ok(new Blocks(layout).mayCollapse(1));
  t.strictSame(collapse(1), { outcome: 'collapsed' });
  t.equal(hugeBytes(), HUGE_PAGE_BYTES);
  t.strictSame(view.units(), AFTER_SET_UP, 'contents as before, the rest still traps');
  t.ok(
    trap
      .ptes()
      .slice(0, 512)
      .every((pte) => pte === 'marker'),
  );
  t.ok(
    trap
      .ptes()
      .slice(1280)
      .every((pte) => pte === 'marker'),
  );
  t.equal(flags()[1], COLLAPSED);
  t.notOk(new Blocks(layout).mayCollapse(1), 'it is done');
});

eachBacking(
  'a collapsed block is trapped again as soon as it is discarded',
  eachOptions,
  (t, backing) => {
    const { trap, layout, collapse, view, resolve, hugeBytes } = setUp(t, backing);
    collapse(1);
    const discard = createDiscard({
      memory: layout,
      trap: trap.trap,
      stopping: never,
      bringIn: never,
    });
    const unit = UNITS + 7;
    t.strictSame(discard(unit * UNIT, UNIT), { units: 1, zeroedBytes: 0 });
    const wanted = AFTER_SET_UP.with(unit, 'EFAULT');
    t.strictSame(view.units(), wanted, 'it faults, and its neighbours are readable');
    t.notOk(trap.ptes().includes('none'), 'without a touch, every entry is there again');
    t.equal(resolve(unit), INSTALLED);
    t.strictSame(view.units(), AFTER_SET_UP);
    t.ok(new Blocks(layout).mayCollapse(1));
    t.strictSame(collapse(1), { outcome: 'collapsed' }, 'and can be collapsed again');
    t.equal(hugeBytes(), HUGE_PAGE_BYTES);
    t.strictSame(view.units(), AFTER_SET_UP);
    discard(UNITS * UNIT, HUGE_PAGE_BYTES);
    t.equal(hugeBytes(), 0);
    t.strictSame(view.units().slice(0, 2 * UNITS), Array(2 * UNITS).fill('EFAULT'), 'as a whole');
  },
);

eachBacking('an incomplete block is left as it is', eachOptions, (t, backing) => {
  const { trap, collapse, hugeBytes, view, flags, layout } = setUp(t, backing);
  const before = trap.ptes();
  for (const block of [0, 2, 3, 100]) {
    t.notOk(new Blocks(layout).mayCollapse(block));
    t.strictSame(collapse(block), { outcome: 'incomplete' });
  }
  trap.memory.states.claimMapped(UNITS);
  t.strictSame(collapse(1), { outcome: 'incomplete' }, 'one whose last unit is claimed too');
  t.strictSame(trap.ptes(), before, 'its markers are there');
  t.strictSame(view.units(), AFTER_SET_UP);
  t.equal(hugeBytes(), 0);
  t.strictSame([...flags()], [0, 0, 0]);
});

eachBacking('in handler delivery too', eachOptions, (t, backing) => {
  const { trap, collapse, hugeBytes, layout, view } = setUp(t, backing, 'handler');
  t.strictSame(collapse(1), { outcome: 'collapsed' });
  t.strictSame(collapse(2), { outcome: 'incomplete' });
  t.equal(hugeBytes(), HUGE_PAGE_BYTES);
  for (let unit = UNITS; unit < 2 * UNITS; unit++) {
    t.equal(view.unit(unit), 'source');
  }
  const discard = createDiscard({
    memory: layout,
    trap: trap.trap,
    stopping: never,
    bringIn: never,
  });
  discard(UNITS * UNIT, UNIT);
  t.not(trap.pte(512), 'present');
  t.equal(trap.resolver({ caller: 'handler' }).resolve(UNITS), INSTALLED);
  t.equal(view.unit(UNITS), 'source');
});

eachBacking('where nothing is trapped', eachOptions, (t, backing) => {
  const { trap, layout, view, hugeBytes } = setUp(t, backing);
  trap.uffd.close();
  t.strictSame(collapseBlock(layout, null, 1, never), { outcome: 'collapsed' });
  t.equal(hugeBytes(), HUGE_PAGE_BYTES);
  t.equal(view.unit(UNITS), 'source');
});

// asm/unistd_64.h
const SYS_PIPE2 = 293;
const SYS_VMSPLICE = 278;

/** Makes the kernel hold a page, as DMA would, until the test ends. */
function hold(t: Test, address: number): void {
  const page = new ScratchPage(32);
  t.equal(syscall(SYS_PIPE2, page.address, 0, 0, 0, 0), 0);
  const [reader, writer] = [page.s32[0]!, page.s32[1]!];
  t.teardown(() => {
    close(reader);
    close(writer);
  });
  page.setU64(16, address);
  page.setU64(24, PAGE);
  t.equal(syscall(SYS_VMSPLICE, writer, page.address + 16, 1, 0, 0), PAGE, 'a page is held');
}

eachBacking(
  'one that the kernel cannot collapse stays readable and trapped',
  eachOptions,
  (t, backing) => {
    const { trap, layout, collapse, hugeBytes, view, flags, resolve } = setUp(t, backing);
    if (backing.hugeFile) {
      t.comment('its pages are huge already, and need not be moved');
      return;
    }
    hold(t, trap.guestAddress(512 + 200));
    const before = trap.ptes();
    const result = collapse(1);
    t.equal(result.outcome, 'failed');
    t.ok(result.outcome === 'failed' && result.errno > 0);
    t.strictSame(trap.ptes(), before, 'without a touch, every entry is there');
    t.strictSame(view.units(), AFTER_SET_UP);
    t.equal(hugeBytes(), 0);
    t.equal(flags()[1], 0);
    t.ok(new Blocks(layout).mayCollapse(1), 'it may be tried again');
    const discard = createDiscard({
      memory: layout,
      trap: trap.trap,
      stopping: never,
      bringIn: never,
    });
    discard(UNITS * UNIT, UNIT);
    t.equal(view.unit(UNITS), 'EFAULT', 'still registered');
    t.equal(resolve(UNITS), INSTALLED);
  },
);

t.test(
  'a userfaultfd that is gone is a failure, and the memory is readable',
  options,
  async (t) => {
    const { trap, collapse, view } = setUp(t, BACKINGS.shmem);
    trap.uffd.close();
    t.strictSame(collapse(1), { outcome: 'failed', errno: constants.errno.EBADF });
    t.equal(view.unit(UNITS), 'source');
  },
);

t.test('a block that is resident in part is left as it is', options, async (t) => {
  const { trap, layout, collapse, view, hugeBytes } = setUp(t, BACKINGS.shmem);
  trap.memory.keepResident([UNITS, UNITS + 1, UNITS + 5], trap.trap);
  t.strictSame(collapse(1), { outcome: 'incomplete' });
  t.equal(hugeBytes(), 0);
  const discard = createDiscard({
    memory: layout,
    trap: trap.trap,
    stopping: never,
    bringIn: never,
  });
  discard((UNITS + 6) * UNIT, UNIT);
  t.strictSame(view.units(), AFTER_SET_UP.with(UNITS + 6, 'EFAULT'));
});

t.test('a block that is resident as a whole collapses', options, async (t) => {
  const { trap, collapse, view, hugeBytes } = setUp(t, BACKINGS.shmem);
  const all = Array.from({ length: HUGE_PAGE_BYTES / UNIT }, (_, unit) => UNITS + unit);
  trap.memory.keepResident(all, trap.trap);
  t.strictSame(collapse(1), { outcome: 'collapsed' });
  t.equal(hugeBytes(), HUGE_PAGE_BYTES);
  t.strictSame(view.units(), AFTER_SET_UP);
});

t.test('told to stop while memory is being changed, it does not begin', options, async (t) => {
  const { layout, collapse, hugeBytes } = setUp(t, BACKINGS.shmem);
  const changes = new MemoryChanges(layout.changes);
  changes.begin(never);
  t.strictSame(
    collapse(1, () => true),
    { outcome: 'stopped' },
  );
  changes.end();
  t.equal(hugeBytes(), 0);
  t.strictSame(collapse(1), { outcome: 'collapsed' });
});
