/** process_vm_readv(2): sys/uio.h. */
import { struct, u64 } from '../ffi/layout.js';

export const iovec = struct({ iov_base: u64, iov_len: u64 });
