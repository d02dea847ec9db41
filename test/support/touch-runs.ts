/** Runs of `touch` over memory of which every userfaultfd has its part, judged in one sentence. */
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import { mappingsOf, openDescriptors } from './leaks.js';

const PAGES = 2048;
/** Worker threads of libuv and V8 come and go; those of runs are many more. */
export const SPARE_THREADS = 8;

/** What runs leave behind if they leave anything. */
export const held = () => ({
  descriptors: openDescriptors().filter((name) =>
    /kvm|userfaultfd|memfd|eventfd|perf_event/.test(name),
  ).length,
  mappings: mappingsOf('faultline').length + mappingsOf('kvm-vcpu').length,
});

export const prefetch = { bytesPerSecond: null };

/** Null, or what is wrong. */
export async function runAndCheck(vcpus: number, way: Partial<RunOptions>): Promise<string | null> {
  const { params, ...options } = way;
  const { outcome, error, pages, faults, delivery, background, startup } = await runGuest({
    image: 'touch',
    vcpus,
    memoryBytes: 256 * 2 ** 20,
    ...options,
    // Over all of it, so that every userfaultfd has its part.
    params: { pages: String(PAGES), every: '31', write: '50', ...params },
  });
  const shares = options.uffds === 'per-vcpu' ? vcpus : 1;
  const { installed } = faults.outcomes;
  const brought = installed + faults.neighbours + (background[0]?.count ?? 0);
  const isRight =
    outcome === 'completed' &&
    pages.verified === PAGES &&
    brought >= PAGES &&
    (options.around || prefetch === options.prefetch || installed === PAGES) &&
    delivery.userfaultfds === shares &&
    startup!.threads >= vcpus &&
    startup!.bytesPerThread > 0;
  return isRight ? null : JSON.stringify({ way, outcome, error, pages, faults, delivery });
}
