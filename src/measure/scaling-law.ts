/** A coefficient with its 95 % confidence interval. */
export interface Coefficient {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/**
 * The Universal Scalability Law fitted to a curve (N. Gunther): with N vCPUs, the throughput is
 * λN / (1 + σ(N - 1) + κN(N - 1)).
 */
export type ScalingFit =
  | {
      readonly fitted: true;
      /** Throughput of one vCPU. */
      readonly lambda: Coefficient;
      /** σ: the share of the work that is serial, so that vCPUs queue for it. */
      readonly contention: Coefficient;
      /** κ: what each vCPU pays for each other one. */
      readonly coherency: Coefficient;
      /** Of the variance, what the law explains. */
      readonly rSquared: number;
      /** Where throughput is highest; null where it rises for ever. */
      readonly peak: { readonly vcpus: number; readonly pagesPerSecond: number } | null;
      /** The most vCPUs that were measured: what lies beyond is a prediction. */
      readonly measuredTo: number;
      readonly predictions: readonly {
        readonly vcpus: number;
        readonly pagesPerSecond: number;
        readonly low: number;
        readonly high: number;
      }[];
      /** In words: what limits. */
      readonly verdict: string;
    }
  | {
      readonly fitted: false;
      /** A sentence. */
      readonly why: string;
    };
