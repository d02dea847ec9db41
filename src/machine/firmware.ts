import { UsageError } from '../ffi/errors.js';
import { Mapping } from '../ffi/mapping.js';
import type { ResourceStack } from '../ffi/resource-stack.js';
import { viewOf } from '../ffi/view.js';
import type { KvmSystem } from '../kvm/kvm-system.js';
import { RESET_IP } from '../kvm/registers.js';
import type { Vm } from '../kvm/vm.js';
import { KVM_CAP_READONLY_MEM, KVM_MEM_READONLY } from '../uapi/kvm.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../uapi/mman.js';
import { type Image, readImage } from './image.js';
import { checkPcMemory, checkTakesNoLinuxBoot } from './linux-boot.js';

/** A PC's firmware: it lies below 4 GiB, and its end also below 1 MiB, where real mode sees it. */
export interface Firmware {
  readonly image: Image;
  readonly rom: Uint8Array;
}

const ROM_END = 2 ** 32;
/** As on a PC: below it are the pages that KVM has for real mode, and the APICs. */
const MAX_ROM_BYTES = 16 * 2 ** 20;
const LOW_END = 2 ** 20;
/** All of the shadow of a ROM: a chipset would let firmware copy itself there, and there is none. */
const MAX_LOW_BYTES = 256 * 1024;
const PAGE = 4096;
/** The second memslot: guest RAM is the first. */
const ROM_SLOT = 1;

/** @throws UsageError naming the path and what is wrong with it */
export function loadFirmware(path: string): Firmware {
  const rom = readImage(path, '--firmware');
  if (rom.length === 0 || rom.length % PAGE !== 0 || rom.length > MAX_ROM_BYTES) {
    throw new UsageError(
      `--firmware ${path} has ${rom.length} bytes, which is not a multiple of 4096 up to 16 MiB`,
      'Name a ROM image, as /usr/share/seabios/bios-256k.bin of the package seabios.',
    );
  }
  const low = rom.subarray(-MAX_LOW_BYTES);
  return {
    rom,
    image: {
      mode: 'firmware',
      entry: RESET_IP,
      segments: [{ address: LOW_END - low.length, data: low, bytes: low.length }],
      note: null,
      kernel: null,
    },
  };
}

/**
 * Puts the ROM below 4 GiB, in a memslot of its own. It is not demand-paged: it is no RAM.
 *
 * @param stack owns its memory
 */
export function mapRom(system: KvmSystem, vm: Vm, rom: Uint8Array, stack: ResourceStack): void {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const memory = stack.use(Mapping.create(rom.length, PROT_READ | PROT_WRITE, flags, -1));
  new Uint8Array(viewOf(memory.address, rom.length)).set(rom);
  vm.setUserMemoryRegion({
    slot: ROM_SLOT,
    // A write to it is then an MMIO exit, and comes to nothing.
    flags: system.checkExtension(KVM_CAP_READONLY_MEM) > 0 ? KVM_MEM_READONLY : 0,
    guestPhysicalAddress: ROM_END - rom.length,
    bytes: rom.length,
    userspaceAddress: memory.address,
  });
}

/**
 * What does not go together with firmware.
 *
 * @throws UsageError naming the option
 */
export function checkFirmware(
  memoryBytes: number,
  commandLine: string,
  initrd: string | null,
): void {
  checkPcMemory(memoryBytes);
  checkTakesNoLinuxBoot('firmware', commandLine, initrd);
}
