import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { GuestError, InterruptedError, UnsupportedError } from '../../src/ffi/errors.js';
import { describeHost } from '../../src/measure/host.js';
import { figure } from '../../src/report/figures.js';
import type { MicroFigure } from '../../src/report/micro-result.js';
import { textTable } from '../../src/report/table.js';
import type { Bench, BenchOptions } from './bench.js';

const SCRIPT = fileURLToPath(new URL('../micro/hot-path.js', import.meta.url));

/** A line of what the script says: how many there are, then each. */
export type MicroLine = { readonly total: number } | MicroFigure;

export const micro: Bench<MicroFigure, readonly MicroFigure[]> = {
  name: 'micro',
  description: 'what the parts of a fault cost in this engine, each in a loop by itself (mitata)',
  extent: 'all of them, about 15 seconds',
  takes: [],

  async run(options) {
    const startedAt = new Date().toISOString();
    const runs = await measureParts(options);
    return {
      schema: 'faultline.bench/1',
      bench: 'micro',
      host: describeHost(),
      startedAt,
      command: 'faultline bench micro',
      constant: { process: 'one of its own, no guest' },
      runs,
      summary: runs,
    };
  },

  describe: ({ summary }) => {
    const head = ['part', 'p50 ns', 'p99 ns', 'mean ns', 'least ns'];
    const rows = summary.map(({ part, nanoseconds: { mean, least, p50, p99 } }) => [
      part,
      ...[p50, p99, mean, least].map((value) => figure(value, value < 100 ? 1 : 0)),
    ]);
    return [
      textTable(head, rows),
      '',
      'Nanoseconds a call, over batches of calls in a loop that does nothing else: caches and branch',
      'predictors are as warm as they never are in a fault. No guest runs, and no memory is verified.',
    ].join('\n');
  },
};

/** In a process of its own: what was compiled for other benches does not count, nor the other way round. */
async function measureParts({ signal, onStep }: BenchOptions): Promise<MicroFigure[]> {
  if (!existsSync(SCRIPT)) {
    throw new UnsupportedError(
      'the micro-benchmarks are not in the package',
      'Run them in a checkout, after make build.',
    );
  }
  const child = spawn(process.execPath, [SCRIPT, '--lines'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(signal && { signal }),
  });
  // An error is that of being aborted, or that it could not be started: then there is no status.
  const ended = once(child, 'close').then(
    ([status]) => status as number | null,
    () => null,
  );
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint += data.toString();
  });
  const figures: MicroFigure[] = [];
  let total = 0;
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as MicroLine;
    if ('total' in line) {
      total = line.total;
    } else {
      figures.push(line);
    }
    if (figures.length < total) {
      onStep?.(figures.length, total, `part ${figures.length + 1}`);
    }
  }
  const status = await ended;
  if (signal?.aborted) {
    throw new InterruptedError('the bench was interrupted');
  }
  const wrong = figures.find(({ nanoseconds }) => !(nanoseconds.p50 > 0 && nanoseconds.mean > 0));
  if (status !== 0 || figures.length !== total || total === 0 || wrong !== undefined) {
    const what =
      wrong === undefined ? `${figures.length} of ${total}` : `no time for ${wrong.part}`;
    throw new GuestError(`the micro-benchmarks gave ${what}`, complaint.trim().split('\n')[0]);
  }
  return figures;
}
