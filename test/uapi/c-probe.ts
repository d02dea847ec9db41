/** Asks the C compiler for the value of expressions, without knowing which of them it will accept. */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const compiler = process.env.CC ?? 'gcc';

/** Why nothing can be compared on this machine, or false. */
export function missing(headers: readonly string[]): string | false {
  const source = headers.map((header) => `#include <${header}>\n`).join('');
  const { error, status, stderr } = spawnSync(
    compiler,
    ['-E', '-D_GNU_SOURCE', '-o', '/dev/null', '-'],
    { input: source, encoding: 'utf8' },
  );
  if (error) {
    return `cannot run ${compiler}: ${error.message}`;
  }
  return status === 0 ? false : `headers are missing: ${stderr}`;
}

/**
 * Values of C expressions by label. An expression that does not compile, because the headers do not
 * know a name in it, is left out of the answer: that is how enum constants and fields are found
 * absent, which #ifdef cannot see.
 */
export function evaluate(
  directory: string,
  headers: readonly string[],
  expressions: ReadonlyMap<string, string>,
): Map<string, bigint> {
  const source = join(directory, 'probe.c');
  const program = join(directory, 'probe');
  const labels = [...expressions.keys()];
  const preamble = [
    ...headers.map((header) => `#include <${header}>`),
    '#include <stddef.h>',
    '#include <stdio.h>',
    '#include <string.h>',
    '#include <unistd.h>',
    'static void show(const char *label, int negative, unsigned long long value)',
    '{ printf("%s %s%llu\\n", label, negative ? "-" : "", negative ? -value : value); }',
  ];
  const write = (accepted: (index: number) => boolean): void => {
    // One function on one line for each expression: an error then names exactly one of them, and
    // gcc's "reported only once for each function" hides none.
    const probes = labels.map((label, index) =>
      accepted(index)
        ? `static void probe_${index}(void) { __auto_type value = (${expressions.get(label)}); show("${label}", value < 0, value); }`
        : '',
    );
    const calls = labels.map((_, index) => (accepted(index) ? `probe_${index}();` : ''));
    writeFileSync(
      source,
      [...preamble, ...probes, `int main(void) { ${calls.join(' ')} return 0; }`, ''].join('\n'),
    );
  };

  write(() => true);
  const rejected = rejectedLines(source);
  write((index) => !rejected.has(preamble.length + 1 + index));
  execFileSync(compiler, ['-D_GNU_SOURCE', '-w', '-o', program, source], { stdio: 'pipe' });

  const values = new Map<string, bigint>();
  for (const line of execFileSync(program, { encoding: 'utf8' }).trim().split('\n')) {
    const [label, value] = line.split(' ') as [string, string];
    values.set(label, value.startsWith('-') ? -BigInt(value.slice(1)) : BigInt(value));
  }
  return values;
}

function rejectedLines(source: string): Set<number> {
  const { stderr } = spawnSync(
    compiler,
    ['-D_GNU_SOURCE', '-w', '-fsyntax-only', '-fmax-errors=0', '-ftrack-macro-expansion=0', source],
    { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' }, maxBuffer: 2 ** 26 },
  );
  const lines = new Set<number>();
  for (const [, line] of stderr.matchAll(/probe\.c:(\d+):\d+: error:/g)) {
    lines.add(Number(line));
  }
  return lines;
}
