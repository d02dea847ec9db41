import { FaultySource, type SourceFault } from './faulty-source.js';
import { allocateLink, closeLink, type Network } from './network-link.js';
import type { ContentsSpec, LoadedSpec, SourceSpec } from './open-source.js';
import { SourceControl, type SourceTally } from './source-control.js';

export interface SharedSourceOptions {
  readonly contents: ContentsSpec | LoadedSpec;
  readonly network: Network | null;
  /** On top of the network's latency. */
  readonly delayMicroseconds: number;
  readonly faults: readonly SourceFault[];
  readonly retries: number;
}

const UNLIMITED: Network = { bitsPerSecond: Number.POSITIVE_INFINITY, latencyMicroseconds: 0 };

/** The source that the threads of one run open, as the thread that stops them sees it. */
export class SharedSource {
  /** For the threads. */
  readonly spec: SourceSpec;
  private readonly control: SourceControl;
  private readonly link: SharedArrayBuffer | null;

  constructor(options: SharedSourceOptions) {
    const { contents, faults, retries } = options;
    const network = delayed(options);
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

/** A delay is latency, of a network with any number of wires where there is none. */
function delayed({ network, delayMicroseconds }: SharedSourceOptions): Network | null {
  if (delayMicroseconds === 0) {
    return network;
  }
  const { bitsPerSecond, latencyMicroseconds } = network ?? UNLIMITED;
  return { bitsPerSecond, latencyMicroseconds: latencyMicroseconds + delayMicroseconds };
}
