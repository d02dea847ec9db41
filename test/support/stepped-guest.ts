/**
 * A real vCPU that runs a few instructions in the test's own thread. Between them it writes to a
 * port, and there the test does what it likes to the guest's memory: no thread and no clock has a
 * part in what comes after what.
 */
import { join } from 'node:path';
import type { Test } from 'tap';
import { UNTIMED } from '../../src/fault/fault-timing.js';
import { createResolver, type ResolverOptions } from '../../src/fault/resolver.js';
import { createTrapReader } from '../../src/fault/trap-marker.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { ioctl } from '../../src/ffi/libc.js';
import { blockVcpuSignals } from '../../src/ffi/thread.js';
import { RunPage } from '../../src/kvm/run-page.js';
import { Machine } from '../../src/machine/machine.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';
import { COUNTER_ROW_BYTES, counterRow, readCounters } from '../../src/measure/counters.js';
import type { GuestMemoryLayout } from '../../src/memory/guest-memory.js';
import type { Trap } from '../../src/memory/trap.js';
import { openSource } from '../../src/source/open-source.js';
import type { PageSource } from '../../src/source/page-source.js';
import { KVM_RUN } from '../../src/uapi/kvm.js';
import { createGuestPorts } from '../../src/vcpu/guest-ports.js';
import { createRunLoop, type VcpuEnd } from '../../src/vcpu/run-loop.js';
import { buildElf, buildNote } from './elf-builder.js';

const MEMORY_BYTES = 8 * 2 ** 20;
/** The first page that the image and its tables do not lie in. */
export const FIRST_PAGE = 0x200;

const PORT_STEP = 0xb00;
const PORT_SEEN = 0xb04;
const PORT_EXIT = 0xf4;

const imm32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const out = (port: number): number[] => [0x66, 0xba, port & 0xff, port >> 8, 0xef]; // mov $port, %dx; out %eax, %dx

/** Instructions, put together in the order of the calls. Addresses are guest physical ones. */
export class GuestCode {
  readonly bytes: number[] = [];

  /** Loads a word, and reports it. */
  read(address: number): this {
    this.bytes.push(0x8b, 0x04, 0x25, ...imm32(address), ...out(PORT_SEEN)); // mov address, %eax
    return this;
  }

  write(address: number, value: number): this {
    this.bytes.push(0xc7, 0x04, 0x25, ...imm32(address), ...imm32(value)); // movl $value, address
    return this;
  }

  /** Loads a word from one place and stores it to another, in one instruction. */
  copy(from: number, to: number): this {
    this.bytes.push(0xbe, ...imm32(from), 0xbf, ...imm32(to), 0xa5); // mov, mov, movsl
    return this;
  }

  /** Goes on at another address. */
  jump(address: number): this {
    this.bytes.push(0xb8, ...imm32(address), 0xff, 0xe0); // mov $address, %eax; jmp *%rax
    return this;
  }

  /** Lets the CPU look its page tables up at this address. For CPL0. */
  tables(address: number): this {
    this.bytes.push(0xb8, ...imm32(address), 0x0f, 0x22, 0xd8); // mov $address, %eax; mov %rax, %cr3
    return this;
  }

  /** The next of the test's steps. */
  step(): this {
    this.bytes.push(...out(PORT_STEP));
    return this;
  }

  exit(): this {
    this.bytes.push(0x31, 0xc0, ...out(PORT_EXIT)); // xor %eax, %eax
    return this;
  }
}

export interface SteppedOptions extends Omit<RunOptions, 'image'> {
  /** Of the guest's code. At 0 shadow paging emulates it. */
  readonly level?: 0 | 3;
}

export interface SteppedRun {
  readonly end: VcpuEnd;
  /** The words that the guest has read. */
  readonly seen: readonly number[];
}

export class SteppedGuest {
  readonly machine: Machine;
  readonly control = new WorkerControl();
  readonly row = new SharedArrayBuffer(COUNTER_ROW_BYTES);
  readonly source: PageSource;

  /** It is closed when the test ends. */
  constructor(t: Test, code: GuestCode, { level = 3, ...options }: SteppedOptions = {}) {
    blockVcpuSignals();
    const note = buildNote({ level });
    const elf = buildElf({ code: Uint8Array.from(code.bytes), note });
    const image = join(t.testdir({ 'guest.elf': Buffer.from(elf) }), 'guest.elf');
    // What is missing is what the test says, also where hardware paging would load on demand.
    const config = completeConfig({
      memoryBytes: MEMORY_BYTES,
      load: 'resident',
      ...options,
      image,
    });
    this.machine = new Machine(config);
    t.teardown(() => this.machine.close());
    this.source = openSource(config.source);
    this.control.start();
  }

  get memory(): GuestMemoryLayout {
    return this.machine.memory.layout;
  }

  /** What faults came to, by the names of the outcomes, and what else is counted. */
  get counts(): ReturnType<typeof readCounters> {
    return readCounters(counterRow(this.row, 0));
  }

  /** HVA in the guest mapping, for system calls only. */
  address(page: number): number {
    return this.memory.guestAddress + page * 4096;
  }

  /** A word of what the source has for a page. */
  word(page: number, index = 0): number {
    const words = new Int32Array(1024);
    this.source.fill(page, words, 0, 1024);
    return words[index]! >>> 0;
  }

  /**
   * Runs to the end.
   *
   * @param steps what to do at each of the code's steps
   * @param options of the resolver; `trap` in place of the machine's
   */
  run(
    steps: readonly (() => void)[],
    {
      trap = this.machine.delivery.trapped ? this.machine.trap : null,
      ...options
    }: Partial<ResolverOptions & { trap: Trap | null }> = {},
  ): SteppedRun {
    const { machine, memory, control } = this;
    const [vcpu] = machine.vcpus;
    const counters = counterRow(this.row, 0);
    const seen: number[] = [];
    let step = 0;
    const ports = createGuestPorts(() => undefined);
    const loop = createRunLoop({
      enter: () => ioctl(vcpu!.fd, KVM_RUN, 0),
      page: new RunPage(vcpu!.runPage.address, vcpu!.runPage.bytes),
      memory,
      resolver: createResolver({
        memory,
        source: this.source,
        uffds: trap?.uffds ?? null,
        strategy: machine.config.strategy,
        around: trap === null ? 0 : machine.config.around,
        caller: 'vcpu',
        sleepers: false,
        counters,
        timing: UNTIMED,
        ...options,
      }),
      ports: {
        ...ports,
        access: (page) => {
          if (page.ioPort === PORT_STEP) {
            steps[step++]!();
          } else if (page.ioPort === PORT_SEEN) {
            seen.push(page.u32[page.ioDataOffset >> 2]!);
          }
          return ports.access(page);
        },
      },
      traps: createTrapReader(memory),
      memoryErrors: { answer: () => false, records: [], count: () => 0 },
      wake: () => undefined,
      control,
      counters,
      timing: UNTIMED,
      trap,
    });
    return { end: loop(), seen };
  }
}
