import { UsageError } from '../ffi/errors.js';
import { WINDOW_BYTES } from '../ffi/view.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { MAPPED } from '../memory/page-states.js';
import type { PageSource } from '../source/page-source.js';
import type { Userfaultfd } from '../uffd/userfaultfd.js';
import type { ImageSegment } from './image.js';

/**
 * Puts segments into guest memory and makes their fault units resident, before any vCPU runs. What
 * a unit holds besides comes from the source, as if it had been faulted in.
 *
 * @returns the numbers of the pages that segments lie in, whose contents are the image's
 * @throws UsageError when a segment lies outside guest memory
 */
export function loadResident(
  memory: GuestMemory,
  segments: readonly ImageSegment[],
  source: PageSource,
  uffd: Userfaultfd | null,
): ReadonlySet<number> {
  const pages = new Set<number>();
  for (const { address, data, bytes } of segments) {
    if (address + bytes > memory.layout.bytes) {
      throw new UsageError(
        `the image needs memory up to 0x${(address + bytes).toString(16)}, and the guest has ${memory.layout.bytes} bytes`,
        'Give it more with --memory.',
      );
    }
    fillUnits(memory, address, bytes, source);
    memory.alias.write(address, data);
    memory.alias.fill(address + data.length, bytes - data.length, 0);
    if (uffd !== null) {
      const { unitBytes, guestAddress } = memory.layout;
      const start = Math.floor(address / unitBytes) * unitBytes;
      const end = Math.ceil((address + bytes) / unitBytes) * unitBytes;
      uffd.continueRange(guestAddress + start, end - start);
    }
    for (let page = Math.floor(address / 4096); page * 4096 < address + bytes; page++) {
      pages.add(page);
    }
  }
  return pages;
}

function fillUnits(memory: GuestMemory, address: number, bytes: number, source: PageSource): void {
  const { unitBytes } = memory.layout;
  const last = Math.floor((address + bytes - 1) / unitBytes);
  for (let unit = Math.floor(address / unitBytes); unit <= last; unit++) {
    if (memory.states.stateOf(unit) !== MAPPED) {
      const start = unit * unitBytes;
      const window = memory.alias.words[Math.floor(start / WINDOW_BYTES)]!;
      source.fill(start / 4096, window, (start % WINDOW_BYTES) / 4, unitBytes / 4);
      memory.states.words[unit] = MAPPED;
    }
  }
}
