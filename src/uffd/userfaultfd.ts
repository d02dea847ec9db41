import { constants } from 'node:os';
import { Descriptor } from '../ffi/descriptor.js';
import { errnoName, SyscallError, scarcity, UnsupportedError } from '../ffi/errors.js';
import { close, errno, ioctl, open, syscall } from '../ffi/libc.js';
import { scratch } from '../ffi/scratch.js';
import { O_CLOEXEC, O_NONBLOCK, O_RDWR } from '../uapi/fcntl.js';
import { SYS_userfaultfd } from '../uapi/syscall.js';
import {
  UFFD_API,
  UFFDIO_API,
  UFFDIO_CONTINUE,
  UFFDIO_CONTINUE_MODE_WP,
  UFFDIO_COPY,
  UFFDIO_POISON,
  UFFDIO_REGISTER,
  UFFDIO_UNREGISTER,
  UFFDIO_WAKE,
  UFFDIO_WRITEPROTECT,
  UFFDIO_WRITEPROTECT_MODE_WP,
  USERFAULTFD_IOC_NEW,
  uffdio_api,
  uffdio_continue,
  uffdio_copy,
  uffdio_poison,
  uffdio_range,
  uffdio_register,
  uffdio_writeprotect,
} from '../uapi/userfaultfd.js';
import { missingFeatures } from './features.js';

const { EAGAIN, EEXIST, EINVAL } = constants.errno;

type OpenedBy = '/dev/userfaultfd' | 'userfaultfd(2)';

/**
 * The ioctls on ranges, for whoever holds the descriptor's number: set-up, discard, collapse. The
 * resolver issues its own from a prepared argument. They use this thread's scratch page.
 */
export class UffdCalls {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** UFFDIO_REGISTER; `modes` are UFFDIO_REGISTER_MODE_* bits. Takes none away (6.18). */
  register(address: number, bytes: number, modes: number): void {
    scratch.setU64(uffdio_register.offset.range + uffdio_range.offset.start, address);
    scratch.setU64(uffdio_register.offset.range + uffdio_range.offset.len, bytes);
    scratch.setU64(uffdio_register.offset.mode, modes);
    scratch.setU64(uffdio_register.offset.ioctls, 0);
    this.call('UFFDIO_REGISTER', UFFDIO_REGISTER, 'Does this backing support these fault modes?');
  }

  /** UFFDIO_UNREGISTER; sleepers in the range are woken. */
  unregister(address: number, bytes: number): void {
    this.range('UFFDIO_UNREGISTER', UFFDIO_UNREGISTER, address, bytes);
  }

  /** UFFDIO_WAKE: sleepers look at their page again. */
  wake(address: number, bytes: number): void {
    this.range('UFFDIO_WAKE', UFFDIO_WAKE, address, bytes);
  }

  /**
   * UFFDIO_CONTINUE of pages that are in the page cache. Pages already mapped are left alone.
   *
   * @param isProtected maps them write-protected (6.4)
   * @returns how many bytes it mapped
   */
  continueRange(address: number, bytes: number, pageBytes: number, isProtected = false): number {
    const { mapped } = uffdio_continue.offset;
    const mode = isProtected ? UFFDIO_CONTINUE_MODE_WP : 0;
    return this.advance(
      'UFFDIO_CONTINUE',
      UFFDIO_CONTINUE,
      address,
      bytes,
      pageBytes,
      mapped,
      mode,
    );
  }

  /**
   * UFFDIO_POISON: a marker in every page of the range that has neither a page nor a marker.
   *
   * @returns how many bytes it marked
   */
  poisonRange(address: number, bytes: number, pageBytes: number): number {
    const { updated } = uffdio_poison.offset;
    return this.advance('UFFDIO_POISON', UFFDIO_POISON, address, bytes, pageBytes, updated);
  }

  /** UFFDIO_COPY of a range of which nothing is mapped, as a whole. */
  copy(address: number, from: number, bytes: number): void {
    scratch.setU64(uffdio_copy.offset.dst, address);
    scratch.setU64(uffdio_copy.offset.src, from);
    scratch.setU64(uffdio_copy.offset.len, bytes);
    scratch.setU64(uffdio_copy.offset.mode, 0);
    scratch.setU64(uffdio_copy.offset.copy, 0);
    this.call('UFFDIO_COPY', UFFDIO_COPY);
  }

  /** UFFDIO_WRITEPROTECT: the next write to a page of the range faults. */
  writeProtect(address: number, bytes: number): void {
    scratch.setU64(uffdio_writeprotect.offset.mode, UFFDIO_WRITEPROTECT_MODE_WP);
    this.range('UFFDIO_WRITEPROTECT', UFFDIO_WRITEPROTECT, address, bytes);
  }

  /**
   * Calls that may stop half-way: EAGAIN with the bytes done so far means go on from there, EEXIST
   * that the next page is taken. (`struct uffdio_continue` and `uffdio_poison` differ only in the
   * name of their result.)
   */
  private advance(
    name: string,
    request: number,
    address: number,
    bytes: number,
    pageBytes: number,
    resultOffset: number,
    mode = 0,
  ): number {
    let changed = 0;
    for (let at = 0; at < bytes; ) {
      scratch.setU64(uffdio_range.offset.start, address + at);
      scratch.setU64(uffdio_range.offset.len, bytes - at);
      scratch.setU64(uffdio_continue.offset.mode, mode);
      scratch.setU64(resultOffset, 0);
      const failed = ioctl(this.fd, request, scratch.address) < 0;
      const error = failed ? errno() : 0;
      const result = scratch.getS64(resultOffset);
      if (result > 0) {
        at += result;
        changed += result;
      } else if (error === EEXIST) {
        at += pageBytes;
      } else if (failed && error !== EAGAIN) {
        throw new SyscallError(`${name} at offset ${at} of ${bytes} bytes`, error);
      }
    }
    return changed;
  }

  private range(name: string, request: number, address: number, bytes: number): void {
    scratch.setU64(uffdio_range.offset.start, address);
    scratch.setU64(uffdio_range.offset.len, bytes);
    this.call(name, request);
  }

  private call(name: string, request: number, hint = ''): void {
    if (ioctl(this.fd, request, scratch.address) < 0) {
      throw new SyscallError(name, errno(), hint);
    }
  }
}

/** An owned userfaultfd after its UFFDIO_API handshake, non-blocking. */
export class Userfaultfd extends UffdCalls implements Disposable {
  /** Bits of `uffdio_api.features` that this kernel offers. */
  readonly offered: number;
  /** What it was opened by. */
  readonly openedBy: OpenedBy;
  private readonly descriptor: Descriptor;

  private constructor(fd: number, offered: number, openedBy: OpenedBy) {
    super(fd);
    this.descriptor = new Descriptor(fd);
    this.offered = offered;
    this.openedBy = openedBy;
  }

  /**
   * @param features UFFD_FEATURE_* bits that must be there
   * @throws UnsupportedError when userfaultfd may not be used, or lacks a feature
   */
  static open(features = 0): Userfaultfd {
    const { fd, openedBy } = openDescriptor();
    if (handshake(fd, features)) {
      return new Userfaultfd(fd, scratch.getU64(uffdio_api.offset.features), openedBy);
    }
    const error = errno();
    close(fd);
    if (error !== EINVAL || features === 0) {
      throw new SyscallError('UFFDIO_API', error);
    }
    // The kernel refuses the set as a whole; a second handshake tells which bits it lacks.
    using plain = Userfaultfd.open();
    throw new UnsupportedError(
      `userfaultfd of this kernel lacks ${missingFeatures(plain.offered, features).join(', ')}`,
      'Use a newer kernel, or a delivery that does not need it (see faultline probe).',
    );
  }

  /** The UFFD_FEATURE_* bits that this kernel offers. */
  static offered(): number {
    using plain = Userfaultfd.open();
    return plain.offered;
  }

  close(): void {
    this.descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function handshake(fd: number, features: number): boolean {
  scratch.setU64(uffdio_api.offset.api, UFFD_API);
  scratch.setU64(uffdio_api.offset.features, features);
  scratch.setU64(uffdio_api.offset.ioctls, 0);
  return ioctl(fd, UFFDIO_API, scratch.address) === 0;
}

/**
 * `/dev/userfaultfd` (6.1) needs only permission on the device; the system call, for faults taken
 * in the kernel as KVM's are, needs CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1.
 */
function openDescriptor(): { fd: number; openedBy: OpenedBy } {
  const device = open('/dev/userfaultfd', O_RDWR | O_CLOEXEC, 0);
  const deviceError = errno();
  if (device >= 0) {
    const fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    const error = errno();
    close(device);
    if (fd >= 0) {
      return { fd, openedBy: '/dev/userfaultfd' };
    }
    throw new SyscallError('USERFAULTFD_IOC_NEW', error);
  }
  const fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0);
  if (fd >= 0) {
    return { fd, openedBy: 'userfaultfd(2)' };
  }
  const error = errno();
  if (scarcity(errnoName(error)) !== null) {
    throw new SyscallError('userfaultfd(2)', error);
  }
  throw new UnsupportedError(
    `userfaultfd is not available: /dev/userfaultfd says ${errnoName(deviceError)}, userfaultfd(2) says ${errnoName(error)}`,
    'Run as root, give access to /dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1.',
  );
}
