import { constants } from 'node:os';
import t from 'tap';
import * as libc from '../../src/ffi/libc.js';
import { scratch } from '../../src/ffi/scratch.js';
import { O_RDONLY } from '../../src/uapi/fcntl.js';
import { SyscallThread } from '../support/syscall-thread.js';

const { EBADF, EINVAL, ENOENT, EFAULT } = constants.errno;

// errno is read before anything else is done: asserting makes calls of its own.
t.test('errno tells of the call before', async (t) => {
  t.strictSame([libc.close(-1), libc.errno()], [-1, EBADF]);
  t.strictSame([libc.open('/does/not/exist', O_RDONLY, 0), libc.errno()], [-1, ENOENT]);
  t.strictSame([libc.madvise(1, 4096, 0), libc.errno()], [-1, EINVAL]);
});

t.test('errno of each thread is its own', { timeout: 20_000 }, async (t) => {
  const [a, b] = [new SyscallThread(), new SyscallThread()];
  t.teardown(() => Promise.all([a.end(), b.end()]));
  for (let round = 0; round < 50; round++) {
    const answers = [a.call('open', '/does/not/exist', O_RDONLY, 0), b.call('madvise', 1, 4096, 0)];
    const ours = [libc.close(-1), libc.errno()];
    const errors = (await Promise.all(answers)).map(({ errno }) => errno);
    if (String([...ours, ...errors]) !== String([-1, EBADF, ENOENT, EINVAL])) {
      t.fail(`round ${round}: ${[...ours, ...errors]}`);
    }
  }
});

t.test('64-bit results and arguments are whole', async (t) => {
  const fd = libc.memfd_create('faultline test', 0);
  t.equal(libc.ftruncate(fd, 2 ** 40), 0);
  const address = libc.mmap(0, 2 ** 33, 0, 2, fd, 2 ** 39);
  t.ok(address > 2 ** 32, 'an address above 4 GiB');
  t.equal(libc.munmap(address, 2 ** 33), 0);
  t.strictSame([libc.mmap(0, 0, 0, 2, fd, 0), libc.errno()], [-1, EINVAL], 'MAP_FAILED');
  t.equal(libc.close(fd), 0);
});

t.test('an address that is not mapped is EFAULT, not a crash', async (t) => {
  const fd = libc.eventfd(0, 0);
  t.strictSame([libc.write(fd, 4096, 8), libc.errno()], [-1, EFAULT]);
  t.equal(libc.close(fd), 0);
});

t.test('bytes go in and out of a scratch page', async (t) => {
  const fd = libc.eventfd(0, 0);
  scratch.setU64(64, 2 ** 40 + 5);
  t.equal(libc.write(fd, scratch.address + 64, 8), 8);
  t.equal(libc.read(fd, scratch.address, 8), 8);
  t.equal(scratch.getU64(0), 2 ** 40 + 5);
  t.equal(libc.close(fd), 0);
});
