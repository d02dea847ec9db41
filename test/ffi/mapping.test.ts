import t from 'tap';
import { SyscallError } from '../../src/ffi/errors.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { viewOf } from '../../src/ffi/view.js';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../src/uapi/mman.js';
import { isMapped, mappingsOf } from '../support/leaks.js';

t.test('scratch memory is zero and can be written', async (t) => {
  using mapping = Mapping.scratch(8192);
  const bytes = new Uint8Array(viewOf(mapping.address, 8192));
  t.ok(bytes.every((byte) => byte === 0));
  bytes[8191] = 1;
  t.equal(bytes[8191], 1);
  t.equal(mapping.address % 4096, 0);
});

t.test('closing unmaps, once', async (t) => {
  const mapping = Mapping.create(2 ** 21, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  t.ok(isMapped(mapping.address));
  t.ok(isMapped(mapping.address + mapping.bytes - 1));
  mapping.close();
  t.notOk(isMapped(mapping.address));
  const successor = Mapping.create(2 ** 21, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  mapping.close();
  mapping[Symbol.dispose]();
  t.equal(successor.address, mapping.address, 'the kernel gives the same range again');
  t.ok(isMapped(successor.address), 'and it is not unmapped by its old owner');
  successor.close();
});

t.test('what cannot be mapped throws, with the call, its errno and a hint', async (t) => {
  const create = (): Mapping => Mapping.create(4096, PROT_READ, MAP_SHARED, -1, 0, 'Give a file.');
  t.throws(create, SyscallError);
  t.throws(create, { call: 'mmap of 4096 bytes', message: /EBADF/, hint: 'Give a file.' });
  t.throws(() => Mapping.scratch(2 ** 52), { message: /ENOMEM/, hint: 'Ask for less memory.' });
});

const ANONYMOUS = MAP_ANONYMOUS | MAP_SHARED;
const MIB = 2 ** 20;

t.test('an aligned mapping takes no more than it was asked for', async (t) => {
  for (const alignment of [4096, 2 * MIB, 2 ** 30]) {
    using mapping = Mapping.aligned(4096, alignment, PROT_READ, ANONYMOUS, -1);
    t.equal(mapping.address % alignment, 0);
    t.equal(mapping.bytes, 4096);
    t.ok(isMapped(mapping.address));
    mapping.close();
    t.notOk(isMapped(mapping.address));
  }
});

t.test('what cannot be mapped aligned leaves nothing mapped', async (t) => {
  const before = mappingsOf('---p');
  t.throws(() => Mapping.aligned(2 * MIB, 2 * MIB, PROT_READ, MAP_SHARED, -1, 'Give a file.'), {
    call: `mmap of ${2 * MIB} bytes`,
    message: /EBADF/,
    hint: 'Give a file.',
  });
  t.strictSame(mappingsOf('---p'), before);
});

t.test('a duplicate is the same memory at another address, and outlives the first', async (t) => {
  const writable = PROT_READ | PROT_WRITE;
  const first = Mapping.aligned(2 * MIB, 2 * MIB, writable, ANONYMOUS, -1);
  using second = first.duplicate(2 * MIB);
  t.not(second.address, first.address);
  t.equal(second.address % (2 * MIB), 0);
  t.equal(second.bytes, 2 * MIB);
  new Uint8Array(viewOf(first.address, 2 * MIB))[2 * MIB - 1] = 7;
  t.equal(new Uint8Array(viewOf(second.address, 2 * MIB))[2 * MIB - 1], 7);
  first.close();
  t.equal(new Uint8Array(viewOf(second.address, 2 * MIB))[2 * MIB - 1], 7);
});

t.test('private memory has no duplicate', async (t) => {
  using mapping = Mapping.scratch(4096);
  const before = mappingsOf('---p');
  t.throws(() => mapping.duplicate(4096), { message: /mremap of 4096 bytes failed: EINVAL/ });
  t.strictSame(mappingsOf('---p'), before);
});
