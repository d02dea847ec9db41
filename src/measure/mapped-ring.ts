import type { Descriptor } from '../ffi/descriptor.js';
import { SyscallError } from '../ffi/errors.js';
import { Mapping } from '../ffi/mapping.js';
import { viewOf } from '../ffi/view.js';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../uapi/mman.js';
import { perf_event_mmap_page } from '../uapi/perf.js';
import { PerfRing } from './perf-ring.js';

/** Before the data: `perf_event_mmap_page`. */
const FIRST_PAGE_BYTES = 4096;
const LEAST_BYTES = 2 ** 20;
const MOST_BYTES = 2 ** 26;

/**
 * The size of a ring that is read once its thread has ended: nobody has to wake up beside the guest
 * for it, least of all its vCPUs. So it holds the thread's whole run, as far as 64 MiB go. What does
 * not fit is lost, and counted.
 *
 * @param faults that the thread may see
 */
export function ringBytesFor(faults: number, bytesPerFault: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(LEAST_BYTES + faults * bytesPerFault));
  return Math.min(MOST_BYTES, wanted);
}

/** An owned ring that an event of this process writes its samples to. */
export class MappedRing implements Disposable {
  private constructor(private readonly memory: Mapping) {}

  /**
   * @param bytes of data, a power of two
   * @returns why not, in words, where it cannot be had
   */
  static of(event: Descriptor, bytes: number): MappedRing | string {
    try {
      const prot = PROT_READ | PROT_WRITE; // writable, or the kernel would overwrite what is not read
      return new MappedRing(Mapping.create(FIRST_PAGE_BYTES + bytes, prot, MAP_SHARED, event.fd));
    } catch (error) {
      if (!(error instanceof SyscallError)) {
        throw error;
      }
      return `a perf ring of ${bytes} bytes could not be had: ${error.message}`;
    }
  }

  /** What is mapped until it is disposed of. */
  get extent(): { readonly address: number; readonly bytes: number } {
    const { address, bytes } = this.memory;
    return { address, bytes };
  }

  /** What has been written; the event must have been stopped. */
  read(): PerfRing {
    const { offset } = perf_event_mmap_page;
    const { address } = this.memory;
    const page = new Uint32Array(viewOf(address, FIRST_PAGE_BYTES));
    const position = (at: number): number => page[at >> 2]! + page[(at >> 2) + 1]! * 0x1_0000_0000;
    const start = address + position(offset.data_offset);
    const data = viewOf(start, position(offset.data_size));
    return new PerfRing(data, position(offset.data_tail), position(offset.data_head));
  }

  [Symbol.dispose](): void {
    this.memory.close();
  }
}
