import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { loadResident } from '../../src/machine/resident.js';
import { MAPPED, MISSING } from '../../src/memory/page-states.js';
import { UFFD_FEATURE_POISON } from '../../src/uapi/userfaultfd.js';
import { uffdSkip } from '../support/host.js';
import { expected, PAGE, TrappedMemory } from '../support/trapped-memory.js';

const options = { skip: uffdSkip(UFFD_FEATURE_POISON), timeout: 20_000 };

function trapped(t: { teardown(close: () => void): void }, unitBytes = PAGE) {
  const trap = new TrappedMemory('exit', 16, unitBytes);
  t.teardown(() => trap.close());
  return trap;
}

const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

t.test('a segment is in memory, what surrounds it is from the source', options, async (t) => {
  const trap = trapped(t);
  const { memory } = trap;
  const segment = { address: 2 * PAGE + 100, data: bytes(50, 0xaa), bytes: 5000 };
  const pages = loadResident(memory, [segment], trap.installer());
  t.strictSame([...pages], [2, 3]);
  const wanted = new Uint8Array(expected(2, 2).buffer);
  wanted.fill(0xaa, 100, 150);
  wanted.fill(0, 150, 5100); // what its data does not cover is zero
  t.strictSame(trap.alias.read(2 * PAGE, 2 * PAGE), wanted);
});

t.test('its units are mapped, and all others still trap', options, async (t) => {
  const trap = trapped(t, 4 * PAGE);
  const segment = { address: 5 * PAGE, data: bytes(1, 1), bytes: 1 };
  const pages = loadResident(trap.memory, [segment], trap.installer());
  t.strictSame([...pages], [5]);
  t.strictSame(
    trap.ptes().map((pte) => pte === 'present'),
    Array.from({ length: 16 }, (_, page) => page >= 4 && page < 8),
  );
  t.equal(trap.memory.states.stateOf(1), MAPPED);
  t.equal(trap.memory.states.count(MISSING), 3);
  t.strictSame(trap.alias.words[0]!.slice(6 * 1024, 8 * 1024), expected(6, 2));
});

t.test('segments that share a unit keep each other', options, async (t) => {
  const trap = trapped(t);
  const at = (offset: number, value: number) => ({
    address: PAGE + offset,
    data: bytes(16, value),
    bytes: 16,
  });
  loadResident(trap.memory, [at(0, 1), at(64, 2), at(PAGE - 16, 3)], trap.installer());
  t.strictSame(trap.alias.read(PAGE, 16), bytes(16, 1));
  t.strictSame(trap.alias.read(PAGE + 64, 16), bytes(16, 2));
  t.strictSame(trap.alias.read(2 * PAGE - 16, 16), bytes(16, 3));
  t.equal(trap.pte(1), 'present');
  t.equal(trap.pte(2), 'marker');
});

t.test('a segment may end with memory, and not behind it', options, async (t) => {
  const trap = trapped(t);
  const { memory } = trap;
  const last = { address: 15 * PAGE, data: bytes(4, 9), bytes: PAGE };
  t.doesNotThrow(() => loadResident(memory, [last], trap.installer()));
  for (const segment of [
    { ...last, bytes: PAGE + 1 },
    { ...last, address: 2 ** 52 },
    { ...last, address: 16 * PAGE, bytes: 1 },
  ]) {
    const load = (): unknown => loadResident(memory, [segment], trap.installer());
    t.throws(load, UsageError);
    t.throws(load, { message: /^the image needs memory up to 0x/, hint: /--memory/ });
  }
});

t.test('an empty segment loads nothing', options, async (t) => {
  const trap = trapped(t);
  for (const address of [0, 3 * PAGE, 3 * PAGE + 5]) {
    const empty = { address, data: new Uint8Array(), bytes: 0 };
    t.doesNotThrow(() => loadResident(trap.memory, [empty], trap.installer()));
  }
  t.strictSame(trap.ptes().slice(4), Array(12).fill('marker'));
  for (const page of trap.ptes().keys()) {
    t.equal(
      trap.pte(page) === 'present',
      trap.memory.states.stateOf(page) === MAPPED,
      `page ${page}`,
    );
  }
});
