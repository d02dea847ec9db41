import t from 'tap';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { cpuidOfPc } from '../../src/kvm/cpuid.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import { kvm_cpuid_entry2, kvm_cpuid2 } from '../../src/uapi/kvm-x86.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(30_000);
const WORDS = ['function', 'index', 'eax', 'ebx', 'ecx', 'edx'] as const;
type Entry = Record<(typeof WORDS)[number], number>;

function pack(entries: readonly Entry[]): ScratchPage {
  const page = new ScratchPage(kvm_cpuid2.size + entries.length * kvm_cpuid_entry2.size);
  page.u32[kvm_cpuid2.offset.nent >> 2] = entries.length;
  entries.forEach((entry, index) => {
    const at = kvm_cpuid2.size + index * kvm_cpuid_entry2.size;
    for (const word of WORDS) {
      page.u32[(at + kvm_cpuid_entry2.offset[word]) >> 2] = entry[word];
    }
  });
  return page;
}

function unpack(page: ScratchPage): Entry[] {
  return Array.from({ length: page.u32[kvm_cpuid2.offset.nent >> 2]! }, (_, index) => {
    const at = kvm_cpuid2.size + index * kvm_cpuid_entry2.size;
    const of = (word: (typeof WORDS)[number]): number =>
      page.u32[(at + kvm_cpuid_entry2.offset[word]) >> 2]!;
    return Object.fromEntries(WORDS.map((word) => [word, of(word)])) as Entry;
  });
}

const HOST: readonly Entry[] = [
  { function: 0, index: 0, eax: 0x1f, ebx: 1, ecx: 2, edx: 3 },
  { function: 1, index: 0, eax: 0x806f8, ebx: 0x05_10_08_00, ecx: 0x0000_0001, edx: 0x1234_5678 },
  { function: 0xb, index: 0, eax: 1, ebx: 2, ecx: 0x100, edx: 77 },
  { function: 0xb, index: 1, eax: 4, ebx: 16, ecx: 0x201, edx: 77 },
  { function: 0x1f, index: 0, eax: 1, ebx: 2, ecx: 0x100, edx: 77 },
  { function: 0x8000_0008, index: 0, eax: 0x3030, ebx: 4, ecx: 5, edx: 6 },
];

t.test('a vCPU is told its APIC id wherever it may look, and all else as it is', async (t) => {
  for (const id of [0, 1, 63]) {
    const supported = pack(HOST);
    const [vendor, features, ...rest] = unpack(cpuidOfPc(supported, id, 64, false));
    t.strictSame(vendor, HOST[0]);
    t.equal(features!.ebx >>> 24, id);
    t.equal((features!.ebx >>> 16) & 0xff, 64, 'logical processors');
    t.equal(features!.ebx & 0xffff, 0x0800, 'the size of a cache line stays');
    t.strictSame({ ...features, ebx: 0, ecx: 0 }, { ...HOST[1], ebx: 0, ecx: 0 });
    t.strictSame(
      rest.map(({ edx }) => edx),
      [id, id, id, 6],
      'x2APIC ids of both topologies',
    );
    t.strictSame(
      rest.map((entry) => ({ ...entry, edx: 0 })),
      HOST.slice(2).map((entry) => ({ ...entry, edx: 0 })),
    );
    t.strictSame(unpack(supported), HOST, 'what KVM can do is not changed');
  }
});

t.test('there is a hypervisor, and the TSC deadline timer where KVM has it', async (t) => {
  const ecx = (hasDeadlineTimer: boolean): string => {
    const features = unpack(cpuidOfPc(pack(HOST), 0, 1, hasDeadlineTimer))[1]!;
    return features.ecx.toString(16);
  };
  t.equal(ecx(false), '80000001');
  t.equal(ecx(true), '81000001');
});

t.test('KVM takes it', { skip: kvmSkip() }, async (t) => {
  using system = KvmSystem.open();
  using vm = system.createVm();
  const supported = system.supportedCpuid();
  for (const id of [0, 1]) {
    using vcpu = vm.createVcpu(id);
    t.doesNotThrow(() => vcpu.setCpuid(cpuidOfPc(supported, id, 2, true)));
  }
  t.ok(unpack(supported).some((entry) => entry.function === 1));
});
