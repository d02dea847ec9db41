import { constants } from 'node:os';
import t from 'tap';
import { Descriptor } from '../../src/ffi/descriptor.js';
import { ftruncate, memfd_create } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { ProcessMemory } from '../../src/ffi/process-memory.js';
import { viewOf } from '../../src/ffi/view.js';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
} from '../../src/uapi/mman.js';

const PAGE = 4096;
const { EFAULT } = constants.errno;

t.test('reads and writes memory, at any address', async (t) => {
  using mapping = Mapping.scratch(2 * PAGE);
  const bytes = new Uint8Array(viewOf(mapping.address, 2 * PAGE));
  const memory = new ProcessMemory(100);
  bytes.set([1, 2, 3, 4], PAGE - 2);
  memory.read(mapping.address + PAGE - 2, 4);
  t.strictSame([...memory.buffer.u8.subarray(0, 5)], [1, 2, 3, 4, 0]);
  memory.buffer.u8.set([9, 8, 7]);
  memory.write(mapping.address + PAGE - 1, 2);
  t.strictSame([...bytes.subarray(PAGE - 2, PAGE + 2)], [1, 9, 8, 4]);
  t.equal(memory.tryRead(mapping.address, 0), 0);
});

t.test('what cannot be accessed is an error, and no signal', async (t) => {
  using nothing = Mapping.create(PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  using constant = Mapping.create(PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  const memory = new ProcessMemory(PAGE);
  t.equal(memory.tryRead(nothing.address, PAGE), EFAULT);
  t.equal(memory.tryWrite(constant.address, PAGE), EFAULT);
  t.equal(memory.tryRead(constant.address, PAGE), 0);
  t.throws(() => memory.read(nothing.address, 8), {
    message: `process_vm_readv at 0x${nothing.address.toString(16)} failed: EFAULT`,
  });
  t.throws(() => memory.write(nothing.address, 8), { message: /process_vm_writev .* EFAULT/ });
});

t.test('a range that can be had in part is an error too', async (t) => {
  using file = new Descriptor(memfd_create('faultline test', 0));
  ftruncate(file.fd, PAGE);
  using mapping = Mapping.create(2 * PAGE, PROT_READ, MAP_SHARED, file.fd);
  const memory = new ProcessMemory(2 * PAGE);
  t.equal(memory.tryRead(mapping.address, PAGE), 0);
  t.equal(memory.tryRead(mapping.address, 2 * PAGE), EFAULT, 'the file ends in it');
});
