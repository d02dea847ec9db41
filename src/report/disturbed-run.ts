/** More CPUs' worth of time of others than this make a run a disturbed one. */
const DISTURBING_CPUS = 0.1;

/** Whether a run, as a bench keeps it, says that others disturbed it. One that does not tell: no. */
export function isDisturbed(run: unknown): boolean {
  const { disturbed, otherCpus } = run as {
    readonly disturbed?: boolean;
    readonly otherCpus?: number | null;
  };
  return disturbed ?? (otherCpus ?? 0) > DISTURBING_CPUS;
}
