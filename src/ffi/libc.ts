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
export const mprotect = bind<[address: number, bytes: number, prot: number]>(
  'int mprotect(uintptr_t address, size_t bytes, int prot)',
);
export const madvise = bind<[address: number, bytes: number, advice: number]>(
  'int madvise(uintptr_t address, size_t bytes, int advice)',
);
/** With `oldBytes` 0 a second mapping of the same shared memory, without a file descriptor for it. */
export const mremap = bind<
  [oldAddress: number, oldBytes: number, newBytes: number, flags: number, newAddress: number]
>(
  'int64_t mremap(uintptr_t oldAddress, size_t oldBytes, size_t newBytes, int flags, uintptr_t newAddress)',
);
export const mlock = bind<[address: number, bytes: number]>(
  'int mlock(uintptr_t address, size_t bytes)',
);
export const munlock = bind<[address: number, bytes: number]>(
  'int munlock(uintptr_t address, size_t bytes)',
);
export const mlock2 = bind<[address: number, bytes: number, flags: number]>(
  'int mlock2(uintptr_t address, size_t bytes, int flags)',
);
/** One byte per page at `vector`: bit 0 says whether the page is in memory, mapped here or not. */
export const mincore = bind<[address: number, bytes: number, vector: number]>(
  'int mincore(uintptr_t address, size_t bytes, uintptr_t vector)',
);
export const memfd_create = bind<[name: string, flags: number]>(
  'int memfd_create(const char *name, unsigned int flags)',
);
export const ftruncate = bind<[fd: number, bytes: number]>('int ftruncate(int fd, int64_t bytes)');
export const fallocate = bind<[fd: number, mode: number, offset: number, bytes: number]>(
  'int fallocate(int fd, int mode, int64_t offset, int64_t bytes)',
);
/** For commands that take a number. */
export const fcntl = bind<[fd: number, command: number, argument: number]>(
  'int fcntl(int fd, int command, int argument)',
);
export const read = bind<[fd: number, buffer: number, bytes: number]>(
  'int64_t read(int fd, uintptr_t buffer, size_t bytes)',
);
/** Copies between address spaces, ours and ours too: EFAULT where a plain access would be SIGBUS. */
export const process_vm_readv = bind<
  [pid: number, local: number, locals: number, remote: number, remotes: number, flags: number]
>(
  'int64_t process_vm_readv(int pid, uintptr_t local, unsigned long locals, uintptr_t remote, unsigned long remotes, unsigned long flags)',
);
export const process_vm_writev = bind<
  [pid: number, local: number, locals: number, remote: number, remotes: number, flags: number]
>(
  'int64_t process_vm_writev(int pid, uintptr_t local, unsigned long locals, uintptr_t remote, unsigned long remotes, unsigned long flags)',
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
/** fsconfig(2) with a name and a value. */
export const fsconfigString = bind<
  [number: number, fd: number, command: number, key: string, value: string, aux: number]
>(
  'int64_t syscall(int64_t number, int64_t fd, int64_t command, const char *key, const char *value, int64_t aux)',
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
/** Returns an errno itself, not -1. `remaining` may be 0. */
export const clock_nanosleep = bind<
  [clock: number, flags: number, request: number, remaining: number]
>('int clock_nanosleep(int clock, int flags, uintptr_t request, uintptr_t remaining)');
export const sched_yield = bind<[]>('int sched_yield()');
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
