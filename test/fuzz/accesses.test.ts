/**
 * Loads and stores of all sizes at all addresses, against a model in plain memory: RAM that is
 * missing when it is touched, its end, what lies above it, and pages crossed on the way.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import type { BackingName } from '../../src/memory/backing.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { kvmSkip, uffdSkip } from '../support/host.js';
import { ROOM, tryCases } from './cases.js';
import { expectedByte, GuestBytes } from './expected-memory.js';
import { GuestBed, LONG_MILLISECONDS, MEMORY_BYTES } from './guest-bed.js';
import { type Bytes, little } from './machine-code.js';
import { DATA_ADDRESS, DATA_END, SPARE_PAGES, skippingExceptions } from './skipping-image.js';

const skip = kvmSkip() || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
t.setTimeout(240_000 * ROOM);
const bed = await GuestBed.open(t.testdir());
t.teardown(() => bed.close());

const KINDS = ['load', 'store', 'add', 'exchange', 'copy', 'load16', 'store16'] as const;
type Kind = (typeof KINDS)[number];
type Size = 1 | 2 | 4 | 8;

interface Access {
  readonly kind: Kind;
  readonly size: Size;
  readonly address: number;
  readonly value: bigint;
}

/** The mapping ends at 1 GiB; the other gigabytes are added by the guest (see {@link mapMore}). */
const GIB = 2 ** 30;
const place = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: DATA_END, max: MEMORY_BYTES - 1 }) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom(0x200000, 0x201000, 0x210000, 0x300000, 0x3ff000),
        fc.integer({ min: -18, max: 2 }),
      )
      .map(([page, offset]) => page + offset),
  },
  {
    weight: 4,
    arbitrary: fc.integer({ min: -18, max: 18 }).map((offset) => MEMORY_BYTES + offset),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom(GIB, 2 * GIB, 4 * GIB, 0xfee0_0000, 6 * GIB),
        fc.integer({ min: -18, max: 18 }),
      )
      .map(([start, offset]) => start + offset),
  },
);

const accesses = fc.array(
  fc.record({
    kind: fc.constantFrom(...KINDS),
    size: fc.constantFrom<Size>(1, 2, 4, 8),
    address: place,
    value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  { minLength: 1, maxLength: 16 },
);

/** Prefix and opcode of an instruction that exists for bytes and for words. */
const sized = (opcode: number, size: Size): Bytes => {
  const prefix = { 1: [], 2: [0x66], 4: [], 8: [0x48] }[size];
  return [...prefix, size === 1 ? opcode : opcode + 1];
};

/** RBX is the address. RAX holds the value before, and what was read after. */
function instruction({ kind, size }: Access): Bytes {
  switch (kind) {
    case 'load':
      return [...sized(0x8a, size), 0x03]; // mov (%rbx), %rax
    case 'store':
      return [...sized(0x88, size), 0x03]; // mov %rax, (%rbx)
    case 'add':
      return [...sized(0x00, size), 0x03]; // add %rax, (%rbx)
    case 'exchange':
      return [...sized(0x86, size), 0x03]; // xchg %rax, (%rbx), which is locked
    case 'copy':
      return [0x48, 0x89, 0xde, ...sized(0xa4, size), 0x90]; // mov %rbx, %rsi; movs to (%rdi)
    case 'load16':
      return [0xf3, 0x0f, 0x6f, 0x03]; // movdqu (%rbx), %xmm0
    case 'store16':
      return [
        ...[0x48, 0x89, 0x07, 0x48, 0x89, 0x47, 0x08], // mov %rax, (%rdi); mov %rax, 8(%rdi)
        ...[0xf3, 0x0f, 0x6f, 0x07, 0xf3, 0x0f, 0x7f, 0x03], // movdqu (%rdi), %xmm0; to (%rbx)
      ];
  }
}

const RESULT_BYTES = 16;
/** Gigabytes 1 to 6 are mapped to themselves where they begin and end, and around the APIC. */
const MORE_GIBS = 6;
const PDPT = 0x11000;

/** What the guest does to the tables it was given, which it may write to. */
function mapMore(): Bytes {
  const store = (address: number, entry: number): Bytes => [
    ...[0x48, 0xb8, ...little(entry, 8)], // mov $entry, %rax
    ...[0x48, 0xa3, ...little(address, 8)], // mov %rax, address
  ];
  return Array.from({ length: MORE_GIBS }, (_, index) => {
    const directory = SPARE_PAGES + index * 4096;
    const largePages = [0, 502, 503, 511];
    return [
      ...store(PDPT + 8 * (index + 1), directory + 7),
      ...largePages.flatMap((at) =>
        store(directory + at * 8, (index + 1) * GIB + at * 2 ** 21 + 0x87),
      ),
    ];
  }).flat();
}

function program(list: readonly Access[]): Bytes {
  return list.flatMap((access, index) => {
    const result = DATA_ADDRESS + index * RESULT_BYTES;
    const vector = access.kind === 'load16';
    return [
      ...[0x48, 0xbb, ...little(access.address, 8)], // mov $address, %rbx
      ...[0x48, 0xb8, ...little(access.value, 8)], // mov $value, %rax
      ...[0xbf, ...little(result, 4)], // mov $result, %edi
      ...instruction(access),
      ...(access.kind === 'copy'
        ? []
        : vector
          ? [0xf3, 0x0f, 0x7f, 0x04, 0x25, ...little(result, 4)] // movdqu %xmm0, result
          : [0x48, 0x89, 0x04, 0x25, ...little(result, 4)]), // mov %rax, result
    ];
  });
}

/** What memory and registers hold after it. */
class Model {
  readonly written = new Map<number, number>();

  byte(address: number): number {
    return address >= MEMORY_BYTES ? 0xff : (this.written.get(address) ?? expectedByte(address));
  }

  read(address: number, size: number): bigint {
    let value = 0n;
    for (let at = size - 1; at >= 0; at--) {
      value = (value << 8n) | BigInt(this.byte(address + at));
    }
    return value;
  }

  write(address: number, size: number, value: bigint): void {
    little(value, size).forEach((byte, at) => {
      if (address + at < MEMORY_BYTES) {
        this.written.set(address + at, byte);
      }
    });
  }

  /** What is stored as its result: 8 or 16 bytes. */
  step({ kind, size, address, value }: Access): bigint {
    const mask = (1n << BigInt(size * 8)) - 1n;
    const found = this.read(address, size);
    /** A 32-bit result clears the upper half of a register; smaller ones leave it alone. */
    const merged = size === 4 ? found : (value & ~mask) | found;
    switch (kind) {
      case 'load':
        return merged;
      case 'store':
        this.write(address, size, value);
        return value;
      case 'add':
        this.write(address, size, found + value);
        return value;
      case 'exchange':
        this.write(address, size, value);
        return merged;
      case 'copy':
        return found;
      case 'load16':
        return this.read(address, 16);
      case 'store16':
        this.write(address, 16, (value << 64n) | value);
        return (value << 64n) | value;
    }
  }
}

t.test('every access reads and writes what the model says', { skip }, async (t) => {
  const cases = fc.record({
    list: accesses,
    level: fc.constantFrom<0 | 3>(0, 3),
    backing: fc.constantFrom<BackingName>('shmem', 'anon-private', 'anon-shared', 'shmem-private'),
    unitBytes: fc.constantFrom(4096, 4096, 65536),
  });
  await tryCases(t, 'accesses: of all sizes everywhere', cases, ({ list, level, ...setup }) => {
    const leave: Bytes = [0x66, 0xba, 0xf4, 0x00, 0x31, 0xc0, 0xef];
    const image = skippingExceptions([...mapMore(), ...program(list), ...leave], level);
    const model = new Model();
    const wanted = list.map((access) => model.step(access));
    bed.run(
      image,
      setup,
      ({ memory }, { end }) => {
        assert.deepEqual(end, { reason: 'exited', code: 0 });
        const bytes = new GuestBytes(memory);
        const results = bytes.read(DATA_ADDRESS, list.length * RESULT_BYTES);
        const words = new BigUint64Array(results.buffer);
        const found = list.map((_, at) => words[at * 2]! | (words[at * 2 + 1]! << 64n));
        assert.deepEqual(found.map(hex), wanted.map(hex));
        for (const [address, byte] of model.written) {
          assert.equal(bytes.at(address), byte, `at 0x${address.toString(16)}`);
        }
      },
      LONG_MILLISECONDS,
    );
  });
});

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
