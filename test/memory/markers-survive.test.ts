/** Markers in incomplete memory under MADV_COLLAPSE, entry by entry. */
import { constants } from 'node:os';
import t from 'tap';
import { errno, fallocate, ioctl, madvise } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { BACKING_KINDS, BACKINGS, type BackingKind } from '../../src/memory/backing.js';
import { MemoryChanges } from '../../src/memory/changes.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MAPPED } from '../../src/memory/page-states.js';
import { explainAbsence } from '../../src/memory/repair.js';
import { HUGE_PAGE_BYTES } from '../../src/memory/sizes.js';
import { markerFeatures, trapMissing } from '../../src/memory/trap.js';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MADV_COLLAPSE,
  MADV_POPULATE_WRITE,
} from '../../src/uapi/mman.js';
import {
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
  UFFDIO_WRITEPROTECT,
  UFFDIO_WRITEPROTECT_MODE_WP,
  uffdio_range,
  uffdio_writeprotect,
} from '../../src/uapi/userfaultfd.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import { Attack } from '../support/attack.js';
import { findGuestMemory, mapAgain } from '../support/found-memory.js';
import { rootSkip, uffdSkip } from '../support/host.js';
import { type Census, censusOf } from '../support/page-table.js';

const PAGE = 4096;
const PAGES = HUGE_PAGE_BYTES / PAGE;
const BYTES = 2 * HUGE_PAGE_BYTES;
const MAPPED_PAGES = 300;
const PROTECTED_PAGES = 200;

const skip =
  rootSkip() || // CAP_CHECKPOINT_RESTORE, for another mapping of memory without a name
  uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);

/** One block, part mapped and part marked, the file full; and another mapping of the file. */
function incomplete(kind: BackingKind) {
  const memory = GuestMemory.create(BACKINGS[kind], BYTES, PAGE);
  const {
    uffds: [uffd],
    trap,
  } = trapMissing(memory, true);
  const { guestAddress, aliasAddress } = memory.layout;
  madvise(aliasAddress, BYTES, MADV_POPULATE_WRITE);
  uffd.continueRange(guestAddress, MAPPED_PAGES * PAGE, PAGE);
  memory.states.words.fill(MAPPED, 0, MAPPED_PAGES);
  const foreign = mapAgain(findGuestMemory());
  return {
    memory,
    uffd,
    trap,
    foreign,
    census: (): Census => censusOf(guestAddress, HUGE_PAGE_BYTES),
    /** As a vCPU does that has touched an entry that is gone. */
    repair: () =>
      explainAbsence(
        memory.layout,
        trap,
        new MemoryChanges(memory.layout.changes).sequence,
        () => false,
      ),
    close: () => {
      foreign.close();
      uffd.close();
      memory.close();
    },
  };
}

function collapse(address: number): number {
  return madvise(address, HUGE_PAGE_BYTES, MADV_COLLAPSE) === 0 ? 0 : errno();
}

function protect(uffd: Userfaultfd, address: number, bytes: number): number {
  const page = new ScratchPage(64);
  const { offset } = uffdio_writeprotect;
  page.setU64(offset.range + uffdio_range.offset.start, address);
  page.setU64(offset.range + uffdio_range.offset.len, bytes);
  page.setU64(offset.mode, UFFDIO_WRITEPROTECT_MODE_WP);
  return ioctl(uffd.fd, UFFDIO_WRITEPROTECT, page.address);
}

const shared = BACKING_KINDS.filter((kind) => BACKINGS[kind].alias && BACKINGS[kind].collapsible);
const NOTHING: Census = {
  present: 0,
  presentProtected: 0,
  markers: 0,
  protectMarkers: 0,
  none: 0,
};

for (const kind of shared) {
  t.test(`${kind}: a collapse through another mapping leaves trap markers`, { skip }, async (t) => {
    const block = incomplete(kind);
    t.teardown(block.close);
    const before = block.census();
    t.strictSame(before, { ...NOTHING, present: MAPPED_PAGES, markers: PAGES - MAPPED_PAGES });
    t.equal(collapse(block.foreign.address), 0, 'the file has a huge page now');
    const after = block.census();
    t.equal(after.markers, before.markers);
    const hadHugePage = kind === 'tmpfs-huge';
    t.equal(after.none, hadHugePage ? 0 : MAPPED_PAGES, 'what was mapped is not any more');
    const explanation = block.repair();
    t.equal(explanation, hadHugePage ? 'unexplained' : 'restored');
    t.strictSame(block.census(), before, 'and all is as before');
  });

  t.test(`${kind}: and write-protect markers`, { skip }, async (t) => {
    const block = incomplete(kind);
    t.teardown(block.close);
    const { guestAddress } = block.memory.layout;
    // Of mapped pages and, beyond them, of marked ones, which have nothing to protect.
    t.equal(protect(block.uffd, guestAddress, PROTECTED_PAGES * PAGE), 0);
    t.equal(protect(block.uffd, guestAddress + 400 * PAGE, 50 * PAGE), 0);
    const before = block.census();
    t.strictSame(before, {
      ...NOTHING,
      present: MAPPED_PAGES,
      presentProtected: PROTECTED_PAGES,
      markers: PAGES - MAPPED_PAGES,
    });
    t.equal(collapse(block.foreign.address), 0);
    const { presentProtected, protectMarkers, markers } = block.census();
    t.equal(presentProtected + protectMarkers, PROTECTED_PAGES);
    t.equal(markers, before.markers);
    block.repair();
    t.strictSame(block.census(), before, 'pages come back protected as they were');
  });

  t.test(`${kind}: no hole of the file is filled with zeroes`, { skip }, async (t) => {
    const block = incomplete(kind);
    t.teardown(block.close);
    const { fd } = block.memory.layout;
    if (fd < 0) {
      return; // without a descriptor it cannot be punched from outside
    }
    const hole = 400 * PAGE;
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    t.equal(fallocate(fd, mode, hole, PAGE), 0);
    const { EBUSY, EINVAL } = constants.errno;
    t.ok([EBUSY, EINVAL].includes(collapse(block.foreign.address)), 'it gives up');
    t.ok(block.census().markers >= PAGES - MAPPED_PAGES - 1);
    block.repair();
    t.match(block.census(), { present: MAPPED_PAGES, markers: PAGES - MAPPED_PAGES, none: 0 });
    // The file still has no page there.
    t.throws(() => block.uffd.continueRange(block.memory.layout.guestAddress + hole, PAGE, PAGE), {
      message: /EFAULT/,
    });
  });

  t.test(`${kind}: not one marker is lost in a thousand attempts`, { skip }, async (t) => {
    const block = incomplete(kind);
    t.teardown(block.close);
    const { guestAddress } = block.memory.layout;
    const attacks = [await Attack.prepare(), await Attack.prepare()];
    attacks[0]!.begin({ address: block.foreign.address, bytes: BYTES, advice: MADV_COLLAPSE });
    attacks[1]!.begin({ address: guestAddress, bytes: BYTES, advice: MADV_COLLAPSE });
    const deadline = Date.now() + 20_000;
    let calls = 0;
    for (let round = 0; round < 200 && Date.now() < deadline; round++) {
      const { markers } = block.census();
      if (markers !== PAGES - MAPPED_PAGES) {
        t.fail(`${markers} markers in round ${round}`);
      }
      block.repair();
      await new Promise(setImmediate);
    }
    for (const attack of attacks) {
      calls += (await attack.end()).calls;
    }
    t.ok(calls > 1000, `${calls} attempts`);
    block.repair();
    t.match(block.census(), { present: MAPPED_PAGES, markers: PAGES - MAPPED_PAGES, none: 0 });
  });
}

t.test(
  'anonymous private memory: the guest mapping itself is not collapsed',
  { skip },
  async (t) => {
    using memory = GuestMemory.create(BACKINGS['anon-private'], BYTES, PAGE);
    const {
      uffds: [uffd],
    } = trapMissing(memory, true);
    t.teardown(() => uffd.close());
    const { guestAddress } = memory.layout;
    t.equal(collapse(guestAddress), constants.errno.EINVAL);
    t.equal(censusOf(guestAddress, HUGE_PAGE_BYTES).markers, PAGES);
  },
);

t.test(
  'the danger is real: registered without write-protection, markers vanish',
  { skip },
  async (t) => {
    // If this fails, the kernel has changed, and memory need not be registered for it any more.
    using memory = GuestMemory.create(BACKINGS.shmem, BYTES, PAGE);
    const { guestAddress, aliasAddress, backing } = memory.layout;
    using uffd = Userfaultfd.open(markerFeatures(backing));
    uffd.register(guestAddress, BYTES, backing.uffdModes);
    uffd.poisonRange(guestAddress, BYTES, PAGE);
    madvise(aliasAddress, BYTES, MADV_POPULATE_WRITE);
    t.match(censusOf(guestAddress, HUGE_PAGE_BYTES), { markers: PAGES, none: 0 });
    using foreign = mapAgain(findGuestMemory());
    t.equal(collapse(foreign.address), 0);
    t.match(censusOf(guestAddress, HUGE_PAGE_BYTES), { markers: 0, none: PAGES });
  },
);

t.test(
  'the danger is real: UFFDIO_CONTINUE takes protection away unless it is asked to keep it',
  {
    skip,
  },
  async (t) => {
    const block = incomplete('shmem');
    t.teardown(block.close);
    const { guestAddress } = block.memory.layout;
    protect(block.uffd, guestAddress, 2 * PAGE);
    collapse(block.foreign.address);
    t.equal(block.census().protectMarkers, 2);
    block.uffd.continueRange(guestAddress, PAGE, PAGE);
    block.uffd.continueRange(guestAddress + PAGE, PAGE, PAGE, true);
    t.match(block.census(), { present: 2, presentProtected: 1, protectMarkers: 0 });
  },
);
