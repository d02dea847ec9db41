import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { detachedMount } from '../../src/ffi/detached-mount.js';
import { SyscallError } from '../../src/ffi/errors.js';
import { rootSkip, unprivileged } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

const options = { skip: rootSkip() };
const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');

t.test('a file system that has no path, and is gone with its descriptor', options, async (t) => {
  const [before, descriptors] = [mounts(), openDescriptors()];
  const mount = detachedMount('tmpfs', { size: '1M' });
  const root = `/proc/self/fd/${mount.fd}`;
  t.equal(mounts(), before, 'nobody sees it');
  writeFileSync(`${root}/file`, 'text');
  t.strictSame(readdirSync(root), ['file']);
  t.throws(() => writeFileSync(`${root}/large`, Buffer.alloc(2 ** 21)), { code: 'ENOSPC' });
  const file = openSync(`${root}/file`, 'r');
  mount.close();
  t.equal(readFileSync(file, 'utf8'), 'text', 'a file opened on it stays');
  closeSync(file);
  t.strictSame(openDescriptors(), descriptors);
});

t.test(
  'what cannot be mounted is an error that says why, and leaves nothing open',
  options,
  async (t) => {
    const before = openDescriptors();
    t.throws(() => detachedMount('nosuchfs'), SyscallError);
    t.throws(() => detachedMount('nosuchfs'), { call: 'fsopen', message: /ENODEV/ });
    t.throws(() => detachedMount('tmpfs', { size: 'many' }), {
      message: /fsconfig\(size=many\) of tmpfs failed: EINVAL/,
    });
    t.throws(() => unprivileged(() => detachedMount('tmpfs')), {
      message: /EPERM/,
      hint: /root/,
    });
    t.strictSame(openDescriptors(), before);
  },
);
