/** A swap device for as long as a test takes, and what has become of pages that were swapped out. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { madvise } from '../../src/ffi/libc.js';
import { MADV_PAGEOUT } from '../../src/uapi/mman.js';
import { compact, compactionSkip } from './compaction.js';
import { owe } from './host-debts.js';

const CONTROL = '/sys/class/zram-control';
const TOOLS = ['mkswap', 'swapon', 'swapoff'];
const ATTEMPTS = 10; // the second is seldom needed

/** Why there can be no compressed swap in memory here, or false. */
export function swapSkip(): string | false {
  if (!existsSync(CONTROL)) {
    return 'needs zram (CONFIG_ZRAM, or its module loaded)';
  }
  const missing = TOOLS.find((tool) => spawnSync(tool, ['--version']).error !== undefined);
  return compactionSkip() || (missing === undefined ? false : `needs ${missing} (util-linux)`);
}

/**
 * Swaps to a zram device of its own while `body` runs. Afterwards, also when this process is killed,
 * there is neither the swap nor the device.
 */
export async function withSwap<Result>(
  bytes: number,
  body: () => Promise<Result> | Result,
): Promise<Result> {
  const number = readFileSync(`${CONTROL}/hot_add`, 'utf8').trim(); // which makes the device
  const device = `/dev/zram${number}`;
  const remove = (): void => {
    if (readFileSync('/proc/swaps', 'utf8').includes(device)) {
      run('swapoff', device);
    }
    writeFileSync(`${CONTROL}/hot_remove`, number);
  };
  const restore = owe(remove, `swapoff ${device}; echo ${number} > ${CONTROL}/hot_remove`);
  try {
    writeFileSync(`/sys/block/zram${number}/disksize`, String(bytes));
    run('mkswap', device);
    // Before any other: busybox's swapon, which has no priorities, will do where there is none.
    const others = readFileSync('/proc/swaps', 'utf8').trim().split('\n').length > 1;
    run('swapon', ...(others ? ['--priority', '32767'] : []), device);
    return await body();
  } finally {
    restore();
  }
}

function run(...[command, ...args]: [string, ...string[]]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')}: ${stderr.trim()}`);
  }
}

/**
 * Swaps out what is mapped in a range and nowhere else; false when nothing went to swap. MADV_PAGEOUT
 * passes over pages that still wait in the batch of another CPU for their LRU list (mm/swap.c), where
 * a thread that has moved since left them; compaction first puts those of every CPU where they belong.
 */
export function pageOut(address: number, bytes: number): boolean {
  const before = vmstat('pswpout');
  let out = false;
  for (let attempt = 0; !out && attempt < ATTEMPTS; attempt += 1) {
    compact();
    out = madvise(address, bytes, MADV_PAGEOUT) === 0 && vmstat('pswpout') > before;
  }
  return out;
}

/** A count of /proc/vmstat. */
export function vmstat(name: string): number {
  const line = readFileSync('/proc/vmstat', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${name} `));
  return Number(line?.split(' ')[1]);
}
