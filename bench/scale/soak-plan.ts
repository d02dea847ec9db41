import { UsageError } from '../../src/ffi/errors.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';
import { whyNoDelivery } from '../../src/machine/refusals.js';
import { BACKINGS, type BackingKind } from '../../src/memory/backing.js';
import { availablePages, readHugetlbPool } from '../../src/memory/hugetlb-pool.js';

const MIB = 2 ** 20;

/** Numbers from a seed: xorshift, so that a soak can be repeated run by run. */
export class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0 || 0x2545f491;
    for (let turn = 0; turn < 8; turn++) {
      this.below(2); // neighbouring seeds begin alike
    }
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % limit;
  }

  of<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }
}

/** The kinds of memory that this host has room for now. */
export function usableBackings(memoryBytes: number): BackingKind[] {
  return (Object.keys(BACKINGS) as BackingKind[]).filter((kind) => {
    const backing = BACKINGS[kind];
    if (!backing.hugetlb) {
      return process.getuid?.() === 0 || backing.file.kind !== 'tmpfs';
    }
    const pool = readHugetlbPool(backing.pageBytes);
    return (
      backing.pageBytes <= 2 * MIB &&
      pool !== null &&
      availablePages(pool) * backing.pageBytes >= memoryBytes
    );
  });
}

export const SOAK_MEMORY_BYTES = 64 * MIB;

/** One run of a soak: any options that go together, and that must complete and verify. */
export function drawRun(dice: Dice, backings: readonly BackingKind[]): RunOptions {
  for (;;) {
    const options = draw(dice, backings);
    try {
      completeConfig(options);
      return options;
    } catch (error) {
      if (!(error instanceof UsageError)) {
        throw error;
      }
    }
  }
}

function draw(dice: Dice, backings: readonly BackingKind[]): RunOptions {
  const backing = dice.of(backings);
  const { pageBytes } = BACKINGS[backing];
  const trapped = dice.of(['exit', 'exit', 'handler'] as const);
  const delivery =
    whyNoDelivery(BACKINGS[backing], trapped) === null && !dice.once(20) ? trapped : 'kernel';
  const vcpus = dice.of([1, 1, 2, 2, 4, 4, 8, 16]);
  const common: RunOptions = {
    image: 'touch',
    memoryBytes: SOAK_MEMORY_BYTES,
    backing,
    delivery,
    vcpus,
    timeoutSeconds: 120,
    source: dice.once(6) ? { kind: 'zero' } : { kind: 'pattern', seed: dice.below(2 ** 32) },
  };
  if (delivery === 'kernel') {
    return { ...common, params: touchParameters(dice, false) };
  }
  const units = [4096, 4096, 4096, 8192, 65536, 2 * MIB].filter((bytes) => bytes >= pageBytes);
  const discards = dice.once(3);
  const fails = dice.once(4);
  const options: RunOptions = {
    ...common,
    strategy: 'no-slow-gup',
    unitBytes: dice.of(units),
    around: dice.of([0, 0, 1, 7, 'adaptive'] as const),
    collapse: dice.of(['never', 'never', 'complete', 'end'] as const),
    prefetch: dice.of([null, { bytesPerSecond: null }, { bytesPerSecond: 32 * MIB }]),
    discard: discards ? { bytesPerSecond: dice.of([4, 64]) * MIB } : null,
    uffds: dice.of(['one', 'per-vcpu'] as const),
    ...(delivery === 'handler' && { handlers: dice.of([1, 1, 2, 4]) }),
    network: dice.once(8) ? { bitsPerSecond: 10e9, latencyMicroseconds: 20 } : null,
    failSource: dice.once(6)
      ? [{ kind: 'every', requests: 50 + dice.below(200), times: null }]
      : [],
  };
  if (!fails) {
    return { ...options, params: touchParameters(dice, discards) };
  }
  // Memory that fails under a guest that is told so, and goes on.
  return {
    ...options,
    image: 'mce',
    onMemoryError: 'inject',
    poison: Array.from({ length: 1 + dice.below(4) }, () => 2 * MIB + dice.below(62 * MIB)),
    params: { pages: String(2048 + dice.below(8192)), share: dice.of(['partition', 'overlap']) },
  };
}

/** @param reads whether the guest must write nothing: what is discarded comes from the source again */
function touchParameters(dice: Dice, reads: boolean): Readonly<Record<string, string>> {
  return {
    pages: String(1024 + dice.below(8192)),
    order: dice.of(['sequential', 'random', 'strided']),
    write: reads ? '0' : String(dice.of([0, 30, 100])),
    passes: String(1 + dice.below(3)),
    share: dice.of(['partition', 'overlap']),
    seed: String(dice.below(2 ** 31)),
  };
}
