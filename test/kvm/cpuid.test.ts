import t from 'tap';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { cpuidOfPc } from '../../src/kvm/cpuid.js';
import { kvm_cpuid_entry2, kvm_cpuid2 } from '../../src/uapi/kvm-x86.js';

const { offset, size } = kvm_cpuid_entry2;
type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
const LEAVES = [1, 7, 0xb, 0xb, 0x1f, 0x4000_0000];

function made(): ScratchPage {
  const page = new ScratchPage(kvm_cpuid2.size + LEAVES.length * size);
  page.u32[kvm_cpuid2.offset.nent >> 2] = LEAVES.length;
  LEAVES.forEach((leaf, entry) => {
    const at = kvm_cpuid2.size + entry * size;
    page.u32[(at + offset.function) >> 2] = leaf;
    for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) {
      page.u32[(at + offset[register]) >> 2] = 0x0102_0304;
    }
  });
  return page;
}

const get = (page: ScratchPage, entry: number, register: Register): number =>
  page.u32[(kvm_cpuid2.size + entry * size + offset[register]) >> 2]!;

t.test('a vCPU of a PC has its APIC id in every place, and knows that it is a guest', async (t) => {
  const supported = made();
  const before = [...supported.u32];
  for (const [id, vcpus] of [
    [0, 1],
    [1, 2],
    [63, 64],
  ] as const) {
    const page = cpuidOfPc(supported, id, vcpus, true);
    t.equal(
      get(page, 0, 'ebx'),
      id * 2 ** 24 + vcpus * 2 ** 16 + 0x304,
      'id, count, what was there',
    );
    t.equal(get(page, 0, 'ecx'), 0x0102_0304 + 2 ** 31, 'hypervisor; the deadline timer was set');
    t.equal(get(page, 0, 'edx'), 0x0102_0304);
    for (const entry of [2, 3, 4]) {
      t.equal(get(page, entry, 'edx'), id, 'topology');
      t.equal(get(page, entry, 'ebx'), 0x0102_0304);
    }
    for (const entry of [1, 5]) {
      t.equal(get(page, entry, 'edx'), 0x0102_0304, 'other leaves are as they were');
    }
  }
  t.strictSame([...supported.u32], before, 'what KVM supports is not changed');
});

t.test('the TSC deadline timer, only where KVM has it', async (t) => {
  const supported = made();
  supported.u32[(kvm_cpuid2.size + offset.ecx) >> 2] = 0;
  t.equal(get(cpuidOfPc(supported, 0, 1, true), 0, 'ecx'), 2 ** 31 + 2 ** 24);
  t.equal(get(cpuidOfPc(supported, 0, 1, false), 0, 'ecx'), 2 ** 31);
});
