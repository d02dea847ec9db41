/**
 * What this kernel does with each call on each kind of memory, as the matrix measures it: facts that
 * discard() is built on, held here so that the next kernel tells us when they change (Linux 6.18).
 */
import { readFileSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { Descriptor } from '../../../src/ffi/descriptor.js';
import { errno, madvise, open } from '../../../src/ffi/libc.js';
import { CallThread } from '../../../src/memory/discard-matrix/call-thread.js';
import type { HeldBytes } from '../../../src/memory/discard-matrix/held-memory.js';
import {
  type CallObservation,
  observeCalls,
} from '../../../src/memory/discard-matrix/observe-calls.js';
import { Specimen } from '../../../src/memory/discard-matrix/specimen.js';
import { type Subject, subjects } from '../../../src/memory/discard-matrix/subjects.js';
import { HUGE_PAGE_BYTES } from '../../../src/memory/sizes.js';
import { O_RDONLY } from '../../../src/uapi/fcntl.js';
import { MADV_DONTNEED } from '../../../src/uapi/mman.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_WP_UNPOPULATED } from '../../../src/uapi/userfaultfd.js';
import { rootSkip, uffdSkip } from '../../support/host.js';
import { withHugetlbPages } from '../../support/hugetlb.js';

const GIBIBYTE = 2 ** 30;
const options = {
  skip: rootSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_WP_UNPOPULATED),
  timeout: 100_000,
};

function subject(name: string): Subject {
  return subjects().find((candidate) => candidate.name === name)!;
}

const SHMEM = [
  // call                 lock    errno   freed  guest  file   touch   poison wp-none wp-page event
  'MADV_DONTNEED        mapped  0      none      guest  guest  minor   gone kept kept event',
  'MADV_DONTNEED_LOCKED mapped  0      none      guest  guest  minor   gone kept kept event',
  'MADV_REMOVE          mapped  0      file      zeroes zeroes missing kept kept kept event',
  'PUNCH_HOLE           mapped  0      file      zeroes zeroes missing kept kept kept -',
  'MADV_DONTNEED        mlocked EINVAL none      guest  guest  none    kept kept kept -',
  'MADV_DONTNEED_LOCKED mlocked 0      none      guest  guest  minor   gone kept kept event',
  'MADV_REMOVE          mlocked EINVAL none      guest  guest  none    kept kept kept -',
  'PUNCH_HOLE           mlocked 0      file      zeroes zeroes missing kept kept kept -',
];

const HUGETLB = [
  // Unlike those of shmem, poison markers do not outlive a punch. mlock(2) locks nothing.
  'MADV_DONTNEED        mapped  0      none      guest  guest  minor   gone kept kept event',
  'MADV_DONTNEED_LOCKED mapped  0      none      guest  guest  minor   gone kept kept event',
  'MADV_REMOVE          mapped  0      file+pool zeroes zeroes missing gone kept kept event',
  'PUNCH_HOLE           mapped  0      file+pool zeroes zeroes missing gone kept kept -',
  'MADV_DONTNEED        mlocked 0      none      guest  guest  minor   gone kept kept event',
  'MADV_DONTNEED_LOCKED mlocked 0      none      guest  guest  minor   gone kept kept event',
  'MADV_REMOVE          mlocked 0      file+pool zeroes zeroes missing gone kept kept event',
  'PUNCH_HOLE           mlocked 0      file+pool zeroes zeroes missing gone kept kept -',
];

const FACTS: Readonly<Record<string, readonly string[]>> = {
  'anon-private': [
    'MADV_DONTNEED        mapped  0      own       zeroes null   missing gone gone gone event',
    'MADV_DONTNEED_LOCKED mapped  0      own       zeroes null   missing gone gone gone event',
    'MADV_REMOVE          mapped  EINVAL none      guest  null   none    kept kept kept -',
    'MADV_DONTNEED        mlocked EINVAL none      guest  null   none    kept kept kept -',
    'MADV_DONTNEED_LOCKED mlocked 0      own       zeroes null   missing gone gone gone event',
    'MADV_REMOVE          mlocked EINVAL none      guest  null   none    kept kept kept -',
  ],
  'anon-shared': SHMEM.filter((line) => !line.startsWith('PUNCH_HOLE')),
  shmem: SHMEM,
  'shmem-private': [
    'MADV_DONTNEED        mapped  0      own       file   file   minor   gone kept kept event',
    'MADV_DONTNEED_LOCKED mapped  0      own       file   file   minor   gone kept kept event',
    'MADV_REMOVE          mapped  EACCES none      guest  file   none    kept kept kept -',
    'PUNCH_HOLE           mapped  0      file      guest  zeroes none    kept kept kept -',
    'MADV_DONTNEED        mlocked EINVAL none      guest  file   none    kept kept kept -',
    'MADV_DONTNEED_LOCKED mlocked 0      own       file   file   minor   gone kept kept event',
    'MADV_REMOVE          mlocked EINVAL none      guest  file   none    kept kept kept -',
    'PUNCH_HOLE           mlocked 0      file      guest  zeroes none    kept kept kept -',
  ],
  tmpfs: SHMEM,
  'tmpfs-huge': SHMEM,
  'hugetlb-2M': HUGETLB,
  'hugetlb-1G': HUGETLB,
  'hugetlb-private-2M': [
    'MADV_DONTNEED        mapped  0      own+pool  zeroes null   missing gone kept kept event',
    'MADV_DONTNEED_LOCKED mapped  0      own+pool  zeroes null   missing gone kept kept event',
    'MADV_REMOVE          mapped  EACCES none      guest  null   none    kept kept kept -',
    'PUNCH_HOLE           mapped  0      own+pool  zeroes null   missing gone kept kept -',
    'MADV_DONTNEED        mlocked 0      own+pool  zeroes null   missing gone kept kept event',
    'MADV_DONTNEED_LOCKED mlocked 0      own+pool  zeroes null   missing gone kept kept event',
    'MADV_REMOVE          mlocked EACCES none      guest  null   none    kept kept kept -',
    'PUNCH_HOLE           mlocked 0      own+pool  zeroes null   missing gone kept kept -',
  ],
  file: [
    'MADV_DONTNEED        mapped  0      none      guest  guest  null    null null null null',
    'MADV_DONTNEED_LOCKED mapped  0      none      guest  guest  null    null null null null',
    'MADV_REMOVE          mapped  0      file      zeroes zeroes null    null null null null',
    'PUNCH_HOLE           mapped  0      file      zeroes zeroes null    null null null null',
    'MADV_DONTNEED        mlocked EINVAL none      guest  guest  null    null null null null',
    'MADV_DONTNEED_LOCKED mlocked 0      none      guest  guest  null    null null null null',
    'MADV_REMOVE          mlocked EINVAL none      guest  guest  null    null null null null',
    'PUNCH_HOLE           mlocked 0      file      zeroes zeroes null    null null null null',
  ],
  'file-private': [
    'MADV_DONTNEED        mapped  0      own       file   file   null    null null null null',
    'MADV_DONTNEED_LOCKED mapped  0      own       file   file   null    null null null null',
    'MADV_REMOVE          mapped  EACCES none      guest  file   null    null null null null',
    'PUNCH_HOLE           mapped  0      file      guest  zeroes null    null null null null',
    'MADV_DONTNEED        mlocked EINVAL none      guest  file   null    null null null null',
    'MADV_DONTNEED_LOCKED mlocked 0      own       file   file   null    null null null null',
    'MADV_REMOVE          mlocked EINVAL none      guest  file   null    null null null null',
    'PUNCH_HOLE           mlocked 0      file      guest  zeroes null    null null null null',
  ],
};

/** An observation as the lines above are written, with one blank between words. */
function line(seen: CallObservation): string {
  const word = (value: boolean | null, yes: string, no: string): string =>
    value === null ? 'null' : value ? yes : no;
  return [
    seen.call,
    seen.lock,
    seen.errno ?? '0',
    freed(seen.freedBytes),
    seen.guestReads,
    seen.fileReads ?? 'null',
    seen.nextTouch ?? 'null',
    word(seen.poisonKept, 'kept', 'gone'),
    word(seen.unmappedProtectionKept, 'kept', 'gone'),
    word(seen.presentProtectionKept, 'kept', 'gone'),
    word(seen.removeEvent, 'event', '-'),
  ].join(' ');
}

function freed(bytes: HeldBytes): string {
  const places = Object.entries(bytes).flatMap(([place, value]) => (value > 0 ? [place] : []));
  return places.join('+') || 'none';
}

/** The hugetlb pages that an experiment needs: two, for the time of one test. */
function hugetlbPagesFor(name: string): number {
  return name.startsWith('hugetlb') ? (name.endsWith('1G') ? GIBIBYTE : HUGE_PAGE_BYTES) : 0;
}

for (const [name, lines] of Object.entries(FACTS)) {
  t.test(`${name}: what each call does`, options, async (t) => {
    const hugePage = hugetlbPagesFor(name);
    if (hugePage > 0 && !withHugetlbPages(t, hugePage, 2)) {
      return;
    }
    const thread = await CallThread.start();
    t.teardown(() => thread.end());
    const { calls, mlockLocks, notes } = observeCalls(subject(name), thread);
    t.strictSame(
      calls.map(line),
      lines.map((text) => text.replace(/ +/g, ' ')),
    );
    t.equal(mlockLocks, hugePage === 0, 'mlock(2) locks all but hugetlb memory');
    for (const { freedBytes, errno, call } of calls) {
      for (const bytes of Object.values(freedBytes)) {
        t.ok(bytes === null || bytes >= 0, 'nothing grows');
        t.ok(errno === null || bytes === null || bytes === 0, `${call} does nothing when it fails`);
      }
    }
    const reasons = notes.map(({ what, why }) => `${what}: ${why}`).join('\n');
    for (const [what, isSeen] of [
      ['PUNCH_HOLE', calls.some(({ call }) => call === 'PUNCH_HOLE')],
      ['missing faults', calls.some(({ nextTouch }) => nextTouch !== null)],
      ['poison markers', calls.some(({ poisonKept }) => poisonKept !== null)],
      ['the REMOVE event', calls.some(({ removeEvent }) => removeEvent !== null)],
    ] as const) {
      t.equal(reasons.includes(what), !isSeen, `${what}: seen, or said why not`);
    }
  });
}

t.test(
  'shmem-private: without a page of the file, DONTNEED is followed by a missing fault',
  options,
  async (t) => {
    const thread = await CallThread.start();
    t.teardown(() => thread.end());
    const { calls } = observeCalls(subject('shmem-private'), thread);
    const touches = calls
      .filter(({ lock }) => lock === 'mapped')
      .map(({ call, nextTouchFileEmpty }) => [call, nextTouchFileEmpty]);
    t.strictSame(touches, [
      ['MADV_DONTNEED', 'missing'],
      ['MADV_DONTNEED_LOCKED', 'missing'],
      ['MADV_REMOVE', 'none'],
      ['PUNCH_HOLE', 'none'],
    ]);
  },
);

t.test('memory that cannot be had is a note with what would provide it', options, async (t) => {
  const thread = await CallThread.start();
  t.teardown(() => thread.end());
  const hugetlb = subject('hugetlb-2M');
  const tooLarge = { ...hugetlb, pageBytes: 2 ** 50 };
  const { calls, notes, mlockLocks } = observeCalls(tooLarge, thread);
  t.strictSame({ calls, mlockLocks }, { calls: [], mlockLocks: null });
  t.match(notes, [{ what: 'this memory', why: /more than this host has/, hint: /--memory/ }]);
  t.equal(notes.length, 1);
});

t.test(
  'hugetlb: DONTNEED must start at a huge page, and rounds its length down',
  options,
  async (t) => {
    if (!withHugetlbPages(t, HUGE_PAGE_BYTES, 2)) {
      return;
    }
    using specimen = Specimen.create(subject('hugetlb-2M'), 'mapped');
    t.equal(specimen.touchToWrite(1), 0);
    const [first, second] = [specimen.page(0), specimen.page(1)];
    const result = madvise(first + 4096, HUGE_PAGE_BYTES, MADV_DONTNEED);
    const error = errno();
    t.strictSame({ result, error }, { result: -1, error: constants.errno.EINVAL });
    t.strictSame([isPresent(first), isPresent(second)], [true, true]);
    t.equal(madvise(first, HUGE_PAGE_BYTES + 4096, MADV_DONTNEED), 0);
    t.strictSame([isPresent(first), isPresent(second)], [false, true]);
  },
);

/** Whether a page is mapped, by /proc/self/pagemap. */
function isPresent(address: number): boolean {
  using pagemap = new Descriptor(open('/proc/self/pagemap', O_RDONLY, 0));
  const entry = Buffer.alloc(8);
  readSync(pagemap.fd, entry, 0, 8, (address / 4096) * 8);
  return (entry.readUInt8(7) & 0x80) !== 0;
}

t.test('nothing stays locked', async (t) => {
  t.match(readFileSync('/proc/self/status', 'utf8'), /^VmLck:\s+0 kB$/m);
});
