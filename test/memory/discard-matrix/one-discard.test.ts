import t from 'tap';
import { observeDiscard } from '../../../src/memory/discard-matrix/one-discard.js';
import { subjects } from '../../../src/memory/discard-matrix/subjects.js';
import { UFFD_FEATURE_POISON } from '../../../src/uapi/userfaultfd.js';
import { rootSkip, uffdSkip } from '../../support/host.js';
import { withHugetlbPages } from '../../support/hugetlb.js';

const options = { skip: rootSkip() || uffdSkip(UFFD_FEATURE_POISON), timeout: 100_000 };
const FROM_DISK = ['file', 'file-private'];

for (const subject of subjects()) {
  if (FROM_DISK.includes(subject.name)) {
    t.test(`${subject.name}: discard() says why it does nothing`, options, async (t) => {
      const { observations, notes } = observeDiscard(subject);
      t.strictSame(observations, []);
      t.match(notes, [{ what: 'discard', why: /not trapped cannot be discarded/, hint: null }]);
    });
    continue;
  }
  t.test(`${subject.name}: discard() keeps its promise, locked or not`, options, async (t) => {
    const backing = subject.backing();
    if (backing.hugetlb && !withHugetlbPages(t, backing.pageBytes, 2)) {
      return;
    }
    const { observations, notes } = observeDiscard(subject);
    t.strictSame(notes, []);
    const units = [...new Set([backing.pageBytes, subject.pageBytes])];
    t.strictSame(
      observations.map(({ lock, unitBytes }) => `${lock} ${unitBytes}`),
      ['mapped', 'mlocked'].flatMap((lock) => units.map((unit) => `${lock} ${unit}`)),
    );
    for (const { freedBytes, unitBytes, steps, lock, ...seen } of observations) {
      t.strictSame(seen, {
        nextTouchFaults: true,
        markerRearmed: true,
        contentsReturn: true,
        neighbourKept: true,
      });
      t.strictSame(steps, backing.discard);
      // Every place that held the unit has given it back: the file, the guest's copy, the pool.
      const held = Object.values(freedBytes).filter((bytes) => bytes !== null && bytes > 0);
      t.ok(held.length > 0, `${lock}: freed`);
      t.ok(
        held.every((bytes) => bytes === unitBytes),
        'no more than the unit',
      );
      if (backing.sharing === 'private') {
        t.equal(freedBytes.own, unitBytes, 'what the guest has written');
      }
      if (backing.alias) {
        t.equal(freedBytes.file, unitBytes, "the file's page");
      }
    }
  });
}
