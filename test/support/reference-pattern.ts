/** The pattern of guest-images/abi.h, written as the formula reads, with whole numbers of any size. */

const STEP = 0x9e3779b9n;
const MIX_A = 0x85ebca6bn;
const MIX_B = 0xc2b2ae35n;
const MASK = 0xffff_ffffn;

/** Word `index` of page `page` under `seed`, as a signed 32-bit number. */
export function referenceWord(page: number, seed: number, index: number): number {
  let hash = (BigInt(seed) * STEP + BigInt(page)) & MASK;
  hash = ((hash ^ (hash >> 16n)) * MIX_A) & MASK;
  hash = ((hash ^ (hash >> 13n)) * MIX_B) & MASK;
  hash ^= hash >> 16n;
  return Number(BigInt.asIntN(32, hash + BigInt(index) * STEP));
}
