import { Command } from 'commander';
import { type ProbeResult, probeHost } from '../machine/probe.js';

export function probeCommand(): Command {
  return new Command('probe')
    .description('what this host can do, and for what is missing, what would enable it')
    .option('--json', 'exactly one JSON object on stdout')
    .addHelpText('after', '\nExample:\n  faultline probe --json')
    .action((flags: { readonly json?: true }) => {
      const result = probeHost();
      process.stdout.write(
        flags.json ? `${JSON.stringify(result, null, 2)}\n` : `${describe(result)}\n`,
      );
    });
}

const GROUPS = [
  ['delivery', 'deliveries'],
  ['backing', 'backings'],
  ['kvm', 'KVM'],
  ['userfaultfd', 'userfaultfd'],
  ['measuring', 'measuring'],
] as const;

function describe({ host, auto, entries }: ProbeResult): string {
  const lines = [
    `Linux ${host.kernel}, ${host.kvmModule ?? 'unknown KVM module'}, ${host.paging ?? 'unknown'} paging, ${host.cpus} CPUs, Node ${host.node}`,
    auto === null
      ? 'No delivery is possible here: see what is missing below.'
      : `--delivery auto uses ${auto.delivery}: ${auto.why}.`,
  ];
  for (const [group, heading] of GROUPS) {
    const present = entries.filter((entry) => entry.group === group && entry.available);
    if (present.length > 0) {
      lines.push(
        '',
        heading,
        ...present.map(({ name, detail }) => `  ${name.padEnd(36)} ${detail}`.trimEnd()),
      );
    }
  }
  const missing = entries.filter(({ available }) => !available);
  if (missing.length > 0) {
    lines.push('', 'missing');
    for (const { name, why, enable } of missing) {
      lines.push(`  ${name}: ${why}.${enable === null ? '' : ` ${enable}`}`);
    }
  }
  return lines.join('\n');
}
