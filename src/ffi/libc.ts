/**
 * libc through koffi. Signatures are the plain ones that koffi calls fastest (about 35 ns): every
 * pointer is an address as a Number below 2^53, nothing is variadic, nothing is a struct.
 * All return what C returns; {@link errno} says why it was -1.
 */
import koffi from 'koffi';

// koffi keeps a stack and a heap for calls in every thread that uses it, 3 MiB unless told otherwise,
// and does not give them back when the thread ends. No call here needs more than a few KiB of them.
koffi.config({ sync_stack_size: 128 * 1024, sync_heap_size: 64 * 1024 });

const libc = koffi.load('libc.so.6');

type Call<Arguments extends readonly (number | string)[]> = (...args: Arguments) => number;

function bind<const Arguments extends readonly (number | string)[]>(
  declaration: string,
): Call<Arguments> {
  return libc.func(declaration) as unknown as Call<Arguments>;
}

export const open = bind<[path: string, flags: number, mode: number]>(
  'int open(const char *path, int flags, int mode)',
);
export const close = bind<[fd: number]>('int close(int fd)');
export const ioctl = bind<[fd: number, request: number, argument: number]>(
  'int ioctl(int fd, uint32_t request, uintptr_t argument)',
);
export const mmap = bind<
  [address: number, bytes: number, prot: number, flags: number, fd: number, offset: number]
>('int64_t mmap(uintptr_t address, size_t bytes, int prot, int flags, int fd, int64_t offset)');
export const munmap = bind<[address: number, bytes: number]>(
  'int munmap(uintptr_t address, size_t bytes)',
);
export const madvise = bind<[address: number, bytes: number, advice: number]>(
  'int madvise(uintptr_t address, size_t bytes, int advice)',
);
export const memfd_create = bind<[name: string, flags: number]>(
  'int memfd_create(const char *name, unsigned int flags)',
);
export const ftruncate = bind<[fd: number, bytes: number]>('int ftruncate(int fd, int64_t bytes)');
export const fallocate = bind<[fd: number, mode: number, offset: number, bytes: number]>(
  'int fallocate(int fd, int mode, int64_t offset, int64_t bytes)',
);
export const read = bind<[fd: number, buffer: number, bytes: number]>(
  'int64_t read(int fd, uintptr_t buffer, size_t bytes)',
);
export const poll = bind<[pollfds: number, count: number, timeoutMilliseconds: number]>(
  'int poll(uintptr_t pollfds, unsigned long count, int timeoutMilliseconds)',
);
export const eventfd = bind<[initial: number, flags: number]>(
  'int eventfd(unsigned int initial, int flags)',
);
export const write = bind<[fd: number, buffer: number, bytes: number]>(
  'int64_t write(int fd, uintptr_t buffer, size_t bytes)',
);
/** For calls that glibc does not wrap. Unused arguments are 0. */
export const syscall = bind<
  [number: number, a: number, b: number, c: number, d: number, e: number]
>('int64_t syscall(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e)');
/** The same, for calls whose first argument is a C string. */
export const syscallWithString = bind<[number: number, text: string, b: number]>(
  'int64_t syscall(int64_t number, const char *text, int64_t b)',
);
/** Returns an errno itself, not -1. */
export const pthread_sigmask = bind<[how: number, set: number, previous: number]>(
  'int pthread_sigmask(int how, uintptr_t set, uintptr_t previous)',
);
export const sigtimedwait = bind<[set: number, siginfo: number, timeout: number]>(
  'int sigtimedwait(uintptr_t set, uintptr_t siginfo, uintptr_t timeout)',
);
export const sched_setaffinity = bind<[pid: number, bytes: number, mask: number]>(
  'int sched_setaffinity(int pid, size_t bytes, uintptr_t mask)',
);
export const memcmp = bind<[a: number, b: number, bytes: number]>(
  'int memcmp(uintptr_t a, uintptr_t b, size_t bytes)',
);
export const clock_gettime = bind<[clock: number, timespec: number]>(
  'int clock_gettime(int clock, uintptr_t timespec)',
);
export const getrusage = bind<[who: number, usage: number]>(
  'int getrusage(int who, uintptr_t usage)',
);
/** Ends the process at once: no destructors, no joining of threads that sit in KVM_RUN. */
export const _exit = bind<[status: number]>('void _exit(int status)');

const errnoAddress = libc.func('uintptr_t __errno_location()') as unknown as () => number;
// errno is thread-local: this module is evaluated once per thread, so the view is the thread's own.
const errnoView = new Int32Array(koffi.view(BigInt(errnoAddress()), 4));

/** errno of this thread's last failed call; read it before making another. About 1 ns. */
export function errno(): number {
  return errnoView[0]!;
}
