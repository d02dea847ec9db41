/** Images that were fuzzed and are booted all the same, where they are images at all. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { FaultlineError } from '../../src/ffi/errors.js';
import { findBundled, pathOfBundled } from '../../src/machine/bundled-guests.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { machineDescriptors, openDescriptors } from '../support/leaks.js';
import { ROOM, tryCases } from './cases.js';
import { anyElf, mutationsOf } from './elf-files.js';
import { GuestBed } from './guest-bed.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

t.test('mutated and random images, booted', { skip }, async (t) => {
  const bundled = ['touch', 'hello'].map((name) => readFileSync(pathOfBundled(findBundled(name)!)));
  const files = fc.oneof(...bundled.map((file) => mutationsOf(file)), anyElf);
  const cases = fc.record({ file: files, unitBytes: fc.constantFrom(4096, 65536) });
  bed.run(Uint8Array.from([0xf4]));
  const before = openDescriptors();
  let refused = 0;
  await tryCases(t, 'images: booted', cases, ({ file, unitBytes }) => {
    try {
      bed.run(file, { unitBytes });
    } catch (error) {
      if (!(error instanceof FaultlineError && error.code === 'usage')) {
        throw error;
      }
      refused++;
      assert.deepEqual(machineDescriptors(), [], 'what was opened before it was refused is closed');
    }
  });
  t.comment(`${JSON.stringify(Object.fromEntries(bed.ends))}, ${refused} refused`);
  t.ok(bed.ends.size >= 2 && refused > 0);
  t.strictSame(openDescriptors(), before);
});
