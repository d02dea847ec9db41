import { setImmediate } from 'node:timers/promises';
import type { RunError } from './run-result.js';

/** Ends a run from outside: by its timeout, or by the caller's signal, whichever comes first. */
export class RunCut implements Disposable {
  /** Why the run is to end; null as long as it may go on. */
  error: RunError | null = null;
  /** Called once, when it is to end. */
  onCut: () => void = () => undefined;
  private readonly timer: NodeJS.Timeout;
  private readonly signal: AbortSignal | undefined;

  constructor(timeoutSeconds: number, signal: AbortSignal | undefined) {
    this.signal = signal;
    this.timer = setTimeout(
      () =>
        this.cut({
          code: 'timeout',
          message: `the run did not end within ${timeoutSeconds} s`,
          hint: 'Allow more with --timeout, or give it less to do.',
        }),
      timeoutSeconds * 1000,
    );
    signal?.addEventListener('abort', this.interrupt);
    if (signal?.aborted) {
      this.interrupt();
    }
  }

  /** Lets timers and signals be heard in the middle of long work. False: stop it. */
  readonly goOn = async (): Promise<boolean> => {
    await setImmediate();
    return this.error === null;
  };

  /** The guest has ended: what is left is bounded, and only the caller's signal ends it. */
  cancelTimeout(): void {
    clearTimeout(this.timer);
  }

  [Symbol.dispose](): void {
    this.cancelTimeout();
    this.signal?.removeEventListener('abort', this.interrupt);
  }

  private readonly interrupt = (): void =>
    this.cut({ code: 'interrupted', message: 'the run was interrupted', hint: '' });

  private cut(error: RunError): void {
    if (this.error === null) {
      this.error = error;
      this.onCut();
    }
  }
}
