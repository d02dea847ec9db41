/** A few instructions in real mode, in memory that is all there; KVM_RUN is called directly. */
import { constants } from 'node:os';
import t from 'tap';
import { errno, ioctl } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { ResourceStack } from '../../src/ffi/resource-stack.js';
import { blockVcpuSignals, currentThreadId, kickThread } from '../../src/ffi/thread.js';
import { viewOf } from '../../src/ffi/view.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import { setRealMode } from '../../src/kvm/registers.js';
import { RunPage } from '../../src/kvm/run-page.js';
import type { GeneralRegisters, Vcpu } from '../../src/kvm/vcpu.js';
import type { Vm } from '../../src/kvm/vm.js';
import { KVM_RUN } from '../../src/uapi/kvm.js';
import {
  KVM_EXIT_HLT,
  KVM_EXIT_IO,
  KVM_EXIT_IO_IN,
  KVM_EXIT_IO_OUT,
  KVM_EXIT_MMIO,
} from '../../src/uapi/kvm-run.js';
import { X86_EFLAGS_FIXED } from '../../src/uapi/kvm-x86.js';
import { kvmSkip } from '../support/host.js';
import { isMapped, openDescriptors } from '../support/leaks.js';

const MEMORY = 0x10000;
const ENTRY = 0x1000;
const options = { skip: kvmSkip(), timeout: 20_000 };

/** A VM of 64 KiB and one vCPU about to run `code` at 0000:1000. */
class RealModeVm {
  readonly owned = new ResourceStack();
  readonly system = this.owned.use(KvmSystem.open());
  readonly vm: Vm = this.owned.use(this.system.createVm());
  readonly memory: Uint8Array;
  readonly vcpu: Vcpu;
  readonly page: RunPage;

  constructor(code: readonly number[], registers: GeneralRegisters = {}) {
    const mapping = this.owned.use(Mapping.scratch(MEMORY));
    this.memory = new Uint8Array(viewOf(mapping.address, MEMORY));
    this.memory.set(code, ENTRY);
    this.vm.reserveRealModePages();
    this.vm.setUserMemoryRegion({
      slot: 0,
      flags: 0,
      guestPhysicalAddress: 0,
      bytes: MEMORY,
      userspaceAddress: mapping.address,
    });
    this.vcpu = this.owned.use(this.vm.createVcpu(0));
    this.vcpu.setCpuid(this.system.supportedCpuid());
    this.vcpu.changeSystemRegisters(setRealMode);
    this.vcpu.setRegisters({ rip: ENTRY, rflags: X86_EFLAGS_FIXED, ...registers });
    this.page = new RunPage(this.vcpu.runPage.address, this.vcpu.runPage.bytes);
  }

  /** KVM_RUN until it ends with something other than a signal: the exit reason. */
  run(): number {
    this.page.clearExitReason();
    if (ioctl(this.vcpu.fd, KVM_RUN, 0) < 0) {
      throw new Error(`KVM_RUN failed: errno ${errno()}`);
    }
    return this.page.exitReason;
  }
}

function machine(
  t: { teardown(close: () => void): void },
  code: readonly number[],
  registers: GeneralRegisters = {},
): RealModeVm {
  const it = new RealModeVm(code, registers);
  t.teardown(() => it.owned.close());
  return it;
}

t.test('OUT exits with port, size and data; then HLT', options, async (t) => {
  const it = machine(t, [
    0xb0,
    0x42, // mov al, 0x42
    0xe6,
    0x10, // out 0x10, al
    0xba,
    0xf8,
    0x03, // mov dx, 0x3f8
    0x66,
    0xb8,
    0x04,
    0x03,
    0x02,
    0x01, // mov eax, 0x01020304
    0x66,
    0xef, // out dx, eax
    0xf4, // hlt
  ]);
  t.equal(it.run(), KVM_EXIT_IO);
  t.match(it.page, { ioDirection: KVM_EXIT_IO_OUT, ioPort: 0x10, ioSize: 1, ioCount: 1 });
  t.equal(it.page.u8[it.page.ioDataOffset], 0x42);
  t.equal(it.run(), KVM_EXIT_IO);
  t.match(it.page, { ioDirection: KVM_EXIT_IO_OUT, ioPort: 0x3f8, ioSize: 4, ioCount: 1 });
  t.equal(it.page.u32[it.page.ioDataOffset >> 2], 0x01020304);
  t.equal(it.run(), KVM_EXIT_HLT);
});

t.test('an OUT is finished before registers are changed: by immediate_exit', options, async (t) => {
  // kvm_amd moves RIP past the instruction only with the next KVM_RUN, which would move it again.
  const it = machine(t, [0xe6, 0x10, 0xf4]); // out 0x10, al; hlt
  it.memory.set([0xb0, 0x42, 0xe6, 0x20, 0xf4], 0x2000); // mov al, 0x42; out 0x20, al; hlt
  t.equal(it.run(), KVM_EXIT_IO);
  t.equal(it.page.ioPort, 0x10);
  const { rip: before } = it.vcpu.registers();
  t.ok([ENTRY, ENTRY + 2].includes(before), `RIP 0x${before.toString(16)} at the exit`);
  it.page.immediateExit = true;
  t.strictSame([ioctl(it.vcpu.fd, KVM_RUN, 0), errno()], [-1, constants.errno.EINTR]);
  it.page.immediateExit = false;
  t.equal(it.vcpu.registers().rip, ENTRY + 2, 'past the instruction, on any KVM');
  it.vcpu.setRegisters({ rip: 0x2000, rflags: X86_EFLAGS_FIXED });
  t.equal(it.run(), KVM_EXIT_IO);
  t.match(it.page, { ioDirection: KVM_EXIT_IO_OUT, ioPort: 0x20 });
  t.equal(it.page.u8[it.page.ioDataOffset], 0x42, 'no instruction was skipped');
  t.equal(it.run(), KVM_EXIT_HLT);
});

t.test('IN takes what is put into the page', options, async (t) => {
  const it = machine(t, [
    0xe4,
    0x60, // in al, 0x60
    0xa2,
    0x00,
    0x20, // mov [0x2000], al
    0xf4, // hlt
  ]);
  t.equal(it.run(), KVM_EXIT_IO);
  t.match(it.page, { ioDirection: KVM_EXIT_IO_IN, ioPort: 0x60, ioSize: 1 });
  it.page.u8[it.page.ioDataOffset] = 0xa7;
  t.equal(it.run(), KVM_EXIT_HLT);
  t.equal(it.memory[0x2000], 0xa7);
});

t.test('an access outside memory is MMIO, with its address and data', options, async (t) => {
  const it = machine(
    t,
    [
      0x8e,
      0xd8, // mov ds, ax
      0xc6,
      0x06,
      0x34,
      0x12,
      0x5a, // mov byte [0x1234], 0x5a
      0xf4, // hlt
    ],
    { rax: 0x2000 },
  );
  t.equal(it.run(), KVM_EXIT_MMIO);
  t.match(it.page, { mmioAddress: 0x21234, mmioLength: 1, mmioIsWrite: true });
  t.equal(it.run(), KVM_EXIT_HLT);
});

t.test('registers are set as named, the others to 0, and read back', options, async (t) => {
  const { vcpu } = machine(t, [0xf4]);
  vcpu.setRegisters({ rax: Number.MAX_SAFE_INTEGER, rbx: 2 ** 32, rip: 0x1000, r15: 7, rflags: 2 });
  t.strictSame(
    Object.entries(vcpu.registers()).filter(([, value]) => value !== 0),
    [
      ['rax', Number.MAX_SAFE_INTEGER],
      ['rbx', 2 ** 32],
      ['r15', 7],
      ['rip', 0x1000],
      ['rflags', 2],
    ],
  );
});

t.test('immediate_exit and a kick each end KVM_RUN with EINTR', options, async (t) => {
  const it = machine(t, [0xeb, 0xfe]); // 1: jmp 1b
  blockVcpuSignals();
  it.vcpu.unblockAllSignalsInGuest();
  const run = (): (number | boolean)[] => [ioctl(it.vcpu.fd, KVM_RUN, 0), errno()];
  it.page.immediateExit = true;
  t.strictSame(run(), [-1, constants.errno.EINTR]);
  it.page.immediateExit = false;
  kickThread(currentThreadId());
  t.strictSame(run(), [-1, constants.errno.EINTR], 'the signal was pending: it is not lost');
});

t.test('errors name the ioctl, the errno and what it may mean', options, async (t) => {
  const { vm, vcpu } = machine(t, [0xf4]);
  t.throws(() => vm.createVcpu(0), {
    code: 'syscall',
    message: 'KVM_CREATE_VCPU failed: EEXIST',
    errno: constants.errno.EEXIST,
    hint: /exists already/,
  });
  const overlapping = {
    slot: 1,
    flags: 0,
    guestPhysicalAddress: 0x8000,
    bytes: 0x10000,
    userspaceAddress: vcpu.runPage.address,
  };
  t.throws(() => vm.setUserMemoryRegion(overlapping), {
    message: 'KVM_SET_USER_MEMORY_REGION failed: EEXIST',
    hint: /overlaps/,
  });
  t.throws(() => vm.setUserMemoryRegion({ ...overlapping, bytes: 100 }), {
    message: 'KVM_SET_USER_MEMORY_REGION failed: EINVAL',
    hint: /probe/,
  });
  t.throws(() => vm.createVcpu(100_000), { message: 'KVM_CREATE_VCPU failed: EINVAL' });
});

t.test('closing a vCPU unmaps its page; nothing is left of the VM', options, async (t) => {
  const before = openDescriptors();
  const it = new RealModeVm([0xf4]);
  const { address, bytes } = it.vcpu.runPage;
  t.ok(bytes >= 4096);
  t.ok(isMapped(address));
  it.vcpu.close();
  t.notOk(isMapped(address));
  it.vcpu.close();
  t.throws(() => it.vcpu.registers(), { message: 'KVM_GET_REGS failed: EBADF' });
  it.owned.close();
  t.strictSame(openDescriptors(), before);
});
