/** What kick-thread.ts and the thread it watches have in common. */
export const IDLE = 0;
/** A guest runs. */
export const RUNNING = 1;
/** It has run for long enough. */
export const KICKING = 2;

export interface KickThreadData {
  /** Word 0: {@link IDLE}, {@link RUNNING} or {@link KICKING}; word 1: milliseconds to run for. */
  readonly words: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
  readonly threadId: number;
}
