import type { Command } from 'commander';
import type { Bench, BenchChoices } from '../../bench/scale/bench.js';

/** What there is to say of a bench, and of all of them together. */
export type DescribedBench = Pick<Bench, 'name' | 'description' | 'extent' | 'takes'>;

/** Behind the first line of a bench, where it takes more than one. */
const INDENT = '    ';
/** Of each example, an option that the bench takes. */
const EXAMPLE_VALUES: Readonly<Partial<Record<keyof BenchChoices, string>>> = {
  minutes: '10',
  network: '1G:100,10G:30',
  delivery: 'handler,exit',
  repeat: '7',
};

/** `delayMicroseconds` → `--delay-microseconds` */
export function optionOf(choice: string): string {
  return `--${choice.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The options that a bench takes, in words. */
export function listTaken(takes: readonly (keyof BenchChoices)[]): string {
  return takes.length === 0 ? 'nothing but --json' : takes.map(optionOf).join(', ');
}

/**
 * A line for each bench.
 *
 * @param columns of the terminal, which it is wrapped to; undefined: it is no terminal
 */
export function listBenches(
  benches: readonly DescribedBench[],
  command: Command,
  columns: number | undefined,
): string {
  const helper = command.createHelp();
  return benches
    .map(({ name, description, extent, takes }) => {
      const line = `${name}: ${description} (${extent}; takes ${listTaken(takes)})`;
      return columns === undefined
        ? `${line}\n`
        : `${helper.boxWrap(line, columns - INDENT.length).replaceAll('\n', `\n${INDENT}`)}\n`;
    })
    .join('');
}

/** Shows how benches are used, or one of them, with the options that it takes. */
export function showHelp(command: Command, bench: DescribedBench | null): void {
  if (bench !== null) {
    const shown: readonly string[] = [...bench.takes, 'json'];
    command.configureHelp({
      commandUsage: () => `faultline bench ${bench.name} [options]`,
      commandDescription: () => `${bench.description} (${bench.extent})`,
      visibleArguments: () => [],
      visibleOptions: ({ options }) =>
        options.filter((option) => shown.includes(option.attributeName())),
    });
  }
  const name = bench?.name ?? 'overhead';
  const takes = bench === null ? ['repeat'] : bench.takes;
  const [choice, value] =
    Object.entries(EXAMPLE_VALUES).find(([candidate]) =>
      (takes as readonly string[]).includes(candidate),
    ) ?? [];
  const option = choice === undefined ? '' : ` ${optionOf(choice)} ${value}`;
  command.addHelpText(
    'after',
    `\nExample:\n  faultline bench ${name}${option} --json ${name}.json`,
  );
  command.outputHelp();
}
