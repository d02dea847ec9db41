import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  statfsSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BACKING_KINDS, BACKINGS } from '../../src/memory/backing.js';
import { findBacking, openBacking } from '../../src/memory/open-backing.js';
import { eachBacking, TESTED_BACKINGS } from '../support/backings.js';
import { rootSkip, unprivileged } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

eachBacking('opens a file of holes of the size asked for', {}, async (t, backing, bytes) => {
  const before = openDescriptors();
  const file = openBacking(backing, bytes);
  if (backing.file.kind === 'anonymous') {
    t.equal(file, null, 'it has none');
    return;
  }
  const { size, blocks } = fstatSync(file!.fd);
  t.strictSame({ size, blocks }, { size: bytes, blocks: 0 });
  if (backing.file.kind === 'memfd') {
    t.match(readlinkSync(`/proc/self/fd/${file!.fd}`), /faultline guest memory/);
  }
  file!.close();
  t.strictSame(openDescriptors(), before);
});

eachBacking(
  'a size that no file can have is refused, and closed again',
  { of: ({ file }) => file.kind !== 'anonymous' },
  async (t, backing) => {
    const before = openDescriptors();
    t.throws(() => openBacking(backing, -backing.pageBytes), {
      code: 'unsupported',
      message: /-\d+ bytes/,
    });
    t.strictSame(openDescriptors(), before);
  },
);

t.test('a name is found, and one that is none is refused with those that are', async (t) => {
  for (const kind of BACKING_KINDS) {
    t.equal(findBacking(kind), BACKINGS[kind]);
  }
  for (const name of ['', 'paper', 'toString', '__proto__', 'SHMEM', 'file']) {
    t.throws(() => findBacking(name), {
      code: 'usage',
      message: `--backing ${name} is none of ${BACKING_KINDS.join(', ')}, file:PATH, file-private:PATH`,
    });
  }
});

t.test('a path is what its file system makes of it', async (t) => {
  const directory = t.testdir();
  const shared = findBacking(`file:${join(directory, 'memory')}`);
  t.match(shared, { sharing: 'shared', inspect: 'alias', uffdModes: 0 });
  t.match(findBacking(`file-private:${directory}/memory`), {
    sharing: 'private',
    inspect: 'guest',
  });
  for (const { label, skip, backing, open } of TESTED_BACKINGS) {
    if (backing.file.kind === 'path') {
      t.test(label, { skip }, async (t) => {
        const { name: _name, file: _file, ...found } = open(t);
        const { name: _wanted, file: _path, ...wanted } = backing;
        t.strictSame(found, wanted);
      });
    }
  }
});

t.test('a path that cannot be looked at is refused', async (t) => {
  const path = join(t.testdir(), 'nonesuch', 'memory');
  t.throws(() => findBacking(`file:${path}`), {
    code: 'usage',
    message: `--backing file:${path}: ${path} cannot be looked at (ENOENT)`,
  });
});

t.test('a file that did not exist has no name from the start', async (t) => {
  const path = join(t.testdir(), 'memory');
  const file = openBacking(findBacking(`file:${path}`), 65536)!;
  t.notOk(existsSync(path), 'however the process ends, nothing is left');
  const { size, blocks } = fstatSync(file.fd);
  t.equal(size, 65536);
  t.equal(blocks * 512, 65536, 'its blocks are there: a full disk would be SIGBUS later');
  file.close();
});

t.test('an empty file is used where it is, and empty again afterwards', async (t) => {
  const path = join(t.testdir({ memory: '' }), 'memory');
  const before = openDescriptors();
  const file = openBacking(findBacking(`file:${path}`), 65536)!;
  t.equal(statSync(path).size, 65536);
  t.equal(statSync(path).ino, fstatSync(file.fd).ino);
  file.close();
  t.equal(statSync(path).size, 0);
  t.strictSame(openDescriptors(), before);
});

t.test('closed twice, it does not empty a file that came to its descriptor since', async (t) => {
  const directory = t.testdir({ memory: '', other: 'precious' });
  const file = openBacking(findBacking(`file:${join(directory, 'memory')}`), 65536)!;
  file.close();
  const other = openSync(join(directory, 'other'), 'r+');
  t.teardown(() => closeSync(other));
  t.equal(other, file.fd, 'the kernel gives the lowest number');
  file.close();
  t.equal(readFileSync(join(directory, 'other'), 'utf8'), 'precious');
});

t.test('what must not be overwritten is refused, and left alone', async (t) => {
  const directory = t.testdir({ full: 'x', directory: {} });
  const before = openDescriptors();
  const refuse = (name: string, message: RegExp): void => {
    const path = join(directory, name);
    t.throws(() => openBacking(findBacking(`file:${path}`), 65536), { code: 'usage', message });
  };
  refuse('full', /full is not empty, and guest memory would overwrite it/);
  refuse('directory', /directory is not a regular file/);
  symlinkSync(join(directory, 'nowhere'), join(directory, 'dangling'));
  refuse('dangling', /dangling is a symbolic link to a file that does not exist/);
  t.equal(readFileSync(join(directory, 'full'), 'utf8'), 'x');
  t.strictSame(openDescriptors(), before);
});

t.test(
  'what the file system has no room for is refused at once',
  { skip: rootSkip() },
  async (t) => {
    const directory = t.testdir({ memory: '' });
    const path = join(directory, 'memory');
    const { bavail, bsize } = statfsSync(directory);
    const before = openDescriptors();
    const bytes = Math.ceil(((bavail + 2 ** 20) * bsize) / 4096) * 4096;
    t.throws(() => openBacking(findBacking(`file:${path}`), bytes), {
      code: 'unsupported',
      message: /cannot be (given|made).*\((ENOSPC|EFBIG)\)/,
    });
    t.equal(statSync(path).size, 0);
    t.strictSame(openDescriptors(), before);
  },
);

t.test('hugetlb pages of a size that there is not are refused', async (t) => {
  const pageBytes = 2 ** 24;
  t.throws(() => openBacking({ ...BACKINGS['hugetlb-2M'], pageBytes }, pageBytes), {
    code: 'unsupported',
    message: /has no hugetlb pages of 16 MiB \(memfd_create: E/,
    hint: /CONFIG_HUGETLBFS/,
  });
});

t.test('a tmpfs without the right to mount one is refused', { skip: rootSkip() }, async (t) => {
  const before = openDescriptors();
  for (const name of ['tmpfs', 'tmpfs-huge'] as const) {
    t.throws(() => unprivileged(() => openBacking(BACKINGS[name], 2 ** 21)), {
      code: 'unsupported',
      message: /^a tmpfs with huge=(never|always) cannot be mounted: fsopen failed: EPERM/,
      hint: /root/,
    });
  }
  t.strictSame(openDescriptors(), before);
});

t.test("the tmpfs of one is nobody else's, and has no path", { skip: rootSkip() }, async (t) => {
  const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');
  const before = mounts();
  using one = openBacking(BACKINGS['tmpfs-huge'], 2 ** 21)!;
  using other = openBacking(BACKINGS['tmpfs-huge'], 2 ** 21)!;
  t.not(fstatSync(one.fd).dev, fstatSync(other.fd).dev);
  t.equal(fstatSync(one.fd).nlink, 0);
  t.equal(mounts(), before);
});
