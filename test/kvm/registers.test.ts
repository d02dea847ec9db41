import t from 'tap';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { kvmIoctl } from '../../src/kvm/kvm-ioctl.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import {
  GDT_ENTRIES,
  setLongMode,
  setProtectedMode,
  setRealMode,
  setResetVector,
} from '../../src/kvm/registers.js';
import { KVM_GET_SREGS } from '../../src/uapi/kvm.js';
import { kvm_dtable, kvm_segment, kvm_sregs } from '../../src/uapi/kvm-x86.js';
import { kvmSkip } from '../support/host.js';

const tables = { gdtAddress: 0x8000, tssAddress: 0x9000, pml4Address: 0x10000 };

type SegmentName = 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr';

/** A segment as KVM has it. */
function segment(sregs: ScratchPage, name: SegmentName) {
  const start = kvm_sregs.offset[name];
  const { offset } = kvm_segment;
  const byte = (field: keyof typeof offset): number => sregs.u8[start + offset[field]]!;
  return {
    base: sregs.getU64(start + offset.base),
    limit: sregs.u32[(start + offset.limit) >> 2],
    selector: sregs.u16[(start + offset.selector) >> 1]!,
    type: byte('type'),
    present: byte('present'),
    dpl: byte('dpl'),
    db: byte('db'),
    s: byte('s'),
    l: byte('l'),
    g: byte('g'),
  };
}

/** The same fields decoded from a GDT entry (Intel SDM vol. 3A, 3.4.5). */
function decode(entry: bigint, selector: number) {
  const bits = (at: bigint, count: bigint): number => Number((entry >> at) & ((1n << count) - 1n));
  const g = bits(55n, 1n);
  const limit = bits(0n, 16n) + bits(48n, 4n) * 2 ** 16;
  return {
    base: bits(16n, 24n) + bits(56n, 8n) * 2 ** 24,
    limit: g === 1 ? limit * 4096 + 4095 : limit,
    selector,
    type: bits(40n, 4n),
    present: bits(47n, 1n),
    dpl: bits(45n, 2n),
    db: bits(54n, 1n),
    s: bits(44n, 1n),
    l: bits(53n, 1n),
    g,
  };
}

for (const level of [0, 3] as const) {
  t.test(`CPL ${level}: the cached segments are those of the GDT`, async (t) => {
    const sregs = new ScratchPage();
    sregs.u8.fill(0xff);
    setLongMode(sregs, level, tables);
    for (const name of ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const) {
      const cached = segment(sregs, name);
      t.strictSame(cached, decode(GDT_ENTRIES[cached.selector >> 3]!, cached.selector), name);
      t.equal(cached.selector & 3, level);
      t.equal(cached.l, name === 'cs' ? 1 : 0);
    }
    t.equal(
      sregs.u16[(kvm_sregs.offset.gdt + kvm_dtable.offset.limit) >> 1],
      GDT_ENTRIES.length * 8 - 1,
    );
  });
}

t.test('user data lies just below user code, as SYSRET wants it', async (t) => {
  const sregs = new ScratchPage();
  setLongMode(sregs, 3, tables);
  t.equal(segment(sregs, 'cs').selector - segment(sregs, 'ss').selector, 8);
});

t.test('real mode: every segment at 0, of 64 KiB', async (t) => {
  const sregs = new ScratchPage();
  sregs.u8.fill(0xff);
  setRealMode(sregs);
  for (const name of ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const) {
    t.match(segment(sregs, name), {
      base: 0,
      limit: 0xffff,
      selector: 0,
      present: 1,
      dpl: 0,
      s: 1,
    });
  }
});

t.test('the reset vector: code from below 4 GiB, all else as in real mode', async (t) => {
  const sregs = new ScratchPage();
  sregs.u8.fill(0xff);
  setResetVector(sregs);
  const rest = { limit: 0xffff, present: 1, dpl: 0, s: 1, l: 0, db: 0, g: 0 };
  t.match(segment(sregs, 'cs'), { base: 0xffff_0000, selector: 0xf000, type: 0xb, ...rest });
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) {
    t.match(segment(sregs, name), { base: 0, selector: 0, type: 3, ...rest });
  }
});

t.test('protected mode: 32-bit, flat, no paging', async (t) => {
  const sregs = new ScratchPage();
  sregs.u8.fill(0xff);
  setProtectedMode(sregs);
  const flat = { base: 0, limit: 0xffff_ffff, present: 1, dpl: 0, db: 1, s: 1, l: 0, g: 1 };
  t.strictSame(segment(sregs, 'cs'), { ...flat, selector: 0x08, type: 0xb });
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) {
    t.strictSame(segment(sregs, name), { ...flat, selector: 0x10, type: 0x3 }, name);
  }
  t.match(segment(sregs, 'tr'), { base: 0, limit: 0x67, type: 0xb, present: 1, s: 0 });
  t.equal(sregs.getU64(kvm_sregs.offset.cr0), 0x11, 'PE and ET');
  t.equal(sregs.getU64(kvm_sregs.offset.cr4), 0);
});

for (const [name, change, cr0, bits] of [
  ['protected mode', setProtectedMode, 0x11, 32],
  ['the reset vector', setResetVector, 0x6000_0010, 16],
] as const) {
  t.test(`KVM keeps the registers of ${name}`, { skip: kvmSkip(), timeout: 20_000 }, async (t) => {
    using system = KvmSystem.open();
    using vm = system.createVm();
    using vcpu = vm.createVcpu(0);
    vcpu.changeSystemRegisters(change);
    vcpu.setRegisters({ rip: 0xfff0 });
    const wanted = new ScratchPage();
    change(wanted);
    const kept = new ScratchPage();
    kvmIoctl('KVM_GET_SREGS', vcpu.fd, KVM_GET_SREGS, kept.address);
    for (const part of ['cs', 'ds', 'ss'] as const) {
      t.strictSame(segment(kept, part), segment(wanted, part), part);
    }
    t.equal(vcpu.systemRegisters().cr0, cr0);
    const { base } = segment(wanted, 'cs');
    t.match(vcpu.codePosition(), { rip: 0xfff0n, linear: BigInt(base + 0xfff0), bits });
  });
}

for (const level of [0, 3] as const) {
  t.test(
    `KVM keeps the registers of long mode at CPL ${level}`,
    {
      skip: kvmSkip(),
      timeout: 20_000,
    },
    async (t) => {
      using system = KvmSystem.open();
      using vm = system.createVm();
      using vcpu = vm.createVcpu(0);
      vcpu.setCpuid(system.supportedCpuid());
      vcpu.changeSystemRegisters((sregs) => setLongMode(sregs, level, tables));
      const wanted = new ScratchPage();
      setLongMode(wanted, level, tables);
      const kept = new ScratchPage();
      kvmIoctl('KVM_GET_SREGS', vcpu.fd, KVM_GET_SREGS, kept.address);
      for (const name of ['cs', 'ds', 'ss', 'tr'] as const) {
        t.strictSame(segment(kept, name), segment(wanted, name), name);
      }
      for (const name of ['cr3', 'cr4', 'efer'] as const) {
        t.equal(kept.getU64(kvm_sregs.offset[name]), wanted.getU64(kvm_sregs.offset[name]), name);
      }
      const { cr0, cr3, cr4, efer } = vcpu.systemRegisters();
      t.equal(cr0, 0x8001_0033, 'PG WP NE ET MP PE');
      t.strictSame([cr3, cr4, efer], [0x10000, 0x660, 0xd00]);
      vcpu.setRegisters({ rip: 0xffff_ffff_8100_0000 });
      const rip = 0xffff_ffff_8100_0000n;
      t.match(vcpu.codePosition(), { rip, linear: rip, bits: 64, cr0, cr3, cr4, efer });
    },
  );
}

t.test(
  'long mode is for a vCPU that has its CPUID',
  { skip: kvmSkip(), timeout: 20_000 },
  async (t) => {
    using system = KvmSystem.open();
    using vm = system.createVm();
    using vcpu = vm.createVcpu(0);
    const enter = (): void => vcpu.changeSystemRegisters((sregs) => setLongMode(sregs, 0, tables));
    try {
      enter();
      t.comment('this KVM takes it before, too');
    } catch (error) {
      t.match(error, { message: 'KVM_SET_SREGS failed: EINVAL' });
    }
    vcpu.setCpuid(system.supportedCpuid());
    enter();
    t.equal(vcpu.systemRegisters().efer, 0xd00, 'LME LMA NXE');
  },
);
