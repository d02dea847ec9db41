import type { RunPage } from '../kvm/run-page.js';
import type { VcpuEnd } from './run-loop.js';

/** The I/O ports that a vCPU has. */
export interface Ports {
  /** Serves one KVM_EXIT_IO. Null to go on; else it was the guest's last. */
  readonly access: (page: RunPage) => VcpuEnd | null;
  /** Passes on what the console has and no newline has ended. */
  readonly flush: () => void;
  /** Words that a guest of this project reports. */
  readonly report: Uint32Array;
}
