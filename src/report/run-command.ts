import type { RunOptions } from '../machine/machine-config.js';
import type { RunResult } from '../machine/run-result.js';
import { nameOfFault } from '../source/faulty-source.js';
import { DEFAULT_SEED, nameOfSource } from '../source/open-source.js';

/** What a run was told, as its result says it. */
type Settings = Partial<RunResult['config']> & {
  readonly image: string;
  readonly delivery?: RunOptions['delivery'];
};

/** The command line that asks for a run, to do it again by itself. */
export function commandOf(options: RunOptions): string {
  const { source, failSource, ...rest } = options;
  return commandLine({
    ...rest,
    source: nameOfSource(source ?? { kind: 'pattern', seed: DEFAULT_SEED }),
    failSource: (failSource ?? []).map(nameOfFault),
  });
}

/** The command line of a run that was, to be pasted. */
export function commandOfRun({ image, delivery, config }: RunResult): string {
  return commandLine({ ...config, image, delivery: delivery.requested });
}

function commandLine(settings: Settings): string {
  const { source, network, writers, prefetch, discard, poison, failSource, pin, params } = settings;
  const rate = (background: NonNullable<RunOptions['prefetch']>): string =>
    background.bytesPerSecond === null ? 'background' : `background:${background.bytesPerSecond}`;
  const flags: (readonly [flag: string, value: string | number | null | false | undefined])[] = [
    ['--memory', settings.memoryBytes],
    ['--backing', settings.backing],
    ['--delivery', settings.delivery],
    ['--vcpus', settings.vcpus],
    ['--timeout', settings.timeoutSeconds],
    ['--exit-by', settings.exitBy !== 'auto' && settings.exitBy],
    ['--strategy', settings.strategy !== 'no-slow-gup' && settings.strategy],
    ['--unit', settings.unitBytes],
    ['--around', settings.around !== 0 && settings.around],
    ['--collapse', settings.collapse !== 'never' && settings.collapse],
    ['--prefetch', prefetch && rate(prefetch)],
    ['--discard', discard && rate(discard)],
    ['--uffds', settings.uffds !== 'one' && settings.uffds],
    ['--handlers', settings.handlers],
    ['--source', source],
    ['--network', network && `${network.bitsPerSecond}:${network.latencyMicroseconds}`],
    ['--delay-microseconds', settings.delayMicroseconds || null],
    ['--writers', writers?.threads],
    ['--writer-rate', writers?.perSecond],
    ['--writer-calls', writers?.calls !== 'mixed' && writers?.calls],
    ['--poison', poison?.map((gpa) => `0x${gpa.toString(16)}`).join(',')],
    ['--on-memory-error', settings.onMemoryError],
    ...(failSource ?? []).map((fault) => ['--fail-source', fault] as const),
    ['--source-retries', settings.sourceRetries],
    ['--load', settings.load !== 'auto' && settings.load],
    ['--cmdline', settings.commandLine],
    ['--initrd', settings.initrd],
    ['--pin', pin && pinText(pin)],
    ...Object.entries(params ?? {}).map(
      ([name, value]) => ['--param', `${name}=${value}`] as const,
    ),
  ];
  const words = flags.flatMap(([flag, value]) =>
    value === undefined || value === null || value === false || value === ''
      ? []
      : [flag, String(value)],
  );
  const switches = [
    ...(settings.reserve === false ? ['--no-reserve'] : []),
    ...(settings.countKernelEvents === false ? ['--no-count'] : []),
  ];
  const image = settings.firmware ? ['--firmware', settings.image] : [settings.image];
  return ['faultline', 'run', ...image, ...words, ...switches].map(quoted).join(' ');
}

function pinText({ vcpu, handler }: NonNullable<RunOptions['pin']>): string {
  const parts = Object.entries({ vcpu, handler }).filter(([, list]) => list?.length);
  return parts.map(([kind, list]) => `${kind}=${list!.join(',')}`).join(';');
}

/** A word as a POSIX shell takes it for just that. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
