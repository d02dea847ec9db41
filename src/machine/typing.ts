import type { Pc } from './pc.js';

/** Passes what somebody types on to the guest, piece by piece, until the guest has ended. */
export class Typing implements Disposable {
  private iterator: AsyncIterator<Uint8Array> | null = null;
  private over = false;

  /** @param onError receives what `input` throws */
  constructor(
    private readonly input: AsyncIterable<Uint8Array>,
    private readonly pc: Pc,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** The guest runs. */
  begin(): void {
    void this.pass().catch((error: unknown) => {
      if (!this.over) {
        this.onError(error);
      }
    });
  }

  /** The guest has ended. What is being waited for is not waited for any longer. */
  [Symbol.dispose](): void {
    this.over = true;
    void this.iterator?.return?.().catch(() => undefined);
  }

  private async pass(): Promise<void> {
    this.iterator = this.input[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await this.iterator.next();
      if (done === true || this.over) {
        return;
      }
      await this.pc.type(value);
    }
  }
}
