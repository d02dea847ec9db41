/** include/uapi/linux/resource.h. */
import { s64, struct } from '../ffi/layout.js';

/** Of the calling thread only. */
export const RUSAGE_THREAD = 1;

export const timeval = struct({ tv_sec: s64, tv_usec: s64 });

export const rusage = struct({
  ru_utime: timeval,
  ru_stime: timeval,
  ru_maxrss: s64,
  ru_ixrss: s64,
  ru_idrss: s64,
  ru_isrss: s64,
  ru_minflt: s64,
  ru_majflt: s64,
  ru_nswap: s64,
  ru_inblock: s64,
  ru_oublock: s64,
  ru_msgsnd: s64,
  ru_msgrcv: s64,
  ru_nsignals: s64,
  ru_nvcsw: s64,
  ru_nivcsw: s64,
});
