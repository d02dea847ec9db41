import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** More than this much of a CPU, used by others, may have changed what was measured. */
export const DISTURBING_CPUS = 0.1;

/** CPU time that was used, in seconds since whenever. */
export interface CpuTimes {
  /** The clock, for what follows. */
  readonly at: number;
  /** By all processes, guests included. */
  readonly all: number;
  /** By this one, its guest included. */
  readonly own: number;
}

/** Of `/proc/stat`: USER_HZ, which is 100 on every x86 kernel. */
const SECONDS_PER_TICK = 0.01;
/** user, nice and system are each rounded down to ticks. */
const ROUNDED = 3;
/** The kernel looks who is running this often at least (CONFIG_HZ=100 to 1000), on every CPU. */
const SECONDS_PER_LOOK = 0.01;

/**
 * CPU time used until now. Interrupts, waiting for I/O and what a host of this host stole are nobody's
 * use; guest time is part of user time in both sources.
 */
export function readCpuTimes(): CpuTimes {
  const { user, system } = process.cpuUsage(); // utime and stime of /proc/self/stat, to the microsecond
  return {
    at: performance.now() / 1000,
    all: parseCpuTime(readFileSync('/proc/stat', 'utf8')),
    own: (user + system) / 1e6,
  };
}

/** The seconds of user, nice and system time in `/proc/stat`, of all CPUs. */
export function parseCpuTime(stat: string): number {
  const [, user, nice, system] = /^cpu +(\d+) (\d+) (\d+) /.exec(stat) ?? [];
  return (Number(user) + Number(nice) + Number(system)) * SECONDS_PER_TICK;
}

/**
 * CPUs' worth of time that others used in between: at least so much. What ticks cannot tell is taken
 * off, so that a short run is not called disturbed for nothing; null where so much has to be taken off
 * that a disturbance might not be seen.
 */
export function otherCpusBetween(before: CpuTimes, after: CpuTimes, cpus: number): number | null {
  const seconds = after.at - before.at;
  const doubt = ROUNDED * SECONDS_PER_TICK + cpus * SECONDS_PER_LOOK;
  const others = after.all - before.all - (after.own - before.own) - doubt;
  const found = Math.max(0, others) / seconds;
  return found <= DISTURBING_CPUS && doubt / seconds > DISTURBING_CPUS ? null : found;
}

/** Watches what other processes use while a guest runs. */
export class OtherLoad {
  private before: CpuTimes | null = null;
  /** Null before both ends are known. */
  cpus: number | null = null;

  begin(): void {
    this.before = readCpuTimes();
  }

  end(): void {
    if (this.before !== null) {
      this.cpus = otherCpusBetween(this.before, readCpuTimes(), availableParallelism());
    }
  }
}

/**
 * Whether others used more than a tenth of a CPU during a run, as a bench keeps it. Of one that does
 * not tell: no.
 */
export function isDisturbed(run: unknown): boolean {
  const { otherCpus = null } = run as { readonly otherCpus?: number | null };
  return otherCpus !== null && otherCpus > DISTURBING_CPUS;
}

/** Of several runs: how many others disturbed, and how many were long enough to tell. */
export interface Disturbance {
  readonly disturbed: number;
  readonly told: number;
}

export function disturbanceOf(runs: readonly { readonly otherCpus: number | null }[]): Disturbance {
  return {
    disturbed: runs.filter(isDisturbed).length,
    told: runs.filter(({ otherCpus }) => otherCpus !== null).length,
  };
}
