import { constants } from 'node:os';
import { UNTIMED } from '../fault/fault-timing.js';
import { createInstaller, type Installer } from '../fault/installer.js';
import { encodeReason } from '../fault/memory-error.js';
import { WakeEvent } from '../ffi/descriptor.js';
import { SyscallError, UnsupportedError, UsageError } from '../ffi/errors.js';
import { ResourceStack } from '../ffi/resource-stack.js';
import type { ScratchPage } from '../ffi/scratch.js';
import { cpuidOfPc } from '../kvm/cpuid.js';
import { KvmSystem } from '../kvm/kvm-system.js';
import {
  type MachineCheckVendor,
  machineCheckVendor,
  setUpMachineChecks,
} from '../kvm/machine-check.js';
import { setLongMode, setProtectedMode, setRealMode, setResetVector } from '../kvm/registers.js';
import type { GeneralRegisters, Vcpu } from '../kvm/vcpu.js';
import type { Vm } from '../kvm/vm.js';
import { COUNTERS } from '../measure/counters.js';
import { hostPaging } from '../measure/host.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { findBacking } from '../memory/open-backing.js';
import { poisonedBecause } from '../memory/page-states.js';
import { formatSize } from '../memory/sizes.js';
import type { Trap } from '../memory/trap.js';
import { SharedUffdCalls } from '../memory/uffd-shares.js';
import { loadPages, pagesOf } from '../source/loaded-source.js';
import { type ContentsSpec, type LoadedSpec, openSource } from '../source/open-source.js';
import { KVM_CAP_MAX_VCPUS, KVM_CAP_SYNC_MMU, KVM_CAP_TSC_DEADLINE_TIMER } from '../uapi/kvm.js';
import { X86_EFLAGS_FIXED, X86_EFLAGS_IOPL } from '../uapi/kvm-x86.js';
import type { Userfaultfd } from '../uffd/userfaultfd.js';
import { buildAcpiTables } from './acpi-tables.js';
import { buildLongModeTables } from './boot-tables.js';
import {
  checkParameters,
  findBundled,
  pathOfBundled,
  planUnknown,
  type Workload,
} from './bundled-guests.js';
import {
  askedDelivery,
  chooseDelivery,
  type Delivery,
  memslotFlags,
  prepareMemory,
} from './delivery.js';
import { loadFirmware, mapRom } from './firmware.js';
import {
  GDT_ADDRESS,
  PML4_ADDRESS,
  START_INFO_ADDRESS,
  TSS_ADDRESS,
  WORKLOAD_START,
} from './guest-physical-map.js';
import { type Image, type ImageSegment, loadImage, readImage } from './image.js';
import { buildLinuxBoot, checkPcMemory, checkTakesNoLinuxBoot, withConsole } from './linux-boot.js';
import type { MachineConfig } from './machine-config.js';
import { Pc } from './pc.js';
import { whyRefused } from './refusals.js';
import { checkSegments, loadResident } from './resident.js';

/**
 * A VM ready to run: guest memory with its userfaultfd, and vCPUs at the image's entry. It owns all
 * of them; `close()` gives them back in the order that KVM and userfaultfd need.
 */
export class Machine implements Disposable {
  readonly config: MachineConfig;
  readonly image: Image;
  readonly workload: Workload;
  readonly delivery: Delivery;
  /** Why this delivery. */
  readonly why: string;
  readonly memory: GuestMemory;
  /** In the order of their shares of the memory. */
  readonly uffds: readonly Userfaultfd[];
  /** How missing pages trap; null where nothing does. */
  readonly trap: Trap | null;
  /** Brings units in from the main thread, before the guest runs. */
  readonly installer: Installer;
  /** The devices of a PC, for a Linux kernel or firmware; null for other images. */
  readonly pc: Pc | null;
  readonly vcpus: readonly Vcpu[];
  /** Whose machine checks tell the guest of memory errors; null where they stop the run. */
  readonly machineChecks: MachineCheckVendor | null;
  /** Readable once handlers are to stop. */
  readonly stopHandlers: WakeEvent;
  /** Pages that hold the image and its tables. */
  readonly imagePages: ReadonlySet<number>;
  /** What missing pages contain: the run's own contents and, where it is missing too, the image. */
  readonly contents: ContentsSpec | LoadedSpec;
  private readonly owned: ResourceStack;

  /** @throws UsageError, UnsupportedError, SyscallError; nothing stays open then */
  constructor(config: MachineConfig) {
    this.config = config;
    const bundled = config.firmware ? undefined : findBundled(config.image);
    if (bundled !== undefined) {
      checkParameters(bundled, config.params);
    }
    const firmware = config.firmware ? loadFirmware(config.image) : null;
    this.image =
      firmware?.image ?? loadImage(bundled === undefined ? config.image : pathOfBundled(bundled));
    this.workload = bundled?.plan(config) ?? planUnknown(config.params);
    if (this.image.kernel !== null) {
      checkPcMemory(config.memoryBytes);
    } else {
      checkTakesNoLinuxBoot(config.image, config.commandLine, config.initrd);
    }

    using stack = new ResourceStack();
    const system = stack.use(KvmSystem.open());
    const backing = findBacking(config.backing);
    const chosen =
      config.delivery === 'auto'
        ? chooseDelivery(backing)
        : askedDelivery(config.delivery, config.exitBy, backing);
    this.delivery = chosen.delivery;
    this.why = chosen.why;
    this.checkChores();

    const { reserve, unitBytes } = config;
    this.memory = stack.use(
      GuestMemory.create(backing, config.memoryBytes, unitBytes, { reserve }),
    );
    const shares = config.uffds === 'per-vcpu' ? config.vcpus : 1;
    const prepared = unlessCutShort(this.memory, () =>
      prepareMemory(this.memory, this.delivery, shares),
    );
    this.uffds = prepared?.uffds ?? [];
    for (const uffd of this.uffds) {
      stack.use(uffd);
    }
    this.trap = prepared?.trap ?? null;
    const segments = this.segments();
    checkSegments(this.memory.layout, segments);
    const loaded = this.loadsOnDemand() ? loadPages(openSource(config.source), segments) : null;
    this.contents =
      loaded === null ? config.source : { kind: 'loaded', of: config.source, ...loaded };
    this.installer = createInstaller({
      memory: this.memory.layout,
      source: openSource(this.contents),
      uffds: this.trap?.uffds ?? null,
      wake: false, // nobody runs yet
      mostUnits: 1,
      counters: new Float64Array(COUNTERS.length),
      timing: UNTIMED,
    });
    this.imagePages =
      loaded === null ? loadResident(this.memory, segments, this.installer) : pagesOf(loaded);
    const units = [...this.imagePages].map((page) => Math.floor((page * 4096) / unitBytes));
    if (loaded === null) {
      this.memory.keepResident(units, this.trap);
    } else {
      this.memory.keepImage(units);
    }
    this.poison();
    this.stopHandlers = stack.use(new WakeEvent());

    const vm = stack.use(createVm(system, config.vcpus));
    const { bytes, guestAddress } = this.memory.layout;
    vm.setUserMemoryRegion({
      slot: 0,
      flags: memslotFlags(this.delivery),
      guestPhysicalAddress: 0,
      bytes,
      userspaceAddress: guestAddress,
    });
    if (firmware !== null) {
      mapRom(system, vm, firmware.rom, stack);
    }
    const hasDevices = this.image.kernel !== null || firmware !== null;
    this.pc = hasDevices ? new Pc(vm, firmware && config) : null;
    const cpuid = system.supportedCpuid();
    this.machineChecks = config.onMemoryError === 'inject' ? machineCheckVendor(cpuid) : null;
    this.vcpus = this.createVcpus(system, vm, cpuid, stack);
    this.owned = stack.move();
  }

  /** What is done to memory in the background must not change what the guest sees. */
  private checkChores(): void {
    const { config, delivery, workload } = this;
    const refusal = whyRefused(findBacking(config.backing), {
      delivery: delivery.name,
      around: config.around,
      unitBytes: config.unitBytes,
      prefetch: config.prefetch !== null,
      network: config.network !== null,
      failSource: config.failSource.length > 0,
      discard: config.discard !== null,
      poison: config.poison.length > 0,
      uffds: config.uffds,
    });
    if (refusal !== null) {
      throw new UsageError(
        `${refusal.flag} cannot be used with delivery ${delivery.name}: ${refusal.reason}`,
      );
    }
    if (config.discard !== null) {
      const range = workload.discardable;
      if (range === null) {
        throw new UsageError(
          '--discard would throw away what the guest writes',
          'It is for touch with --param write=0, whose pages the source can supply again.',
        );
      }
      if (Math.ceil(range.start / config.unitBytes) >= Math.floor(range.end / config.unitBytes)) {
        throw new UsageError(
          `--discard finds no fault unit of ${formatSize(config.unitBytes)} that the image does not lie in`,
          'Give it more --memory.',
        );
      }
    }
  }

  /**
   * Whether the image is missing until it is touched, as all other memory.
   *
   * Under shadow paging KVM walks the guest's page tables itself: a missing one is a page fault in the
   * guest, or code that KVM cannot fetch to emulate it, unless it can sleep until the page is there.
   *
   * @throws UsageError where every page is there beforehand
   * @throws UnsupportedError where KVM cannot wait for the page
   */
  private loadsOnDemand(): boolean {
    const { delivery, config, workload } = this;
    const hasHardwarePaging = hostPaging() === 'hardware';
    switch (config.load) {
      case 'resident':
        return false;
      case 'auto':
        return hasHardwarePaging && !delivery.prefilled && workload.pagesTouched === null;
      case 'demand':
        if (delivery.prefilled) {
          throw new UsageError(
            `--load demand cannot be used with delivery ${delivery.name}: every page is there beforehand`,
            'Use --delivery handler or exit.',
          );
        }
        if (delivery.trapped && !hasHardwarePaging) {
          throw new UnsupportedError(
            '--load demand needs hardware paging (EPT or NPT) in exit delivery: under shadow paging KVM walks page tables of the guest itself, and does not exit for one that is missing',
            'Use --delivery handler, in which KVM waits for it, or --load resident.',
          );
        }
        return true;
    }
  }

  /** Makes the units fail that are to. */
  private poison(): void {
    const { unitBytes } = this.config;
    const { image } = this.memory.layout;
    for (const gpa of this.config.poison) {
      const unit = Math.floor(gpa / unitBytes);
      if (image.some(({ first, end }) => first <= unit && unit < end)) {
        throw new UsageError(
          `--poison 0x${gpa.toString(16)} is in a fault unit of the image or its tables`,
          `The guest's own memory begins at 0x${WORKLOAD_START.toString(16)}.`,
        );
      }
      this.memory.states.publish(unit, poisonedBecause(encodeReason('asked', 0)));
    }
  }

  /** The image, its parameters and, in long mode, the tables it runs on. */
  private segments(): ImageSegment[] {
    const { image, workload, config } = this;
    const segments = [...image.segments];
    if (image.mode === 'long' || image.mode === 'linux') {
      segments.push(...buildLongModeTables(config.memoryBytes));
    }
    if (image.kernel !== null) {
      const acpi = buildAcpiTables(config.vcpus);
      const initrd = config.initrd === null ? null : readImage(config.initrd, '--initrd');
      const { memoryBytes } = config;
      const commandLine = withConsole(config.commandLine);
      const rootPointer = acpi.address;
      segments.push(
        acpi,
        ...buildLinuxBoot(image, { memoryBytes, commandLine, initrd, rootPointer }),
      );
    }
    if (workload.parameterBlock !== null && image.note !== null && image.note.parameters !== 0) {
      const data = workload.parameterBlock;
      segments.push({ address: image.note.parameters, data, bytes: data.length });
    }
    return segments;
  }

  private createVcpus(system: KvmSystem, vm: Vm, cpuid: ScratchPage, stack: ResourceStack): Vcpu[] {
    const hasDeadlineTimer = system.checkExtension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    const capabilities = this.machineChecks === null ? 0 : system.machineCheckCapabilities();
    return Array.from({ length: this.config.vcpus }, (_, index) => {
      const vcpu = stack.use(vm.createVcpu(index));
      vcpu.setCpuid(
        this.pc === null ? cpuid : cpuidOfPc(cpuid, index, this.config.vcpus, hasDeadlineTimer),
      );
      if (this.machineChecks !== null) {
        setUpMachineChecks(vcpu.fd, this.machineChecks, capabilities);
      }
      if (this.pc === null || index === 0) {
        this.setEntry(vcpu, index);
      } // the others of a PC wait to be started by the first
      vcpu.unblockAllSignalsInGuest();
      return vcpu;
    });
  }

  private setEntry(vcpu: Vcpu, index: number): void {
    const { mode, entry, note } = this.image;
    const count = this.config.vcpus;
    let registers: GeneralRegisters;
    if (mode === 'real') {
      vcpu.changeSystemRegisters(setRealMode);
      registers = { rip: entry, rsp: entry, rax: index, rbx: count, rflags: X86_EFLAGS_FIXED };
    } else if (mode === 'firmware') {
      vcpu.changeSystemRegisters(setResetVector);
      registers = { rip: entry, rflags: X86_EFLAGS_FIXED };
    } else if (mode === 'pvh') {
      vcpu.changeSystemRegisters(setProtectedMode);
      registers = { rip: entry, rbx: START_INFO_ADDRESS, rflags: X86_EFLAGS_FIXED };
    } else {
      vcpu.changeSystemRegisters((sregs) =>
        setLongMode(sregs, note?.privilegeLevel ?? 0, {
          gdtAddress: GDT_ADDRESS,
          tssAddress: TSS_ADDRESS,
          pml4Address: PML4_ADDRESS,
        }),
      );
      registers = {
        rip: entry,
        rdi: note?.parameters ?? 0,
        rsi: mode === 'linux' ? START_INFO_ADDRESS : index,
        rdx: count,
        rflags: X86_EFLAGS_FIXED | (mode === 'linux' ? 0 : X86_EFLAGS_IOPL),
      };
    }
    vcpu.setRegisters(registers);
  }

  /**
   * Nothing traps any more: looking at a page that is not there, which is then a defect, must not
   * make us sleep for ever. Call it after all workers have ended.
   */
  untrap(): void {
    const { layout } = this.memory;
    if (this.trap !== null) {
      const calls = new SharedUffdCalls(layout, this.trap.uffds);
      calls.unregister(layout.guestAddress, layout.bytes);
    }
  }

  /** Call it after all workers have ended. May be called twice. */
  close(): void {
    this.owned.close();
  }

  /**
   * Gives up ownership without closing: for when a thread did not stop, and would find its vCPU's
   * page unmapped under it.
   */
  abandon(): void {
    this.owned.move();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Another process may truncate a file of --backing at any time, also while it is being set up. */
function unlessCutShort<Result>({ backing }: GuestMemory, prepare: () => Result): Result {
  try {
    return prepare();
  } catch (error) {
    const isLost = error instanceof SyscallError && error.errno === constants.errno.EFAULT;
    if (backing.truncatable && isLost) {
      throw new UnsupportedError(
        `${backing.name} was cut short while it was being set up: ${error.message}`,
        'Another process truncated it: let nobody else write to the file of --backing.',
        { cause: error },
      );
    }
    throw error;
  }
}

function createVm(system: KvmSystem, vcpus: number): Vm {
  if (system.checkExtension(KVM_CAP_SYNC_MMU) === 0) {
    throw new UnsupportedError(
      'this KVM does not follow changes of host mappings (KVM_CAP_SYNC_MMU)',
    );
  }
  const most = system.checkExtension(KVM_CAP_MAX_VCPUS);
  if (vcpus > most) {
    throw new UsageError(`--vcpus ${vcpus} is more than this KVM allows (${most})`);
  }
  const vm = system.createVm();
  vm.reserveRealModePages();
  return vm;
}
