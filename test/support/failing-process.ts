/** A process of its own: MADV_HWPOISON of pages of a file, the last of which is its end. */
import { constants, openSync } from 'node:fs';
import { errno, madvise } from '../../src/ffi/libc.js';
import { Mapping } from '../../src/ffi/mapping.js';
import {
  MADV_HWPOISON,
  MADV_POPULATE_READ,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../src/uapi/mman.js';

const PAGE = 4096;
const [file, ...pages] = process.argv.slice(2);
const numbers = pages.map(Number);
const fd = openSync(file!, constants.O_RDWR);
const bytes = (Math.max(...numbers) + 1) * PAGE;
const { address } = Mapping.create(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
for (const page of numbers) {
  if (
    madvise(address + page * PAGE, PAGE, MADV_POPULATE_READ) !== 0 ||
    madvise(address + page * PAGE, PAGE, MADV_HWPOISON) !== 0
  ) {
    console.error(`page ${page}: errno ${errno()}`);
    process.exit(1);
  }
}
