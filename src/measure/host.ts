import { existsSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** The machine a figure was taken on. */
export interface HostDescription {
  /** `uname -r` */
  readonly kernel: string;
  /** `kvm_intel`, `kvm_amd`, …; null where the module cannot be told. */
  readonly kvmModule: string | null;
  /** `hardware`: EPT or NPT. Null where it cannot be told. */
  readonly paging: 'hardware' | 'shadow' | null;
  readonly cpus: number;
  /** As `/proc/cpuinfo` names it; null where it does not. Absent from results of older versions. */
  readonly cpuModel?: string | null;
  /** RAM. Absent from results of older versions. */
  readonly memoryBytes?: number;
  readonly node: string;
  /** Of faultline. */
  readonly version: string;
}

/**
 * Modules that run guests, the CPU's flag that each needs, and the parameter that says whether the
 * hardware walks page tables.
 */
const KVM_MODULES = [
  { name: 'kvm_intel', cpuFlag: 'vmx', parameter: 'ept' },
  { name: 'kvm_amd', cpuFlag: 'svm', parameter: 'npt' },
  { name: 'kvm_pvm', cpuFlag: null, parameter: null },
] as const;

export function describeHost(): HostDescription {
  const module = kvmModule();
  return {
    kernel: release(),
    kvmModule: module?.name ?? null,
    paging: hostPaging(),
    cpus: cpus().length,
    cpuModel: cpus()[0]?.model.trim() || null,
    memoryBytes: totalmem(),
    node: process.version,
    version: packageVersion(),
  };
}

function kvmModule(): (typeof KVM_MODULES)[number] | undefined {
  const there = KVM_MODULES.filter(({ name }) => existsSync(`/sys/module/${name}`));
  if (there.length < 2) {
    return there[0];
  }
  // Those that are built in are there also on the other vendor's CPU.
  const flags = /^flags\s*:(.*)$/m.exec(readText('/proc/cpuinfo') ?? '')?.[1]?.split(' ') ?? [];
  return there.find(({ cpuFlag }) => cpuFlag === null || flags.includes(cpuFlag));
}

/** Null where it cannot be told. */
export function hostPaging(): HostDescription['paging'] {
  const module = kvmModule();
  if (module === undefined) {
    return null;
  }
  if (module.parameter === null) {
    return 'shadow';
  }
  const value = readText(`/sys/module/${module.name}/parameters/${module.parameter}`);
  return value === null ? null : /^[Y1]/.test(value) ? 'hardware' : 'shadow';
}

/** The version in package.json, two folders above the built file's. */
export function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null; // absent or not readable: the caller reports null
  }
}
