import t from 'tap';
import { SyscallError } from '../../src/ffi/errors.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { viewOf } from '../../src/ffi/view.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ } from '../../src/uapi/mman.js';
import { isMapped } from '../support/leaks.js';

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
