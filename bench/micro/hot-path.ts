/**
 * What the parts of a fault cost in this engine, by themselves. `node dist/bench/micro/hot-path.js`
 * draws them; with `--lines` each is a line of JSON ({@link MicroLine}), for the bench `micro`.
 */
import { bench, do_not_optimize, run, summary } from 'mitata';
import { createFaultTiming } from '../../src/fault/fault-timing.js';
import { clock_gettime, close, errno, ioctl } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { WindowedMemory } from '../../src/ffi/view.js';
import { allocateHistograms, bucketOf, threadHistograms } from '../../src/measure/histogram.js';
import { BACKINGS } from '../../src/memory/backing.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MAPPED, MISSING, PageStates } from '../../src/memory/page-states.js';
import { PatternSource } from '../../src/source/pattern-source.js';
import { ZeroSource } from '../../src/source/zero-source.js';
import { CLOCK_MONOTONIC } from '../../src/uapi/syscall.js';
import type { MicroLine } from '../scale/micro.js';

const page = new ScratchPage();
const timestamp = page.address;
using memory = GuestMemory.create(BACKINGS.shmem, 4 * 2 ** 20, 4096);
const [window] = new WindowedMemory(memory.layout.aliasAddress, memory.layout.bytes).words;
const states = new PageStates(PageStates.allocate(1024));
const timing = createFaultTiming(threadHistograms(allocateHistograms(1), 0));
const pattern = new PatternSource(1);
const zero = new ZeroSource();

let total = 0;

function part(name: string, action: () => unknown): void {
  total++;
  bench(name, action);
}

summary(() => {
  part('close(-1): a call into libc that enters the kernel and fails', () => close(-1));
  part('ioctl(-1, 0, 0)', () => ioctl(-1, 0, 0));
  part('errno()', () => do_not_optimize(errno()));
  part('clock_gettime into memory', () => clock_gettime(CLOCK_MONOTONIC, timestamp));
});
summary(() => {
  part('two 32-bit reads of a view make an address', () => do_not_optimize(page.getU64(8)));
  part('a 64-bit value stored in a view', () => page.setU64(8, 0x7f12_3456_7000));
});
summary(() => {
  part('claim and publish a unit', () => {
    states.claim(7);
    states.publish(7, MISSING);
  });
  part('claim a unit that is mapped', () => {
    states.words[8] = MAPPED;
    do_not_optimize(states.claim(8));
  });
});
summary(() => {
  part('histogram bucket', () => do_not_optimize(bucketOf(51_234)));
  part('timing of one fault, all of it', () => {
    timing.arrived();
    timing.identified();
    timing.beforeAllocate();
    timing.afterAllocate();
    timing.beforeContinue();
    timing.afterContinue();
    timing.resolved();
  });
});
summary(() => {
  part('pattern source: fill a page', () => pattern.fill(3, window!, 3072, 1024));
  part('zero source: fill a page', () => zero.fill(3, window!, 3072, 1024));
  part('pattern source: compare a page', () => {
    pattern.fill(3, window!, 3072, 1024);
    do_not_optimize(pattern.compare(3, window!, 3072));
  });
});

function say(line: MicroLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

if (process.argv.includes('--lines')) {
  say({ total });
  await run({
    format: 'quiet',
    throw: true,
    observe: (trial) => {
      for (const { name, stats } of trial.runs) {
        const { avg, min, p50, p99 } = stats!; // `throw`: an error has ended it
        say({ part: name, nanoseconds: { mean: avg, least: min, p50, p99 } });
      }
      return trial;
    },
  });
} else {
  await run();
}
