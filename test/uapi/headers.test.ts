/**
 * Compares every constant, size and offset that src/uapi exports with the installed C headers.
 * Nothing is listed here: a file or an export added to src/uapi is compared from then on.
 */
import { readdirSync } from 'node:fs';
import t from 'tap';
import type { Layout } from '../../src/ffi/layout.js';
import { evaluate, missing } from './c-probe.js';
import { newerThanHeaders } from './newer-than-headers.js';

const HEADERS = [
  'asm/bootparam.h',
  'asm/processor-flags.h',
  'fcntl.h',
  'linux/fs.h',
  'linux/kvm.h',
  'linux/magic.h',
  'linux/memfd.h',
  'linux/mman.h',
  'linux/mount.h',
  'linux/perf_event.h',
  'linux/userfaultfd.h',
  'poll.h',
  'signal.h',
  'sys/eventfd.h',
  'sys/mman.h',
  'sys/resource.h',
  'sys/syscall.h',
  'sys/uio.h',
  'time.h',
];

/** C types that are not `struct <name of the export>`. */
const TYPEDEFS = ['siginfo_t', 'sigset_t'];

/** C paths of fields that have another name there; null for what C has no name for. */
const FIELDS: Readonly<Record<string, string | null>> = {
  'kvm_run.exit': 'hw', // the union is anonymous
  'kvm_userspace_memory_region2.userfault_bitmap': 'pad2[0]',
  'kvm_userspace_memory_region2.pad2': 'pad2[1]',
  'perf_event_attr.flags': null, // unnamed bitfields: checked bit by bit
  'siginfo_t._rest': null,
  'uffd_msg_pagefault.ptid': 'feat.ptid',
};

interface Fact {
  readonly label: string;
  readonly expression: string;
  readonly ours: bigint;
}

const isLayout = (value: object): value is Layout<string> => 'offset' in value && 'size' in value;

/** All that can be asked about one export. */
function facts(name: string, value: unknown): Fact[] {
  if (typeof value === 'number' || typeof value === 'bigint') {
    return [{ label: name, expression: name, ours: BigInt(value) }];
  }
  if (typeof value !== 'object' || value === null) {
    throw new TypeError(`src/uapi exports ${name}, which is neither a number nor a layout`);
  }
  if (isLayout(value)) {
    return layoutFacts(name, value);
  }
  return bitFacts(name, value as Record<string, number>);
}

function layoutFacts(name: string, layout: Layout<string>): Fact[] {
  // kvm_run_io is the member `io` of the union in struct kvm_run, laid out from the latter's start.
  const [, outer, member] = /^(kvm_run|uffd_msg)_(\w+)$/.exec(name) ?? [];
  const type = TYPEDEFS.includes(name) ? name : `struct ${outer ?? name}`;
  const path = outer === 'uffd_msg' ? `arg.${member}` : member;
  const size =
    path === undefined
      ? `sizeof(${type})`
      : `offsetof(${type}, ${path}) + sizeof(((${type} *)0)->${path})`;
  const all: Fact[] = [{ label: `${name}:size`, expression: size, ours: BigInt(layout.size) }];
  for (const [field, offset] of Object.entries(layout.offset)) {
    const label = `${name}.${field}`;
    const cName = label in FIELDS ? FIELDS[label] : field;
    if (cName === null || (path !== undefined && field === 'header')) {
      continue;
    }
    const cPath = path === undefined ? cName : `${path}.${cName}`;
    all.push({ label, expression: `offsetof(${type}, ${cPath})`, ours: BigInt(offset) });
  }
  return all;
}

/** `perf_event_attr_bit`: positions from the first bit of the struct's field `flags`. */
function bitFacts(name: string, bits: Readonly<Record<string, number>>): Fact[] {
  const tag = name.replace(/_bit$/, '');
  const owner = exported.get(tag) as Layout<string>;
  return Object.entries(bits).map(([field, bit]) => ({
    label: `${name}.${field}`,
    expression:
      `({ struct ${tag} it; memset(&it, 0, sizeof it); it.${field} = 1; ` +
      'unsigned char *byte = (void *)&it; long at = 0; while (!byte[at]) at++; ' +
      'at * 8 + __builtin_ctz(byte[at]); })',
    ours: BigInt(owner.offset.flags! * 8 + bit),
  }));
}

const listed = (label: string): boolean =>
  label in newerThanHeaders || label.replace(/[:.].*$/, '') in newerThanHeaders;

const show = (value: bigint): string => (value < 0n ? `${value}` : `0x${value.toString(16)}`);

const directory = new URL('../../src/uapi/', import.meta.url);
const modules = new Map<string, Record<string, unknown>>();
const exported = new Map<string, unknown>();
for (const file of readdirSync(directory).sort()) {
  if (/(?<!\.d)\.[jt]s$/.test(file)) {
    const module: Record<string, unknown> = await import(new URL(file, directory).href);
    modules.set(file.replace(/\.[jt]s$/, ''), module);
    for (const [name, value] of Object.entries(module)) {
      exported.set(name, value);
    }
  }
}

t.test('src/uapi agrees with the installed headers', { skip: missing(HEADERS) }, async (t) => {
  const byModule = new Map<string, Fact[]>();
  for (const [file, module] of modules) {
    byModule.set(
      file,
      Object.entries(module).flatMap(([name, value]) => facts(name, value)),
    );
  }
  const expressions = new Map(
    [...byModule.values()].flat().map(({ label, expression }) => [label, expression]),
  );
  const headers = evaluate(t.testdir(), HEADERS, expressions);

  for (const [file, all] of byModule) {
    t.test(file, async (t) => {
      const known = all.filter(({ label }) => headers.has(label));
      t.strictSame(
        Object.fromEntries(known.map(({ label, ours }) => [label, show(ours)])),
        Object.fromEntries(known.map(({ label }) => [label, show(headers.get(label)!)])),
        `${known.length} of ${all.length} values are in the headers, and equal`,
      );
      const unknown = all.map(({ label }) => label).filter((label) => !headers.has(label));
      t.strictSame(
        unknown.filter((label) => !listed(label)),
        [],
        `the other ${unknown.length} are listed with their source`,
      );
    });
  }
});

t.test('the list of newer names has no leftovers', async (t) => {
  const all = [...exported].flatMap(([name, value]) => facts(name, value));
  const names = new Set([...exported.keys(), ...all.map(({ label }) => label)]);
  t.strictSame(
    Object.keys(newerThanHeaders).filter((name) => !names.has(name)),
    [],
    'each is exported by src/uapi',
  );
  t.equal(
    exported.size,
    [...modules.values()].reduce((count, module) => count + Object.keys(module).length, 0),
    'no name is exported by two files',
  );
});

t.test('ioctl numbers carry the size of their struct', async (t) => {
  // The only check of those that the installed headers do not know.
  const argument = new Map([
    ['KVM_SET_USER_MEMORY_REGION', 'kvm_userspace_memory_region'],
    ['KVM_SET_USER_MEMORY_REGION2', 'kvm_userspace_memory_region2'],
    ['PAGEMAP_SCAN', 'pm_scan_arg'],
  ]);
  for (const [name, value] of exported) {
    const layout = exported.get(argument.get(name) ?? name.toLowerCase());
    if (typeof value === 'number' && value > 0xffff && typeof layout === 'object') {
      t.equal((value >>> 16) & 0x3fff, (layout as Layout<string>).size, name);
    }
  }
});
