import { UsageError } from '../ffi/errors.js';
import type { PublishedCurve } from '../report/faults-result.js';
import { fitScaling } from './scaling-law.js';

interface Publication {
  readonly reference: string;
  readonly source: string;
  readonly vcpus: readonly number[];
  /** `per-vcpu`: figures of one vCPU, to be multiplied by how many there are. */
  readonly rates: 'total' | 'per-vcpu';
  readonly curves: readonly {
    readonly label: string;
    readonly pagesPerSecond: readonly number[];
  }[];
}

const thousands = (values: readonly number[]): number[] => values.map((value) => value * 1000);

/** Tables of mails to the kvm list: all by demand_paging_test, of which this repeats the knobs. */
const PUBLICATIONS: readonly Publication[] = [
  {
    reference: 'moorthy-2024',
    source:
      'Anish Moorthy, exits on missing memory, later KVM_CAP_EXIT_ON_MISSING (kvm list, v1 to v7, 2023 and 2024): 256-core x86, demand_paging_test -b 64M -u MINOR -s shmem -a -v N -r N: one userfaultfd, as many readers as vCPUs; means of five runs',
    vcpus: [1, 2, 4, 8, 16, 32, 64, 128, 256],
    rates: 'total',
    curves: [
      {
        label: 'Moorthy 2024, userfaultfd',
        pagesPerSecond: thousands([150, 191, 210, 155, 130, 108, 86, 62, 36]),
      },
      {
        label: 'Moorthy 2024, exits',
        pagesPerSecond: thousands([340, 477, 809, 1239, 1595, 2299, 3482, 4134, 4012]),
      },
    ],
  },
  {
    reference: 'houghton-2024',
    source:
      'James Houghton, KVM Userfault v1 (kvm list, 2024): 96 CPUs, shmem; published per vCPU, here multiplied by the number of vCPUs',
    vcpus: [2, 8, 64],
    rates: 'per-vcpu',
    curves: [
      { label: 'Houghton 2024, nothing trapped', pagesPerSecond: [375130, 214635, 54420] },
      { label: 'Houghton 2024, userfaultfd, 1 reader', pagesPerSecond: [102336, 31704, 3244] },
      { label: 'Houghton 2024, exits', pagesPerSecond: [161835, 113716, 33577] },
    ],
  },
];

export const REFERENCES: readonly string[] = PUBLICATIONS.map(({ reference }) => reference);

/**
 * The curves of publications, in pages per second of all vCPUs together, each with its fit.
 *
 * @throws UsageError for one that is not known
 */
export function publishedCurves(references: readonly string[]): readonly PublishedCurve[] {
  return [...new Set(references)].flatMap((name) => {
    const publication = PUBLICATIONS.find(({ reference }) => reference === name);
    if (publication === undefined) {
      throw new UsageError(
        `--reference ${name} is not known`,
        `There are: ${REFERENCES.join(', ')}.`,
      );
    }
    const { reference, source, vcpus, rates, curves } = publication;
    return curves.map(({ label, pagesPerSecond }) => {
      const points = pagesPerSecond.map((rate, at) => ({
        vcpus: vcpus[at]!,
        pagesPerSecond: rates === 'total' ? rate : rate * vcpus[at]!,
      }));
      return { reference, label, source, points, fit: fitScaling(points, null) };
    });
  });
}
