/** A part of a fault, in a loop by itself. */
export interface MicroFigure {
  readonly part: string;
  readonly nanoseconds: {
    readonly mean: number;
    readonly least: number;
    readonly p50: number;
    readonly p99: number;
  };
}
