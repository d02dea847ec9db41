/**
 * How many cases of each kind are tried, and how a property is run and replayed.
 *
 * In `make test` each property tries a few; `make fuzz` divides FAULTLINE_FUZZ_CASES (100,000) among
 * them. Seeds are random and printed. A failing case is shrunk and printed with the line that tries
 * it again:
 *
 *     FAULTLINE_FUZZ_ONLY='ports: IN and OUT' FAULTLINE_FUZZ_SEED=123 FAULTLINE_FUZZ_PATH=4:0:1 \
 *       node dist/test/fuzz/ports.test.js
 *
 * FAULTLINE_FUZZ_TRACE=1 prints every case before it is tried, for one that ends the process.
 */
import { appendFileSync } from 'node:fs';
import fc from 'fast-check';
import type { Test } from 'tap';
import { Deadline } from '../support/deadline.js';

interface Share {
  /** Cases in `make test`. */
  readonly few: number;
  /** Of 100,000. */
  readonly many: number;
}

/** The first part of a name is the kind that a summary counts by. */
export const SHARES = {
  'images: mutated ELF': { few: 3000, many: 12_000 },
  'images: ELF of any fields': { few: 3000, many: 12_000 },
  'images: notes': { few: 1500, many: 5_000 },
  'images: any bytes': { few: 1000, many: 2_000 },
  'images: mutated bzImage': { few: 1500, many: 6_000 },
  'images: bzImage of any fields': { few: 1500, many: 6_000 },
  'images: mutated PVH': { few: 1000, many: 4_000 },
  'images: what a kernel boots with': { few: 1000, many: 4_000 },
  'images: kernels and firmware, run': { few: 40, many: 400 },
  'images: flat, of any size': { few: 200, many: 1_000 },
  'images: booted': { few: 60, many: 400 },
  'command lines: any arguments': { few: 1500, many: 12_000 },
  'option values: any text': { few: 1500, many: 8_000 },
  'option values: any configuration': { few: 1000, many: 5_000 },
  'option values: parameters of touch': { few: 1000, many: 5_000 },
  'reports: errors and exits': { few: 500, many: 1_500 },
  'reports: of hostile guests': { few: 500, many: 1_500 },
  'ports: exits of any shape': { few: 500, many: 1_500 },
  'ports: IN and OUT': { few: 120, many: 1_500 },
  'ports: string I/O across pages': { few: 100, many: 1_200 },
  'accesses: of all sizes everywhere': { few: 150, many: 2_000 },
  'code: real mode': { few: 120, many: 1_600 },
  'code: CPL0': { few: 120, many: 1_000 },
  'code: CPL3': { few: 120, many: 1_000 },
  'code: CPL0, past exceptions': { few: 120, many: 1_600 },
  'code: CPL3, past exceptions': { few: 60, many: 800 },
  'registers: modes a guest can reach': { few: 50, many: 500 },
  'own tables: written over': { few: 40, many: 500 },
  'own tables: what touch reports': { few: 40, many: 500 },
  'spinning: stopped from outside': { few: 20, many: 200 },
  'whole runs: hostile guests': { few: 24, many: 300 },
} as const satisfies Readonly<Record<string, Share>>;

export type PropertyName = keyof typeof SHARES;

/** A line of the file FAULTLINE_FUZZ_LOG. */
export interface PropertyResult {
  readonly name: PropertyName;
  readonly cases: number;
  readonly seed: number;
  readonly seconds: number;
  readonly ok: boolean;
}

const { FAULTLINE_FUZZ_CASES, FAULTLINE_FUZZ_SEED, FAULTLINE_FUZZ_PATH } = process.env;
const { FAULTLINE_FUZZ_ONLY, FAULTLINE_FUZZ_TRACE, FAULTLINE_FUZZ_LOG } = process.env;

/** A case takes milliseconds; a call that never returns is ended, with the case named. */
const DEADLINE_MILLISECONDS = 20_000;
/** Shrinking ends then, with what it has found so far. */
const SHRINK_MILLISECONDS = 60_000;

/** How many times as many cases as in `make test`, for timeouts. */
export const ROOM = FAULTLINE_FUZZ_CASES === undefined ? 1 : 30;

export function casesOf(name: PropertyName): number {
  const { few, many } = SHARES[name];
  return FAULTLINE_FUZZ_CASES === undefined
    ? few
    : Math.max(1, Math.round((Number(FAULTLINE_FUZZ_CASES) * many) / 100_000));
}

/**
 * Tries a property on random values.
 *
 * @param holds throws where the property does not hold
 */
export async function tryCases<Value>(
  t: Test,
  name: PropertyName,
  values: fc.Arbitrary<Value>,
  holds: (value: Value) => void | Promise<void>,
): Promise<void> {
  if (FAULTLINE_FUZZ_ONLY !== undefined && FAULTLINE_FUZZ_ONLY !== name) {
    return;
  }
  const seed = Number(FAULTLINE_FUZZ_SEED ?? Math.floor(Math.random() * 0x8000_0000));
  const cases = casesOf(name);
  const script = process.argv[1] ?? '';
  const again = `FAULTLINE_FUZZ_ONLY='${name}' FAULTLINE_FUZZ_SEED=${seed}`;
  t.comment(`${name}: ${cases} cases; again: ${again} node ${script}`);
  const deadline = new Deadline(DEADLINE_MILLISECONDS);
  const began = performance.now();
  let tried = 0;
  let failedAt = 0;
  const property = fc.asyncProperty(values, async (value) => {
    if (failedAt > 0 && performance.now() - failedAt > SHRINK_MILLISECONDS) {
      return; // what shrinking has found so far is good enough
    }
    deadline.begin(`${name}, seed ${seed}, case ${tried}`);
    if (FAULTLINE_FUZZ_TRACE === '1') {
      process.stderr.write(`${name} ${seed} ${tried} ${fc.stringify(value)}\n`);
    }
    tried++;
    try {
      await holds(value);
    } catch (error) {
      failedAt ||= performance.now();
      throw error;
    }
  });
  const path = FAULTLINE_FUZZ_PATH === undefined ? {} : { path: FAULTLINE_FUZZ_PATH };
  const details = await fc.check(property, { seed, numRuns: cases, ...path });
  await deadline.end();
  const seconds = (performance.now() - began) / 1000;
  if (FAULTLINE_FUZZ_LOG !== undefined) {
    const result: PropertyResult = {
      name,
      cases: details.numRuns,
      seed,
      seconds,
      ok: !details.failed,
    };
    appendFileSync(FAULTLINE_FUZZ_LOG, `${JSON.stringify(result)}\n`);
  }
  t.comment(`${name}: ${details.numRuns} cases in ${seconds.toFixed(1)} s`);
  if (details.failed) {
    const { counterexample, counterexamplePath, errorInstance } = details;
    t.fail(`${name}: seed ${seed}, path ${counterexamplePath}`, {
      again: `${again} FAULTLINE_FUZZ_PATH=${counterexamplePath} node ${script}`,
      case: fc.stringify(counterexample),
      error: errorInstance instanceof Error ? errorInstance.stack : String(errorInstance),
    });
  } else {
    t.pass('every case holds');
  }
}
