import t from 'tap';
import type { DiscardCall } from '../../../src/memory/discard-matrix/calls.js';
import {
  callsThatAlwaysWork,
  compareWithMail,
  MAIL_2017,
  MEMORY_KINDS,
} from '../../../src/memory/discard-matrix/mail-2017.js';
import type {
  CallObservation,
  SubjectObservations,
} from '../../../src/memory/discard-matrix/observe-calls.js';

/** Observations as made up here: all that the comparison looks at. */
function observed(
  backing: string,
  call: DiscardCall,
  seen: Partial<CallObservation>,
): SubjectObservations {
  const observation: CallObservation = {
    call,
    lock: 'mapped',
    errno: null,
    freedBytes: { file: null, own: null, pool: null },
    guestReads: 'zeroes',
    fileReads: null,
    nextTouch: null,
    nextTouchFileEmpty: null,
    poisonKept: null,
    unmappedProtectionKept: null,
    presentProtectionKept: null,
    removeEvent: null,
    ...seen,
  };
  return {
    backing,
    description: '',
    pageBytes: 4096,
    mlockLocks: true,
    calls: [observation],
    notes: [],
  };
}

function judged(backing: string, call: DiscardCall, seen: Partial<CallObservation>) {
  return compareWithMail([observed(backing, call, seen)]).find(
    (entry) => entry.backing === backing && entry.call === call,
  )!;
}

t.test('the statements are those of the mail, one for each call and kind of memory', async (t) => {
  const said = MAIL_2017.flatMap(({ call, verdict, kinds }) =>
    kinds.map((kind) => `${call} ${verdict} ${kind}`),
  );
  t.equal(new Set(said).size, 15);
  for (const call of ['MADV_DONTNEED', 'MADV_REMOVE', 'PUNCH_HOLE']) {
    for (const kind of Object.keys(MEMORY_KINDS)) {
      t.equal(said.filter((text) => text.startsWith(call) && text.endsWith(` ${kind}`)).length, 1);
    }
  }
  t.ok(said.includes('MADV_DONTNEED unsure shmem VM_SHARED'));
  t.ok(said.includes('MADV_DONTNEED fails hugetlbfs !VM_SHARED'));
  t.ok(said.includes('PUNCH_HOLE fails shmem !VM_SHARED'));
});

t.test('today comes from what was measured', async (t) => {
  t.match(judged('shmem', 'MADV_REMOVE', { nextTouch: 'missing' }), {
    in2017: 'works',
    today: 'works',
    differs: 'no',
  });
  t.match(judged('shmem', 'MADV_REMOVE', { errno: 'EINVAL', nextTouch: 'none' }), {
    today: 'fails',
    seen: 'EINVAL',
    differs: 'yes',
  });
  t.match(judged('hugetlb-2M', 'MADV_DONTNEED', { nextTouch: 'minor', guestReads: 'guest' }), {
    in2017: 'fails',
    today: 'unsure',
    seen: /minor, finds the data/,
    differs: 'yes',
  });
  t.match(judged('shmem-private', 'PUNCH_HOLE', { nextTouch: 'none', fileReads: 'zeroes' }), {
    today: 'fails',
    seen: /file punched/,
    differs: 'no',
  });
  const copy = { nextTouch: 'minor', guestReads: 'file', fileReads: 'file' } as const;
  t.match(judged('shmem-private', 'MADV_DONTNEED', { ...copy, nextTouchFileEmpty: 'missing' }), {
    in2017: 'works',
    today: 'if-file-empty',
    differs: 'partly',
  });
  t.match(judged('shmem-private', 'MADV_DONTNEED', { ...copy, nextTouchFileEmpty: 'minor' }), {
    today: 'unsure',
    differs: 'yes',
  });
});

t.test('what was not measured is not judged', async (t) => {
  for (const { today, differs, seen } of compareWithMail([])) {
    t.strictSame({ today, differs, seen }, { today: null, differs: null, seen: 'not measured' });
  }
  t.match(judged('shmem', 'MADV_DONTNEED', { nextTouch: null }), { today: null, differs: null });
  t.strictSame(callsThatAlwaysWork([]), []);
});

t.test('a call that cannot be made does not work, for the reason noted', async (t) => {
  const anon = {
    ...observed('anon-private', 'MADV_DONTNEED', { nextTouch: 'missing' }),
    notes: [{ what: 'PUNCH_HOLE', why: 'no file descriptor', hint: null }],
  };
  const punch = compareWithMail([anon]).find(
    ({ backing, call }) => backing === 'anon-private' && call === 'PUNCH_HOLE',
  );
  t.match(punch, { today: 'fails', seen: 'no file descriptor', differs: 'no' });
});

t.test('a call that works on all of them is found', async (t) => {
  const everywhere = Object.values(MEMORY_KINDS).map((backing) =>
    observed(backing, 'MADV_REMOVE', { nextTouch: 'missing' }),
  );
  t.strictSame(callsThatAlwaysWork(everywhere), ['MADV_REMOVE']);
});
