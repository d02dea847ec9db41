/** KVM_MEM_EXIT_ON_MISSING and KVM_MEM_EXIT_ON_USERFAULT themselves, with as little of ours as can be. */
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { errno, ioctl, madvise, mprotect } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import { viewOf } from '../../src/ffi/view.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import { MEMSLOT_EXITS, type MemslotExit } from '../../src/kvm/memory-exits.js';
import { setRealMode } from '../../src/kvm/registers.js';
import { RunPage } from '../../src/kvm/run-page.js';
import {
  KVM_MEM_EXIT_ON_MISSING,
  KVM_MEM_EXIT_ON_USERFAULT,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_RUN,
} from '../../src/uapi/kvm.js';
import {
  KVM_EXIT_HLT,
  KVM_EXIT_MEMORY_FAULT,
  kvm_run_memory_fault,
} from '../../src/uapi/kvm-run.js';
import {
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/uapi/mman.js';
import { memslotExitSkip } from '../support/memslot-exits.js';

const { EFAULT, EINVAL } = constants.errno;
const PAGE = 4096;
const PAGES = 16;
const CODE = 0x1000;
const TOUCHED = 0x5000;

/** A guest in real mode on anonymous memory, nothing of which is registered with a userfaultfd. */
class Guest implements Disposable {
  readonly memory = Mapping.scratch(PAGES * PAGE);
  private readonly system = KvmSystem.open();
  readonly vm = this.system.createVm();
  private readonly vcpu;
  readonly page: RunPage;

  /** @param code at 0x1000, whose page is there */
  constructor(flags: number, code: readonly number[]) {
    this.setFlags(flags);
    this.vcpu = this.vm.createVcpu(0);
    this.page = new RunPage(this.vcpu.runPage.address, this.vcpu.runPage.bytes);
    new Uint8Array(viewOf(this.memory.address, this.memory.bytes)).set(code, CODE);
    this.vcpu.changeSystemRegisters(setRealMode);
    this.vcpu.setRegisters({ rip: CODE, rsp: CODE, rflags: 2 });
  }

  setFlags(flags: number): void {
    this.vm.setUserMemoryRegion({
      slot: 0,
      flags,
      guestPhysicalAddress: 0,
      bytes: PAGES * PAGE,
      userspaceAddress: this.memory.address,
    });
  }

  /** 0, or an errno. */
  run(): number {
    this.page.clearExitReason();
    return ioctl(this.vcpu.fd, KVM_RUN, 0) === 0 ? 0 : errno();
  }

  populate(gpa: number, advice: number): void {
    if (madvise(this.memory.address + gpa, PAGE, advice) !== 0) {
      throw new Error(`madvise: errno ${errno()}`);
    }
  }

  protect(gpa: number, protection: number): void {
    if (mprotect(this.memory.address + gpa, PAGE, protection) !== 0) {
      throw new Error(`mprotect: errno ${errno()}`);
    }
  }

  [Symbol.dispose](): void {
    this.vcpu.close();
    this.vm.close();
    this.system.close();
    this.memory.close();
  }
}

const STORE = [0xa3, TOUCHED & 0xff, TOUCHED >> 8, 0xf4]; // mov %ax, 0x5000; hlt
const LOAD = [0xa1, TOUCHED & 0xff, TOUCHED >> 8, 0xf4]; // mov 0x5000, %ax; hlt

for (const exit of ['missing', 'userfault'] satisfies MemslotExit[]) {
  const skip = memslotExitSkip(exit);

  t.test(
    `${exit}: is refused beside the other, and comes and goes on a live slot`,
    { skip },
    async (t) => {
      using guest = new Guest(MEMSLOT_EXITS[exit], STORE);
      t.match(
        t.throws(() => guest.setFlags(KVM_MEM_EXIT_ON_MISSING | KVM_MEM_EXIT_ON_USERFAULT)),
        {
          errno: EINVAL,
        },
      );
      for (const flags of [
        0,
        MEMSLOT_EXITS[exit],
        MEMSLOT_EXITS[exit] | KVM_MEM_LOG_DIRTY_PAGES,
        0,
      ]) {
        guest.setFlags(flags);
      }
      t.equal(guest.run(), 0);
      t.equal(guest.page.exitReason, KVM_EXIT_HLT, 'cleared, it does not exit');
    },
  );
}

function meetsMissing(t: Test, guest: Guest, how: number): void {
  t.equal(guest.run(), EFAULT);
  t.equal(guest.page.exitReason, KVM_EXIT_MEMORY_FAULT);
  const [flags, gpa, size] = (['flags', 'gpa', 'size'] as const).map(
    (field) => guest.page.u32[kvm_run_memory_fault.offset[field] >> 2],
  );
  t.strictSame({ flags, gpa, size }, { flags: how, gpa: TOUCHED, size: PAGE });
}

t.test(
  'missing: what fast GUP does not find exits, and is not brought in',
  {
    skip: memslotExitSkip('missing'),
  },
  async (t) => {
    for (const [name, code, how] of [
      ['read', LOAD, 1],
      ['write', STORE, 2],
    ] as const) {
      using guest = new Guest(KVM_MEM_EXIT_ON_MISSING, code);
      meetsMissing(t, guest, how);
      meetsMissing(t, guest, how);
      guest.populate(TOUCHED, MADV_POPULATE_WRITE);
      t.equal(guest.run(), 0, name);
      t.equal(guest.page.exitReason, KVM_EXIT_HLT);
    }
  },
);

t.test(
  'missing: a page that is mapped read-only serves a read, and a write exits',
  {
    skip: memslotExitSkip('missing'),
  },
  async (t) => {
    using reader = new Guest(KVM_MEM_EXIT_ON_MISSING, LOAD);
    reader.populate(TOUCHED, MADV_POPULATE_WRITE);
    reader.protect(TOUCHED, PROT_READ);
    t.equal(reader.run(), 0, 'it does not exit for ever');
    t.equal(reader.page.exitReason, KVM_EXIT_HLT);
    using writer = new Guest(KVM_MEM_EXIT_ON_MISSING, STORE);
    writer.populate(TOUCHED, MADV_POPULATE_WRITE);
    writer.protect(TOUCHED, PROT_READ);
    meetsMissing(t, writer, 2);
    meetsMissing(t, writer, 2);
    writer.protect(TOUCHED, PROT_READ | PROT_WRITE);
    t.equal(writer.run(), 0);
    t.equal(writer.page.exitReason, KVM_EXIT_HLT);
  },
);

t.test(
  'missing: fast GUP does not find the zero page, also for a read: userspace must replace it',
  {
    skip: memslotExitSkip('missing'),
  },
  async (t) => {
    using reader = new Guest(KVM_MEM_EXIT_ON_MISSING, LOAD);
    reader.populate(TOUCHED, MADV_POPULATE_READ);
    meetsMissing(t, reader, 1);
    meetsMissing(t, reader, 1);
    reader.populate(TOUCHED, MADV_POPULATE_WRITE);
    t.equal(reader.run(), 0);
    t.equal(reader.page.exitReason, KVM_EXIT_HLT);
  },
);

t.test(
  'userfault: without a userfault the kernel brings pages in itself',
  {
    skip: memslotExitSkip('userfault'),
  },
  async (t) => {
    using guest = new Guest(KVM_MEM_EXIT_ON_USERFAULT, STORE);
    t.equal(guest.run(), 0);
    t.equal(guest.page.exitReason, KVM_EXIT_HLT);
  },
);
