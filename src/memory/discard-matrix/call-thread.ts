import { once } from 'node:events';
import { constants } from 'node:os';
import { Worker } from 'node:worker_threads';
import { WakeEvent } from '../../ffi/descriptor.js';
import { DefectError, SyscallError } from '../../ffi/errors.js';
import { errno, poll, read } from '../../ffi/libc.js';
import { scratch } from '../../ffi/scratch.js';
import { POLLIN, pollfd } from '../../uapi/fcntl.js';
import { UFFD_EVENT_REMOVE, uffd_msg, uffd_msg_remove } from '../../uapi/userfaultfd.js';
import type { Userfaultfd } from '../../uffd/userfaultfd.js';
import type { CallRequest, CallWorkerData } from './call-worker.js';
import type { CallTarget, DiscardCall } from './calls.js';

const START_MILLISECONDS = 10_000;
const CALL_MILLISECONDS = 10_000;
const MESSAGES = 16;

/** A range that an event was about; `end` is exclusive. */
export interface RemovedRange {
  readonly start: number;
  readonly end: number;
}

/** How a call ended that was watched through a userfaultfd. */
export interface WatchedCall {
  readonly errno: number;
  /** Of the UFFD_EVENT_REMOVE messages that came with it. */
  readonly removed: readonly RemovedRange[];
}

/**
 * A thread that makes calls while this one reads the userfaultfd: a call that sends an event sleeps
 * until the event has been read. Nothing waits for ever: a call that does not return is let go by
 * closing the userfaultfd.
 */
export class CallThread {
  private constructor(
    private readonly worker: Worker,
    private readonly result: Int32Array,
    private readonly returned: WakeEvent,
  ) {}

  static async start(): Promise<CallThread> {
    const result = new SharedArrayBuffer(4);
    const returned = new WakeEvent();
    const { NODE_OPTIONS: _flags, ...env } = process.env; // a loader has no business in it
    const worker = new Worker(new URL('./call-worker.js', import.meta.url), {
      workerData: { result, returned: returned.fd } satisfies CallWorkerData,
      execArgv: [],
      env,
    });
    const thread = new CallThread(worker, new Int32Array(result), returned);
    try {
      await once(worker, 'message', { signal: AbortSignal.timeout(START_MILLISECONDS) });
    } catch (error) {
      await thread.end();
      throw new DefectError('the thread that makes the calls did not start', undefined, {
        cause: error,
      });
    }
    return thread;
  }

  /**
   * Makes one call in the thread, and reads what the userfaultfd says meanwhile.
   *
   * @throws DefectError when the call does not return: the userfaultfd is closed then
   */
  make(
    call: DiscardCall,
    target: CallTarget,
    uffd: Pick<Userfaultfd, 'fd' | 'close'>,
    milliseconds = CALL_MILLISECONDS,
  ): WatchedCall {
    const removed: RemovedRange[] = [];
    const deadline = performance.now() + milliseconds;
    this.worker.postMessage({ call, target } satisfies CallRequest);
    for (let left = milliseconds; left > 0; left = deadline - performance.now()) {
      switch (firstReadable(uffd.fd, this.returned.fd, left)) {
        case uffd.fd:
          removed.push(...readRemoved(uffd.fd));
          break;
        case this.returned.fd:
          // Its events, had there been any, were read before it could return.
          this.drain();
          return { errno: Atomics.load(this.result, 0), removed };
      }
    }
    uffd.close();
    if (firstReadable(this.returned.fd, this.returned.fd, CALL_MILLISECONDS) !== null) {
      this.drain(); // or the next call would seem to have returned
    }
    throw new DefectError(`${call} did not return within ${milliseconds} ms`);
  }

  private drain(): void {
    read(this.returned.fd, scratch.address, 8);
  }

  async end(): Promise<void> {
    await this.worker.terminate();
    this.returned.close();
  }
}

/** Waits until one of two descriptors can be read. Null: neither, in time. */
function firstReadable(first: number, second: number, milliseconds: number): number | null {
  const { fd, events, revents } = pollfd.offset;
  scratch.clear(0, 2 * pollfd.size);
  scratch.s32[fd >> 2] = first;
  scratch.u16[events >> 1] = POLLIN;
  scratch.s32[(pollfd.size + fd) >> 2] = second;
  scratch.u16[(pollfd.size + events) >> 1] = POLLIN;
  if (poll(scratch.address, 2, Math.ceil(milliseconds)) < 0) {
    const error = errno();
    if (error === constants.errno.EINTR) {
      return null;
    }
    throw new SyscallError('poll', error);
  }
  if (scratch.u16[revents >> 1] === POLLIN) {
    return first;
  }
  return scratch.u16[(pollfd.size + revents) >> 1] === POLLIN ? second : null;
}

function readRemoved(uffd: number): RemovedRange[] {
  const length = read(uffd, scratch.address, MESSAGES * uffd_msg.size);
  if (length < 0) {
    throw new SyscallError('read of a userfaultfd', errno());
  }
  const ranges: RemovedRange[] = [];
  for (let at = 0; at < length; at += uffd_msg.size) {
    const event = scratch.u8[at + uffd_msg.offset.event];
    if (event !== UFFD_EVENT_REMOVE) {
      throw new DefectError(`userfaultfd sent event ${event}, which was not asked for`);
    }
    ranges.push({
      start: scratch.getU64(at + uffd_msg_remove.offset.start),
      end: scratch.getU64(at + uffd_msg_remove.offset.end),
    });
  }
  return ranges;
}
