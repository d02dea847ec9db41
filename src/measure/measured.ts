/** A figure, or the reason why this host does not give it. */
export type Measured = { readonly value: number } | { readonly value: null; readonly why: string };

/** The sum over threads: null as soon as one thread has no figure. */
export function sumMeasured(figures: readonly Measured[]): Measured {
  let sum = 0;
  for (const figure of figures) {
    if (figure.value === null) {
      return figure;
    }
    sum += figure.value;
  }
  return { value: sum };
}
