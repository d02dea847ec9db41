/** Answers the calls that {@link FailingCalls} has taken from the kernel. */
import { parentPort, workerData } from 'node:worker_threads';
import { close, errno, ioctl, poll } from '../../src/ffi/libc.js';
import { ProcessMemory } from '../../src/ffi/process-memory.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { POLLIN } from '../../src/uapi/fcntl.js';
import { UFFD_API, uffdio_api } from '../../src/uapi/userfaultfd.js';
import { Userfaultfd } from '../../src/uffd/userfaultfd.js';
import {
  AFTER,
  ANSWERED,
  CALLS,
  ERRNO,
  HIDDEN,
  LISTENER,
  STOP,
  TARGET,
  TIMES,
} from './failing-calls.js';

const SECCOMP_IOCTL_NOTIF_RECV = 0xc0502100; // _IOWR('!', 0, struct seccomp_notif)
const SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101; // _IOWR('!', 1, struct seccomp_notif_resp)
const SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1; // since 5.5
const NOTIF_BYTES = 80;
const NOTIF_NR = 16;
const NOTIF_ARGS = 32;
const RESPONSE = NOTIF_BYTES;
const POLLFD = 128;
const LOOK_MILLISECONDS = 50;

const words = new Int32Array(workerData as SharedArrayBuffer);
const calls = Object.values(CALLS);
const page = new ScratchPage();
const other = new ProcessMemory(uffdio_api.size);

/** Performs a handshake in the kernel's place. */
function offerLess(argument: number): void {
  const hidden = (words[HIDDEN]! >>> 0) + words[HIDDEN + 1]! * 2 ** 32;
  const offered = Number(BigInt(Userfaultfd.offered()) & ~BigInt(hidden));
  other.buffer.setU64(uffdio_api.offset.api, UFFD_API);
  other.buffer.setU64(uffdio_api.offset.features, offered);
  other.write(argument, uffdio_api.size);
}

/** Answers one call. */
function answer(): void {
  const number = page.s32[NOTIF_NR >> 2]!;
  const argument = (index: number): number => page.getU64(NOTIF_ARGS + index * 8);
  const index = calls.findIndex(
    (call) => call.number === number && call.value === argument(call.argument),
  );
  const isTarget = Atomics.load(words, TARGET) === 1 + index;
  page.clear(RESPONSE, 24);
  page.u32[RESPONSE >> 2] = page.u32[0]!;
  page.u32[(RESPONSE + 4) >> 2] = page.u32[1]!;
  if (isTarget && words[AFTER]! > 0) {
    words[AFTER]!--;
  } else if (isTarget && words[TIMES]! > 0) {
    words[TIMES]!--;
    Atomics.add(words, ANSWERED, 1);
    if (words[ERRNO] === 0) {
      offerLess(argument(2));
    }
    page.s32[(RESPONSE + 16) >> 2] = -words[ERRNO]!;
    return;
  }
  page.u32[(RESPONSE + 20) >> 2] = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
}

parentPort!.postMessage('ready');
while (Atomics.load(words, LISTENER) === 0) {
  Atomics.wait(words, LISTENER, 0);
}
const listener = Atomics.load(words, LISTENER);
page.s32[POLLFD >> 2] = listener;
page.u16[(POLLFD + 4) >> 1] = POLLIN;
while (Atomics.load(words, STOP) === 0) {
  if (poll(page.address + POLLFD, 1, LOOK_MILLISECONDS) !== 1) {
    continue;
  }
  page.clear(0, NOTIF_BYTES);
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, page.address) < 0) {
    continue; // whoever made the call is gone
  }
  answer();
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, page.address + RESPONSE) < 0) {
    throw new Error(`an answer was not taken: errno ${errno()}`);
  }
}
close(listener);
