import { errnoName } from '../ffi/errors.js';
import { counterRow, FAULTS } from '../measure/counters.js';
import { describeHost } from '../measure/host.js';
import { OtherLoad } from '../measure/other-load.js';
import { perfEvents } from '../measure/perf-counters.js';
import { MAPPED } from '../memory/page-states.js';
import { nameOfFault } from '../source/faulty-source.js';
import { nameOfSource, openSource } from '../source/open-source.js';
import type { Judgement } from './bundled-guests.js';
import { Crew } from './crew.js';
import { explainUnfilled, failureOf } from './explain-end.js';
import { fillMissing } from './fill-missing.js';
import { Machine } from './machine.js';
import { completeConfig, type RunOptions } from './machine-config.js';
import { MemoryAccount } from './memory-account.js';
import { RunCut } from './run-cut.js';
import type { RunError, RunOutcome, RunResult } from './run-result.js';
import { reportedBy, summarize } from './summarize.js';
import { Typing } from './typing.js';
import { type Verification, verifyMemory } from './verify.js';

const PROGRESS_MILLISECONDS = 100;

/**
 * Boots a guest on demand-paged memory, waits until it ends, verifies its memory and says what its
 * faults cost. What happens inside the guest (a shutdown, a memory error, wrong contents, a
 * timeout) is a result; only what kept it from starting, or a thread from stopping, is thrown, and
 * what the caller's own callbacks throw.
 *
 * @throws UsageError an option cannot be used
 * @throws UnsupportedError this host lacks what was asked for
 * @throws SyscallError, DefectError
 */
export async function runGuest(options: RunOptions): Promise<RunResult> {
  const config = completeConfig(options);
  const started = performance.now();
  const others = new OtherLoad();
  others.begin(); // with the start of the threads: the guest alone may be over within a few ticks
  const host = describeHost(); // as long as there are descriptors for it
  const end = new AbortController();
  const callbacks = new Callbacks(end);
  const signal = options.signal ? AbortSignal.any([options.signal, end.signal]) : end.signal;
  using cut = new RunCut(config.timeoutSeconds, signal);
  using machine = new Machine(config);
  const source = openSource(config.source);
  const unfilled = machine.delivery.prefilled
    ? await fillMissing(machine.memory, machine.installer, cut.goOn)
    : null;
  const resident = machine.memory.states.count(MAPPED) * (config.unitBytes / 4096);
  const account = new MemoryAccount(machine);
  const events = perfEvents(config.countKernelEvents, {
    locks: config.traceLocks,
    retries: config.countFaultRetries,
    faults: config.memoryBytes / config.unitBytes,
  });
  const crew = new Crew(machine, events, (text, vcpu) =>
    callbacks.wait(() => options.onConsole?.(text, vcpu)),
  );
  const seconds = (): number => (performance.now() - started) / 1000;
  const pages = machine.workload.pagesTouched;
  if (unfilled === null) {
    const { pc } = machine;
    using typing =
      pc === null || options.input === undefined
        ? null
        : new Typing(options.input, pc, (error) => callbacks.fail(error));
    await runCrew(
      crew,
      cut,
      others,
      () => typing?.begin(),
      () =>
        callbacks.call(() =>
          options.onProgress?.({ faults: sumFaults(crew), pages, seconds: seconds() }),
        ),
    );
  }
  if (callbacks.thrown !== null) {
    throw callbacks.thrown.error;
  }
  const failure = cut.error ?? explainUnfilled(machine, unfilled) ?? failureOf(machine, crew);
  await account.guestEnded(failure === null, cut.goOn);
  machine.untrap();
  const judgement = judge(machine, crew, failure);
  const { memory, imagePages, workload } = machine;
  const discards = config.discard !== null;
  const verified =
    cut.error === null && unfilled === null // else the guest has not run
      ? await verifyMemory(
          memory,
          imagePages,
          source,
          { ...workload, endedEarly: failure !== null },
          discards,
          cut.goOn,
        )
      : null;
  const error = failure ?? cut.error ?? mismatchOf(judgement, verified, pages);
  const touched = error === null && judgement.visits !== null ? workload.pagesTouched : null;

  const {
    image: _image,
    delivery: _delivery,
    source: _source,
    failSource,
    params: _params,
    ...kept
  } = config;
  return {
    schema: 'faultline.run/1',
    image: config.image,
    outcome: outcomeOf(error),
    error,
    config: {
      ...kept,
      source: nameOfSource(config.source),
      failSource: failSource.map(nameOfFault),
      params: machine.workload.parameters,
    },
    delivery: {
      requested: config.delivery,
      used: machine.delivery.name,
      reportedBy: reportedBy(machine, crew),
      userfaultfds: machine.trap?.uffds.fds.length ?? 0,
      why: machine.why,
    },
    pages: {
      bytesPerPage: 4096,
      resident,
      touched,
      verified: verified?.touchedAndRight ?? null,
      mismatched: verified?.mismatched ?? null,
      discarded: verified?.touchedAndMissing ?? null,
      poisoned: verified?.touchedAndPoisoned ?? null,
    },
    memoryErrors: memoryErrorsOf(crew),
    source: machine.delivery.prefilled ? null : crew.source.tally,
    ...summarize(machine, crew, judgement, touched),
    startup: crew.startup,
    ...account.result(crew.choreFinishes),
    otherCpus: others.cpus,
    wallSeconds: seconds(),
    host,
  };
}

/** Starts the threads and sees them through to their end. */
async function runCrew(
  crew: Crew,
  cut: RunCut,
  others: OtherLoad,
  onStart: () => void,
  onProgress: () => void,
): Promise<void> {
  const ticker = setInterval(onProgress, PROGRESS_MILLISECONDS);
  cut.onCut = () => crew.nudge();
  const isCut = (): boolean => cut.error !== null;
  try {
    await crew.launch(cut.goOn, isCut);
    await crew.ready(isCut);
    if (!isCut() && crew.failure === null) {
      crew.control.start();
      onStart();
      await crew.finished(isCut);
      others.end();
    }
  } finally {
    clearInterval(ticker);
    cut.cancelTimeout();
    await crew.stop();
  }
}

/** Calls back; what the caller's function throws ends the run, and is thrown by it. */
class Callbacks {
  thrown: { readonly error: unknown } | null = null;
  private readonly end: AbortController;

  constructor(end: AbortController) {
    this.end = end;
  }

  call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The same of a callback that may take its time. */
  async wait(callback: () => void | Promise<void>): Promise<void> {
    try {
      await callback();
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error: unknown): void {
    this.thrown ??= { error };
    this.end.abort();
  }
}

function judge(machine: Machine, crew: Crew, failure: RunError | null): Judgement {
  return failure === null
    ? machine.workload.judge(crew.vcpuFinishes.map(({ end }) => end.report))
    : { visits: null, complaint: null, maxCycles: null };
}

function mismatchOf(
  judgement: Judgement,
  verified: Verification | null,
  pagesTouched: number | null,
): RunError | null {
  const code = 'mismatch';
  if (judgement.complaint !== null) {
    return { code, message: judgement.complaint, hint: '' };
  }
  if (verified !== null && verified.firstMismatch !== null) {
    const { mismatched, pages, firstMismatch } = verified;
    const message = `${mismatched} of ${pages} pages are wrong, the first at GPA 0x${firstMismatch.toString(16)}`;
    return { code, message, hint: '' };
  }
  if (verified !== null && pagesTouched !== null) {
    const { touchedAndRight, touchedAndMissing, touchedAndPoisoned } = verified;
    if (touchedAndRight + (touchedAndMissing ?? 0) + touchedAndPoisoned !== pagesTouched) {
      const message = `the guest says that it touched ${pagesTouched} pages, and ${touchedAndRight} of them are there`;
      return { code, message, hint: '' };
    }
  }
  return null;
}

function memoryErrorsOf({ vcpuFinishes }: Crew): RunResult['memoryErrors'] {
  return {
    count: vcpuFinishes.reduce((sum, { end }) => sum + end.memoryErrors, 0),
    records: vcpuFinishes.flatMap(({ index, end }) =>
      end.memoryErrorRecords.map(({ errno, ...record }) => ({
        vcpu: index,
        ...record,
        errno: errno === 0 ? null : errnoName(errno),
      })),
    ),
  };
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
