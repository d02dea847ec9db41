import t from 'tap';
import { WakeEvent } from '../../../src/ffi/descriptor.js';
import { CallThread } from '../../../src/memory/discard-matrix/call-thread.js';
import { Specimen } from '../../../src/memory/discard-matrix/specimen.js';
import { subjects } from '../../../src/memory/discard-matrix/subjects.js';
import {
  UFFD_FEATURE_EVENT_REMOVE,
  UFFDIO_REGISTER_MODE_MISSING,
} from '../../../src/uapi/userfaultfd.js';
import { Userfaultfd } from '../../../src/uffd/userfaultfd.js';
import { uffdSkip } from '../../support/host.js';
import { openDescriptors, threadCount } from '../../support/leaks.js';

const options = { skip: uffdSkip(UFFD_FEATURE_EVENT_REMOVE), timeout: 30_000 };
const shmem = subjects().find(({ name }) => name === 'shmem')!;

function watched(t: { teardown(close: () => void): void }) {
  const specimen = Specimen.create(shmem, 'mapped');
  const uffd = Userfaultfd.open(UFFD_FEATURE_EVENT_REMOVE);
  t.teardown(() => {
    uffd.close();
    specimen.close();
  });
  const { target } = specimen;
  uffd.register(target.address, target.bytes, UFFDIO_REGISTER_MODE_MISSING);
  return { specimen, uffd, target };
}

t.test('an event is read while the call sleeps, and tells the range', options, async (t) => {
  const thread = await CallThread.start();
  t.teardown(() => thread.end());
  const { uffd, target } = watched(t);
  const range = { start: target.address, end: target.address + target.bytes };
  t.strictSame(thread.make('MADV_REMOVE', target, uffd), { errno: 0, removed: [range] });
  t.strictSame(thread.make('PUNCH_HOLE', target, uffd), { errno: 0, removed: [] });
});

t.test('a call that does not return is let go, and the thread goes on', options, async (t) => {
  const thread = await CallThread.start();
  t.teardown(() => thread.end());
  const { uffd, target } = watched(t);
  // Looks at another descriptor, so nobody reads the event.
  using deaf = new WakeEvent();
  const unread = { fd: deaf.fd, close: () => uffd.close() };
  t.throws(() => thread.make('MADV_REMOVE', target, unread, 50), {
    code: 'defect',
    message: /MADV_REMOVE did not return within 50 ms/,
  });
  const next = watched(t);
  t.match(thread.make('MADV_DONTNEED', next.target, next.uffd), { removed: [{}] });
});

t.test('ended, it leaves neither a thread nor a descriptor', options, async (t) => {
  await (await CallThread.start()).end(); // what the first one leaves is Node's, for all of them
  const before = { descriptors: openDescriptors(), threads: threadCount() };
  const thread = await CallThread.start();
  t.equal(threadCount(), before.threads + 1);
  await thread.end();
  t.strictSame({ descriptors: openDescriptors(), threads: threadCount() }, before);
});
