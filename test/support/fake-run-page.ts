/** A `kvm_run` page in plain memory, filled by a test instead of by KVM. */
import { ScratchPage } from '../../src/ffi/scratch.js';
import { RunPage } from '../../src/kvm/run-page.js';
import {
  KVM_EXIT_IO,
  KVM_EXIT_MMIO,
  kvm_run,
  kvm_run_io,
  kvm_run_mmio,
} from '../../src/uapi/kvm-run.js';

const DATA_OFFSET = 4096;

export class FakeRunPage {
  readonly bytes = new ScratchPage(8192);
  readonly page = new RunPage(this.bytes.address, 8192);

  exit(reason: number): RunPage {
    this.bytes.u32[kvm_run.offset.exit_reason >> 2] = reason;
    return this.page;
  }

  /** KVM_EXIT_IO; `data` holds `count` elements of `size` bytes. */
  io(direction: number, port: number, size: number, data: readonly number[]): RunPage {
    const { offset } = kvm_run_io;
    this.bytes.u8[offset.direction] = direction;
    this.bytes.u8[offset.size] = size;
    this.bytes.u16[offset.port >> 1] = port;
    this.bytes.u32[offset.count >> 2] = data.length / size;
    this.bytes.setU64(offset.data_offset, DATA_OFFSET);
    this.bytes.u8.set(data, DATA_OFFSET);
    return this.exit(KVM_EXIT_IO);
  }

  ioData(length: number): number[] {
    return [...this.bytes.u8.subarray(DATA_OFFSET, DATA_OFFSET + length)];
  }

  mmio(address: number, length: number, isWrite: boolean, data: readonly number[] = []): RunPage {
    const { offset } = kvm_run_mmio;
    this.bytes.setU64(offset.phys_addr, address);
    this.bytes.u32[offset.len >> 2] = length;
    this.bytes.u8[offset.is_write] = isWrite ? 1 : 0;
    this.bytes.u8.fill(0xcc, offset.data, offset.data + 8);
    this.bytes.u8.set(data, offset.data);
    return this.exit(KVM_EXIT_MMIO);
  }

  mmioData(): number[] {
    const { data } = kvm_run_mmio.offset;
    return [...this.bytes.u8.subarray(data, data + 8)];
  }
}
