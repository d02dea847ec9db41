import { constants } from 'node:os';
import t from 'tap';
import { Descriptor, WakeEvent } from '../../src/ffi/descriptor.js';
import { errno, memfd_create, read, write } from '../../src/ffi/libc.js';
import { scratch } from '../../src/ffi/scratch.js';
import { openDescriptors } from '../support/leaks.js';
import { isReadable } from '../support/trapped-memory.js';

t.test('close closes once: a number used again stays open', async (t) => {
  const first = new Descriptor(memfd_create('faultline test', 0));
  first.close();
  const second = new Descriptor(memfd_create('faultline test', 0));
  t.equal(second.fd, first.fd, 'the kernel gives the lowest free number');
  first.close();
  first[Symbol.dispose]();
  t.equal(write(second.fd, scratch.address, 1), 1);
  second.close();
  t.strictSame([write(second.fd, scratch.address, 1), errno()], [-1, constants.errno.EBADF]);
});

t.test('nothing stays open', async (t) => {
  const before = openDescriptors();
  {
    using file = new Descriptor(memfd_create('faultline test', 0));
    using event = new WakeEvent();
    t.equal(openDescriptors().length, before.length + 2);
    t.ok(file.fd !== event.fd);
  }
  t.strictSame(openDescriptors(), before);
});

t.test('a wake event stays readable once signalled, however often', async (t) => {
  using event = new WakeEvent();
  const unsignalled = [read(event.fd, scratch.address, 8), errno()];
  t.strictSame(unsignalled, [-1, constants.errno.EAGAIN], 'it does not block');
  event.signal();
  event.signal();
  t.ok(isReadable(event.fd));
  t.ok(isReadable(event.fd), 'polling does not take it');
  t.equal(read(event.fd, scratch.address, 8), 8);
  t.equal(scratch.getU64(0), 2);
});
