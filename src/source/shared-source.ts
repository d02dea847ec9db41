import { FaultySource, type SourceFault } from './faulty-source.js';
import { allocateLink, closeLink, type Network } from './network-link.js';
import type { ContentsSpec, SourceSpec } from './open-source.js';
import { SourceControl, type SourceTally } from './source-control.js';

export interface SharedSourceOptions {
  readonly contents: ContentsSpec;
  readonly network: Network | null;
  readonly faults: readonly SourceFault[];
  readonly retries: number;
}

/** The source that the threads of one run open, as the thread that stops them sees it. */
export class SharedSource {
  /** For the threads. */
  readonly spec: SourceSpec;
  private readonly control: SourceControl;
  private readonly link: SharedArrayBuffer | null;

  constructor({ contents, network, faults, retries }: SharedSourceOptions) {
    const control = SourceControl.allocate();
    this.control = new SourceControl(control);
    this.link = network === null ? null : allocateLink();
    let of: SourceSpec = contents;
    if (faults.length > 0) {
      of = { kind: 'faulty', of, faults, counts: FaultySource.allocate(faults), control };
    }
    if (network !== null && this.link !== null) {
      of = { kind: 'network', of, ...network, link: this.link };
    }
    this.spec = { kind: 'retrying', of, retries, control };
  }

  /** Whoever waits for it goes on at once. */
  close(): void {
    this.control.close();
    if (this.link !== null) {
      closeLink(this.link);
    }
  }

  get tally(): SourceTally {
    return this.control.tally;
  }
}
