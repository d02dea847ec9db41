/** Pseudo-random numbers that can be had again: xorshift32. */
export class Random {
  private state: number;

  /** @param seed an unsigned 32-bit number */
  constructor(readonly seed: number) {
    this.state = seed >>> 0 || 1;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % limit;
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)]!;
  }
}

/** Of the environment, or a new one. */
export function seedOf(name: string): number {
  return Number(process.env[name] ?? Math.floor(Math.random() * 2 ** 32)) >>> 0;
}
