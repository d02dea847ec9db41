import { EFD_CLOEXEC, EFD_NONBLOCK } from '../uapi/fcntl.js';
import { SyscallError } from './errors.js';
import { close, errno, eventfd, write } from './libc.js';
import { scratch } from './scratch.js';

/** An owned file descriptor; closed by `close()`, which may be called twice. */
export class Descriptor implements Disposable {
  readonly fd: number;
  private open = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  close(): void {
    if (this.open) {
      this.open = false;
      this.beforeClose();
      close(this.fd);
    }
  }

  /** For what is to be done with the descriptor last: the number may be another's afterwards. */
  protected beforeClose(): void {}

  [Symbol.dispose](): void {
    this.close();
  }
}

/** An eventfd that stays readable once signalled: it wakes a poll from any thread. */
export class WakeEvent extends Descriptor {
  constructor() {
    const fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
      throw new SyscallError('eventfd', errno(), 'Raise the limit of open files (ulimit -n).');
    }
    super(fd);
  }

  signal(): void {
    scratch.setU64(0, 1);
    write(this.fd, scratch.address, 8);
  }
}
