import { constants } from 'node:os';
import t from 'tap';
import {
  DefectError,
  errnoName,
  FaultlineError,
  GuestError,
  reportOf,
  SyscallError,
  UnsupportedError,
  UsageError,
} from '../../src/ffi/errors.js';

t.test('errno names are those of the manual pages', async (t) => {
  t.equal(errnoName(constants.errno.EPERM), 'EPERM');
  t.equal(errnoName(constants.errno.EEXIST), 'EEXIST');
  t.equal(errnoName(constants.errno.EAGAIN), 'EAGAIN', 'not EWOULDBLOCK');
  t.equal(errnoName(133), 'EHWPOISON');
  t.equal(errnoName(4000), 'errno 4000');
  t.equal(errnoName(0), 'errno 0');
});

t.test('each error has its code, name, hint and cause', async (t) => {
  const cause = new Error('below');
  for (const [type, code] of [
    [UsageError, 'usage'],
    [UnsupportedError, 'unsupported'],
    [GuestError, 'guest'],
    [DefectError, 'defect'],
  ] as const) {
    const error = new type('what', 'do this', { cause });
    t.match(error, { code, name: type.name, message: 'what', hint: 'do this', cause });
    t.ok(error instanceof FaultlineError && error instanceof Error);
  }
  t.equal(new UsageError('what').hint, '');
  t.not(new DefectError('what').hint, '', 'a defect always says what to do');
});

t.test('a failed call is named with its errno', async (t) => {
  t.match(new SyscallError('mmap of 4096 bytes', constants.errno.EINVAL, 'Ask for less.'), {
    code: 'syscall',
    message: 'mmap of 4096 bytes failed: EINVAL',
    call: 'mmap of 4096 bytes',
    errno: constants.errno.EINVAL,
    hint: 'Ask for less.',
  });
});

t.test('a call that failed for want of something is no fault of ours', async (t) => {
  const { EMFILE, ENOMEM, EBADF } = constants.errno;
  t.match(new SyscallError('eventfd', EMFILE), { code: 'unsupported', hint: /ulimit -n/ });
  t.match(new SyscallError('mmap', ENOMEM, 'Less.'), { code: 'unsupported', hint: 'Less.' });
  t.match(new SyscallError('read', EBADF), { code: 'syscall', hint: '' });
  const error = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
  t.match(reportOf(error), { code: 'unsupported', message: /too many/, hint: /ulimit -n/ });
});

t.test('a report is plain data that a worker can post', async (t) => {
  const error = new UnsupportedError('what', 'do this');
  const report = reportOf(error);
  t.strictSame(structuredClone(report), report);
  t.strictSame(report, {
    code: 'unsupported',
    message: 'what',
    hint: 'do this',
    stack: error.stack,
  });
});

t.test('whatever is not ours is a defect', async (t) => {
  t.match(reportOf(new TypeError('x is not a function')), {
    code: 'defect',
    message: 'x is not a function',
    stack: /TypeError/,
  });
  for (const thrown of ['text', 7, null, undefined]) {
    t.match(reportOf(thrown), { code: 'defect', message: String(thrown), stack: undefined });
  }
});

t.test('anything can be thrown, also what cannot be made a string of', async (t) => {
  for (const thrown of [Object.create(null), { toString: false }, { code: 'usage' }, Symbol('s')]) {
    const { code, message } = reportOf(thrown);
    t.equal(code, 'defect');
    t.match(message, /^(\[Object: null prototype\] \{\}|\{ .* \}|Symbol\(s\))$/);
  }
});
