import { FaultlineError } from '../ffi/errors.js';
import { KvmSystem } from '../kvm/kvm-system.js';
import { MEMSLOT_EXITS, type MemslotExit, offeredMemslotExits } from '../kvm/memory-exits.js';
import { describeHost, type HostDescription } from '../measure/host.js';
import { perfEvents, ThreadPerfCounters } from '../measure/perf-counters.js';
import { BACKINGS } from '../memory/backing.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { HUGE_PAGE_BYTES } from '../memory/sizes.js';
import {
  KVM_CAP_DIRTY_LOG_RING,
  KVM_CAP_IMMEDIATE_EXIT,
  KVM_CAP_MAX_VCPUS,
  KVM_CAP_MCE,
  KVM_CAP_MEMORY_FAULT_INFO,
  KVM_CAP_PRE_FAULT_MEMORY,
  KVM_CAP_SYNC_MMU,
} from '../uapi/kvm.js';
import { UFFD_FEATURES } from '../uffd/features.js';
import { Userfaultfd } from '../uffd/userfaultfd.js';
import { chooseDelivery, DELIVERIES, DELIVERY_NAMES, prepareMemory } from './delivery.js';

/** One thing a host may have. */
export interface ProbeEntry {
  readonly group: 'kvm' | 'userfaultfd' | 'backing' | 'delivery' | 'measuring';
  readonly name: string;
  readonly available: boolean;
  /** A value, where there is one. */
  readonly detail: string;
  /** Why not, and the command or setting that would enable it; null when available. */
  readonly why: string | null;
  readonly enable: string | null;
}

/** What this host can do: schema `faultline.probe/1`. */
export interface ProbeResult {
  readonly schema: 'faultline.probe/1';
  readonly host: HostDescription;
  /** The delivery that `auto` chooses, and why; null when none is possible. */
  readonly auto: { readonly delivery: string; readonly why: string } | null;
  readonly entries: readonly ProbeEntry[];
}

/** Looks at everything by trying it. Changes nothing on the host, and never throws for what is missing. */
export function probeHost(): ProbeResult {
  const entries = [
    ...probeKvm(),
    ...probeUserfaultfd(),
    ...probeBackings(),
    ...probeDeliveries(),
    ...probeMeasuring(),
  ];
  const auto = attempt(() => {
    KvmSystem.open().close();
    return chooseDelivery(BACKINGS.shmem);
  });
  return {
    schema: 'faultline.probe/1',
    host: describeHost(),
    auto: auto instanceof FaultlineError ? null : { delivery: auto.delivery.name, why: auto.why },
    entries,
  };
}

type Group = ProbeEntry['group'];

function present(group: Group, name: string, detail = ''): ProbeEntry {
  return { group, name, available: true, detail, why: null, enable: null };
}

function absent(group: Group, name: string, why: string, enable: string): ProbeEntry {
  return { group, name, available: false, detail: '', why, enable: enable === '' ? null : enable };
}

function attempt<Result>(work: () => Result): Result | FaultlineError {
  try {
    return work();
  } catch (error) {
    if (error instanceof FaultlineError) {
      return error;
    }
    throw error;
  }
}

const CAPABILITIES = [
  ['KVM_CAP_SYNC_MMU', KVM_CAP_SYNC_MMU, 'Use Linux 2.6.27 or newer.'],
  ['KVM_CAP_IMMEDIATE_EXIT', KVM_CAP_IMMEDIATE_EXIT, 'Use Linux 4.13 or newer.'],
  ['KVM_CAP_MAX_VCPUS', KVM_CAP_MAX_VCPUS, 'Use Linux 3.0 or newer.'],
  ['KVM_CAP_MCE', KVM_CAP_MCE, 'Use Linux 2.6.31 or newer.'],
  ['KVM_CAP_MEMORY_FAULT_INFO', KVM_CAP_MEMORY_FAULT_INFO, 'Use Linux 6.8 or newer.'],
  [
    'KVM_CAP_PRE_FAULT_MEMORY',
    KVM_CAP_PRE_FAULT_MEMORY,
    'Use Linux 6.11 or newer on a CPU with EPT or NPT.',
  ],
  ['KVM_CAP_DIRTY_LOG_RING', KVM_CAP_DIRTY_LOG_RING, 'Use Linux 5.11 or newer.'],
] as const;

function probeKvm(): ProbeEntry[] {
  const system = attempt(() => KvmSystem.open());
  if (system instanceof FaultlineError) {
    return [absent('kvm', '/dev/kvm', system.message, system.hint)];
  }
  using kvm = system;
  return [
    present('kvm', '/dev/kvm', 'API 12'),
    ...CAPABILITIES.map(([name, number, enable]) => {
      const value = kvm.checkExtension(number);
      return value > 0
        ? present('kvm', name, String(value))
        : absent('kvm', name, 'this kernel or KVM module does not offer it', enable);
    }),
    ...(Object.keys(MEMSLOT_EXITS) as MemslotExit[]).map((exit) => {
      const name = `exit on ${exit} (memslot flag)`;
      return offeredMemslotExits().includes(exit)
        ? present('kvm', name, `--exit-by ${exit}`)
        : absent(
            'kvm',
            name,
            'no released kernel has it',
            'make lab builds and boots one that has.',
          );
    }),
  ];
}

/** Versions in which features appeared, as in src/uapi/userfaultfd.ts. */
const FEATURE_SINCE: Readonly<Record<string, string>> = {
  MINOR_HUGETLBFS: '5.13',
  MINOR_SHMEM: '5.14',
  EXACT_ADDRESS: '5.18',
  WP_HUGETLBFS_SHMEM: '5.19',
  WP_UNPOPULATED: '6.4',
  POISON: '6.6',
  WP_ASYNC: '6.7',
  MOVE: '6.8',
  RWP: '7.3',
  RWP_ASYNC: '7.3',
};

function probeUserfaultfd(): ProbeEntry[] {
  const opened = attempt(() => Userfaultfd.open());
  if (opened instanceof FaultlineError) {
    return [absent('userfaultfd', 'userfaultfd', opened.message, opened.hint)];
  }
  using uffd = opened;
  return [
    present('userfaultfd', 'userfaultfd', `by ${uffd.openedBy}`),
    ...UFFD_FEATURES.map(([name, bit]) =>
      (uffd.offered & bit) !== 0
        ? present('userfaultfd', `UFFD_FEATURE_${name}`)
        : absent(
            'userfaultfd',
            `UFFD_FEATURE_${name}`,
            'this kernel does not offer it',
            FEATURE_SINCE[name] === undefined ? '' : `Use Linux ${FEATURE_SINCE[name]} or newer.`,
          ),
    ),
  ];
}

function closeAll(prepared: ReturnType<typeof prepareMemory>): void {
  for (const uffd of prepared?.uffds ?? []) {
    uffd.close();
  }
}

/** Each is created with one page and registered with userfaultfd. */
function probeBackings(): ProbeEntry[] {
  return Object.values(BACKINGS).map((backing) => {
    const result = attempt(() => {
      const bytes = Math.max(backing.pageBytes, HUGE_PAGE_BYTES);
      using memory = GuestMemory.create(backing, bytes, backing.pageBytes);
      closeAll(prepareMemory(memory, DELIVERIES.handler));
    });
    return result instanceof FaultlineError
      ? absent('backing', backing.name, result.message, result.hint)
      : present('backing', backing.name, backing.description);
  });
}

/** Each delivery is prepared on a few pages of scratch memory, and needs KVM. */
function probeDeliveries(): ProbeEntry[] {
  return DELIVERY_NAMES.map((name) => {
    const delivery = DELIVERIES[name];
    const result = attempt(() => {
      KvmSystem.open().close();
      using memory = GuestMemory.create(BACKINGS.shmem, 16 * 4096, 4096);
      closeAll(prepareMemory(memory, delivery));
    });
    return result instanceof FaultlineError
      ? absent('delivery', name, result.message, result.hint)
      : present('delivery', name, delivery.description);
  });
}

/** Counts its own thread for a moment. */
function probeMeasuring(): ProbeEntry[] {
  using counters = new ThreadPerfCounters(perfEvents(true));
  counters.start();
  const { mmapLockAcquisitions, contextSwitches } = counters.stop();
  const figures = [
    ['mmap_lock acquisitions', mmapLockAcquisitions],
    ['context switches', contextSwitches],
  ] as const;
  return figures.map(([name, figure]) =>
    figure.value === null
      ? absent('measuring', name, figure.why, '')
      : present('measuring', name, 'counted per thread by perf'),
  );
}
