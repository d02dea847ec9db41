import type { ErrorReport } from '../ffi/errors.js';
import { counterRow, FAULTS } from '../measure/counters.js';
import { describeHost } from '../measure/host.js';
import { perfEvents } from '../measure/perf-counters.js';
import { nameOfSource, openSource } from '../source/open-source.js';
import type { Judgement } from './bundled-guests.js';
import { Crew } from './crew.js';
import { explainHandlerEnd, explainVcpuEnd } from './explain-end.js';
import { Machine } from './machine.js';
import { completeConfig, type RunOptions } from './machine-config.js';
import type { RunError, RunOutcome, RunResult } from './run-result.js';
import { reportedBy, summarize } from './summarize.js';
import { type Verification, verifyMemory } from './verify.js';

const PROGRESS_MILLISECONDS = 100;

/**
 * Boots a guest on demand-paged memory, waits until it ends, verifies its memory and says what its
 * faults cost. What happens inside the guest (a shutdown, a memory error, wrong contents, a
 * timeout) is a result; only what kept it from starting, or a thread from stopping, is thrown.
 *
 * @throws UsageError an option cannot be used
 * @throws UnsupportedError this host lacks what was asked for
 * @throws SyscallError, DefectError
 */
export async function runGuest(options: RunOptions): Promise<RunResult> {
  const config = completeConfig(options);
  const started = performance.now();
  using machine = new Machine(config);
  const events = perfEvents(config.countKernelEvents);
  const crew = new Crew(machine, events, options.onConsole ?? (() => undefined));

  const cut = await runCrew(crew, options, config.timeoutSeconds, () => ({
    faults: sumFaults(crew),
    pages: machine.workload.pagesTouched,
    seconds: (performance.now() - started) / 1000,
  }));
  const failure = cut ?? failureOf(machine, crew);
  const judgement = judge(machine, crew, failure);
  const verified = verify(machine);
  const error = failure ?? mismatchOf(judgement, verified);
  const touched =
    error === null && judgement.visits !== null ? machine.workload.pagesTouched : null;

  const { image: _image, delivery: _delivery, source, params: _params, ...kept } = config;
  return {
    schema: 'faultline.run/1',
    image: config.image,
    outcome: outcomeOf(error),
    error,
    config: {
      ...kept,
      source: nameOfSource(source),
      around: 0,
      uffds: 'one',
      params: machine.workload.parameters,
    },
    delivery: {
      requested: config.delivery,
      used: machine.delivery.name,
      reportedBy: reportedBy(machine, crew),
      why: machine.why,
    },
    pages: {
      bytesPerPage: 4096,
      touched,
      verified: verified?.touchedAndRight ?? null,
      mismatched: verified?.mismatched ?? null,
    },
    ...summarize(machine, crew, judgement, touched),
    wallSeconds: (performance.now() - started) / 1000,
    host: describeHost(),
  };
}

/**
 * Starts the threads and sees them through to their end.
 *
 * @returns why the run was cut short from outside, or null
 */
async function runCrew(
  crew: Crew,
  options: RunOptions,
  timeoutSeconds: number,
  progress: () => { faults: number; pages: number | null; seconds: number },
): Promise<RunError | null> {
  let cut: RunError | null = null;
  const cutShort = (error: RunError): void => {
    cut ??= error;
    crew.nudge();
  };
  const interrupt = (): void =>
    cutShort({ code: 'interrupted', message: 'the run was interrupted', hint: '' });
  const timer = setTimeout(
    () =>
      cutShort({
        code: 'timeout',
        message: `the guest did not end within ${timeoutSeconds} s`,
        hint: 'Allow more with --timeout, or give it less to do.',
      }),
    timeoutSeconds * 1000,
  );
  const ticker =
    options.onProgress &&
    setInterval(() => options.onProgress?.(progress()), PROGRESS_MILLISECONDS);
  options.signal?.addEventListener('abort', interrupt, { once: true });
  if (options.signal?.aborted) {
    interrupt();
  }
  try {
    await crew.ready(() => cut !== null);
    if (cut === null && crew.failure === null) {
      crew.control.start();
      await crew.finished(() => cut !== null);
    }
  } finally {
    clearTimeout(timer);
    clearInterval(ticker);
    options.signal?.removeEventListener('abort', interrupt);
    await crew.stop();
  }
  return cut;
}

/** What went wrong inside, or null. */
function failureOf(machine: Machine, crew: Crew): RunError | null {
  if (crew.failure !== null) {
    return asRunError(crew.failure);
  }
  for (const [index, { end }] of crew.vcpuFinishes.entries()) {
    const error = explainVcpuEnd(machine, index, end.vcpu);
    if (error !== null) {
      return error;
    }
  }
  for (const { end } of crew.handlerFinishes) {
    const error = explainHandlerEnd(machine, end);
    if (error !== null) {
      return error;
    }
  }
  return null;
}

function asRunError({ code, message, hint }: ErrorReport): RunError {
  return { code, message, hint };
}

function judge(machine: Machine, crew: Crew, failure: RunError | null): Judgement {
  return failure === null
    ? machine.workload.judge(crew.vcpuFinishes.map(({ end }) => end.report))
    : { visits: null, complaint: null, maxCycles: null };
}

function verify(machine: Machine): Verification | null {
  const { memory, imagePages, workload, config } = machine;
  return verifyMemory(memory, imagePages, openSource(config.source), workload);
}

function mismatchOf(judgement: Judgement, verified: Verification | null): RunError | null {
  const code = 'mismatch';
  if (judgement.complaint !== null) {
    return { code, message: judgement.complaint, hint: '' };
  }
  if (verified !== null && verified.firstMismatch !== null) {
    const { mismatched, pages, firstMismatch } = verified;
    const message = `${mismatched} of ${pages} pages are wrong, the first at GPA 0x${firstMismatch.toString(16)}`;
    return { code, message, hint: '' };
  }
  return null;
}

function outcomeOf(error: RunError | null): RunOutcome {
  switch (error?.code) {
    case undefined:
      return 'completed';
    case 'shutdown':
    case 'memory-error':
    case 'mismatch':
    case 'timeout':
      return error!.code as RunOutcome;
    default:
      return 'error';
  }
}

function sumFaults(crew: Crew): number {
  let sum = 0;
  for (let thread = 0; thread < crew.threads; thread++) {
    sum += counterRow(crew.counters, thread)[FAULTS]!;
  }
  return sum;
}
