/** A stock Linux kernel as a guest: what names its files, and what its first process says. */
import type { Test } from 'tap';
import type { RunOptions } from '../../src/machine/machine-config.js';
import { runGuest } from '../../src/machine/run-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { describeHost } from '../../src/measure/host.js';

const MIB = 2 ** 20;

/** A kernel (bzImage or PVH) and an initramfs of busybox and test/linux/initrd/init. */
export const KERNEL = process.env.FAULTLINE_LINUX_KERNEL ?? '';
export const INITRD = process.env.FAULTLINE_LINUX_INITRD ?? '';

/** Why no Linux can be booted here, or false. */
export function linuxSkip(): string | false {
  if (KERNEL === '' || INITRD === '') {
    return 'FAULTLINE_LINUX_KERNEL and FAULTLINE_LINUX_INITRD name no files';
  }
  const { paging } = describeHost();
  return paging === 'hardware'
    ? false
    : `needs hardware paging: a KVM with ${paging ?? 'unknown'} paging emulates kernels, and lacks some of their instructions`;
}

/** What Debian's kernel keeps of the memory for itself, 45 MB, however much there is; and some more. */
const KERNEL_BYTES = 64 * MIB;

/** Nothing but warnings; a panic reboots at once. */
export const COMMAND_LINE = 'console=ttyS0 quiet panic=-1 mitigations=off';

export interface Boot {
  readonly result: RunResult;
  readonly console: string;
}

/**
 * Boots, and lets the first process do `then` (test/linux/initrd/init).
 *
 * @param options whatever is special about the run
 */
export async function boot(then: string, options: Partial<RunOptions> = {}): Promise<Boot> {
  let console = '';
  const result = await runGuest({
    image: KERNEL,
    initrd: INITRD,
    commandLine: `${COMMAND_LINE} then=${then}`,
    memoryBytes: 256 * MIB,
    timeoutSeconds: 250,
    ...options,
    onConsole: (text, vcpu) => {
      console += text;
      return options.onConsole?.(text, vcpu);
    },
  });
  return { result, console };
}

/** The guest came to userspace, found what it was given, and nothing of it was there beforehand. */
export function bootedWell(t: Test, { result, console }: Boot): void {
  const { config, delivery, pages, faults, perVcpu } = result;
  const said = /guest: userspace (\S+), cpus (\d+), MemTotal: (\d+) kB/.exec(console);
  t.ok(said, `its first process reports: ${JSON.stringify(console.slice(-300))}`);
  t.match(said?.[1], /^\d+\.\d+/, 'the release of its kernel');
  t.equal(Number(said?.[2]), config.vcpus, 'its vCPUs');
  const bytes = Number(said?.[3]) * 1024;
  t.ok(
    bytes > config.memoryBytes - KERNEL_BYTES && bytes < config.memoryBytes,
    `${bytes} of ${config.memoryBytes} bytes of memory, but for what the kernel keeps`,
  );
  t.equal(pages.resident, 0, 'all of its memory was missing');
  const { installed, present, ...rest } = faults.outcomes;
  const unit = config.unitBytes;
  const least = unit === 4096 && config.around === 0 ? 3000 : 32 * MIB > unit ? 10 : 1;
  t.ok(installed + present >= least, `${installed} units were brought in`);
  t.equal(rest['memory-error'], 0);
  if (delivery.used === 'exit') {
    t.equal(
      perVcpu.reduce((sum, vcpu) => sum + (vcpu.faults ?? 0), 0),
      faults.count,
      'by the vCPUs themselves',
    );
  }
}

/** One line for a log. */
export function describeBoot({ result }: Boot): string {
  const { config, delivery, faults, perVcpu, guestSeconds, startup } = result;
  const exits = perVcpu.reduce((sum, vcpu) => sum + vcpu.kvmRuns, 0);
  const ports = perVcpu.reduce((sum, vcpu) => sum + (vcpu.portAccesses ?? 0), 0);
  const messages = perVcpu.reduce((sum, vcpu) => sum + (vcpu.messages ?? 0), 0);
  return `${result.outcome}: ${delivery.used}, ${config.backing}, ${config.vcpus} vCPUs, around ${config.around}: ${guestSeconds?.toFixed(1)} s in the guest (threads ${startup?.seconds.toFixed(1)} s), ${faults.count} faults, ${exits} exits, ${ports} for ports, ${messages} messages`;
}
