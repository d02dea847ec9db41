import type { ScalingFit } from './scaling-law.js';

type Fitted = Omit<Extract<ScalingFit, { readonly fitted: true }>, 'fitted' | 'verdict'>;

/** What takes less than this of a vCPU's time limits nothing. */
const LITTLE = 0.05;
/** What vCPUs pay for each other, at the most of them, that is none. */
const NOTHING = 1e-6;
/** Below these shares of the variance the law describes a curve roughly, or not at all. */
const ROUGH = 0.8;
export const HOPELESS = 0.5;

/**
 * What limits, in words.
 *
 * @param counts different numbers of vCPUs that were measured
 * @param cpus that vCPUs may run on; null: not known
 */
export function describeLimits(
  fit: Fitted,
  counts: readonly number[],
  cpus: number | null,
): string {
  if (fit.rSquared < HOPELESS) {
    const why = `No verdict: the law explains ${percent(fit.rSquared)} of the variance, so that what the numbers of vCPUs differ by is hardly more than noise, or is something else.`;
    return [turns(counts, cpus), why].filter((sentence) => sentence !== '').join(' ');
  }
  return [turns(counts, cpus), limit(fit), peak(fit), doubts(fit)]
    .filter((sentence) => sentence !== '')
    .join(' ');
}

function limit({ lambda, contention, coherency, measuredTo: n }: Fitted): string {
  const queueing = contention.value * (n - 1);
  const talking = coherency.value * n * (n - 1);
  const all = 1 + queueing + talking;
  const [first, second] = [queueing / all, talking / all];
  const at = `at N = ${n}`;
  if (first + second < LITTLE) {
    return `Neither contention nor coherency limits: ${at}, they take ${percent(first + second)} of the time.`;
  }
  const held = (coefficient: { readonly value: number }): string =>
    coefficient.value === 0 ? ', held at its bound' : '';
  const sigma = `σ = ${digits(contention)}${held(contention)}`;
  const kappa = `κ = ${digits(coherency)}${held(coherency)}`;
  const most =
    contention.value > 0
      ? `; by it alone no more than ${rate(lambda.value / contention.value)} would be had`
      : '';
  const serial = `queueing for what is serial takes ${percent(first)} of the time (${sigma}${most})`;
  const mutual = `what each vCPU pays for each other one takes ${percent(second)} of the time (${kappa})`;
  const byContention = first >= second;
  const [more, less] = byContention ? [serial, mutual] : [mutual, serial];
  const name = byContention ? 'ontention' : 'oherency';
  return (byContention ? contention : coherency).low > 0
    ? `C${name} limits: ${at}, ${more}, and ${less}.`
    : `What limits is not certain. It is c${name} in the best fit: ${at}, ${more}, and ${less}. But that may be nothing: its interval includes 0.`;
}

function peak({ peak: found, coherency, measuredTo }: Fitted): string {
  if (coherency.value === 0) {
    return coherency.high * measuredTo ** 2 < NOTHING
      ? 'No peak: throughput never falls again under this law.'
      : `No peak in the best fit; but κ may be as high as ${coherency.high.toPrecision(2)}, and then there is one.`;
  }
  if (found === null) {
    return "Where the peak is cannot be told, nor whether there is one: κ's interval includes 0.";
  }
  const at = `${found.vcpus} vCPU${found.vcpus === 1 ? '' : 's'}, ${rate(found.pagesPerSecond)}`;
  return found.vcpus <= measuredTo
    ? `The peak is at ${at}.`
    : `The predicted peak, beyond what was measured, is at ${at}.`;
}

function doubts({ rSquared }: Fitted): string {
  return rSquared < ROUGH
    ? `The law explains ${percent(rSquared)} of the variance: its coefficients are rough.`
    : '';
}

/** The first limit of a small host, which the law knows nothing of. */
function turns(counts: readonly number[], cpus: number | null): string {
  const beyond = counts.filter((vcpus) => cpus !== null && vcpus > cpus).length;
  if (cpus === null || beyond === 0) {
    return '';
  }
  const host = `the ${cpus} CPU${cpus === 1 ? '' : 's'} they may run on`;
  return counts.length - beyond < 4
    ? `${beyond} of the ${counts.length} numbers of vCPUs exceed ${host}: that they take turns on CPUs is the first limit (alone it looks as σ ≈ ${Number((1 / cpus).toPrecision(1))}), and of locks no more can be concluded than that.`
    : `vCPUs beyond ${host} take turns, which looks as contention.`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

function digits({ value, low, high }: { value: number; low: number; high: number }): string {
  const short = (number: number): string => String(Number(number.toPrecision(2)));
  return `${short(value)} (${short(low)} to ${short(high)})`;
}

function rate(pagesPerSecond: number): string {
  return `${Math.round(pagesPerSecond).toLocaleString('en-US')} pages/s`;
}
