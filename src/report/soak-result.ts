/** One run of a soak, which has completed and verified. */
export interface SoakRun {
  readonly command: string;
  readonly seconds: number;
  readonly faults: number;
  readonly pagesVerified: number;
  /** Pages that the guest was told had failed. */
  readonly pagesPoisoned: number;
}

export interface SoakSummary {
  readonly minutes: number;
  readonly seed: number;
  readonly runs: number;
  readonly faults: number;
  readonly pagesVerified: number;
  readonly pagesPoisoned: number;
  /** The process after the first runs and after the last. */
  readonly before: Holdings;
  readonly after: Holdings;
}

/** What the process holds between two runs. */
export interface Holdings {
  /** Descriptors of KVM, userfaultfd, memory files, events and perf. */
  readonly descriptors: number;
  /** Mappings of guest memory and of kvm_run pages. */
  readonly guestMappings: number;
  /** All: koffi leaves some behind for every thread that has ended. */
  readonly mappings: number;
  readonly threads: number;
  readonly residentBytes: number;
}
