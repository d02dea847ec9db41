import t from 'tap';
import { kvmSkip } from '../support/host.js';
import { threadCount } from '../support/leaks.js';
import { held, prefetch, runAndCheck, SPARE_THREADS } from '../support/touch-runs.js';

t.setTimeout(1_800_000);

const IN_A_ROW = Number(process.env.FAULTLINE_RUNS_IN_A_ROW ?? 12);

t.test(
  `${IN_A_ROW} runs in a row of 8 overlapping vCPUs with background prefetch verify, and leave nothing`,
  { skip: kvmSkip(), timeout: 1_200_000 },
  async (t) => {
    const run = (round: number): Promise<string | null> =>
      runAndCheck(8, {
        delivery: round % 2 === 0 ? 'exit' : 'handler',
        handlers: 2,
        params: { share: 'overlap', order: 'random', seed: String(round) },
        prefetch,
      });
    await run(0);
    const before = held();
    const threads = threadCount();
    const wrong: string[] = [];
    for (let round = 0; round < IN_A_ROW; round++) {
      const complaint = await run(round);
      if (complaint !== null) {
        wrong.push(`round ${round}: ${complaint}`);
      }
    }
    t.strictSame(wrong, []);
    t.strictSame(held(), before, 'no descriptor or mapping is left');
    t.ok(threadCount() <= threads + SPARE_THREADS, `${threadCount()} threads, ${threads} before`);
  },
);
