/**
 * Closes a test run: what failed and how, what was skipped and why, what took long, what the test
 * processes said on stderr (node report.js RESULTS [STDERR]), and the totals on a line of their own.
 *
 * With FAULTLINE_REQUIRE_KVM=1 it fails when a test was skipped for want of KVM or userfaultfd
 * although /dev/kvm opens: a test that never runs proves nothing. FAULTLINE_REQUIRE_KVM=inside is for
 * results from a nested machine, which has KVM in any case, and userfaultfd with what its kernel knows.
 */
import { existsSync, readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { Parser, type Result } from 'tap-parser';
import { kvmSkip } from './support/host.js';

const [, , file, said] = process.argv as [string, string, string, string?];
/** Native stack traces have less. */
const MOST_SAID = 10_000;
const SLOWEST = 8;
const times: { seconds: number; name: string }[] = [];
let passed = 0;
const failures: { name: string; how: string }[] = [];
const skips = new Map<string, string[]>();

/** Leaves of the tree: subtests repeat what their assertions say. */
function follow(parser: Parser, path: string): void {
  let subtests = 0;
  parser.on('child', (child: Parser) => {
    subtests++;
    follow(child, child.name === '' ? path : `${path} > ${child.name}`);
  });
  parser.on('assert', (result: Result) => {
    if (path !== '' && result.time) {
      times.push({ seconds: result.time / 1000, name: `${path} > ${result.name}`.slice(3) });
    }
    if (typeof result.skip === 'string' || result.skip === true) {
      const reason = String(result.skip);
      skips.set(reason, [...(skips.get(reason) ?? []), `${path} > ${result.name}`]);
    } else if (typeof (result.diag as { signal?: unknown } | null)?.signal === 'string') {
      // A file whose process died: what failed in it may be nothing that it could still say.
      const { signal } = result.diag as { signal: string };
      failures.push({ name: `${path} > ${result.name}`.slice(3), how: `\n  ended by ${signal}` });
    } else if (subtests > 0) {
      subtests--; // closes a subtest, whose own assertions have been counted
    } else if (result.ok) {
      passed++;
    } else {
      const name = `${path} > ${result.name}`.slice(3);
      failures.push({ name, how: briefly(result.diag) });
      console.log(`\nfailed: ${name}`);
      console.log(inspect(result.diag, { depth: 4 }));
    }
  });
}

/** Where an assertion stands, and what differed. */
function briefly(diag: Result['diag']): string {
  const { at, diff, error } = (diag ?? {}) as {
    at?: { fileName?: string; lineNumber?: number };
    diff?: string;
    error?: unknown;
  };
  const where = at === undefined ? '' : `\n  at ${at.fileName}:${at.lineNumber}`;
  const lines = `${diff ?? error ?? ''}`.split('\n').filter((line) => /^[-+\w]/.test(line));
  return [where, ...lines.slice(0, 12)].join('\n  ');
}

const parser = new Parser();
follow(parser, '');
parser.end(readFileSync(file, 'utf8'));

const skipped = [...skips.values()].flat();
console.log('\nslowest:');
for (const { seconds, name } of times.sort((a, b) => b.seconds - a.seconds).slice(0, SLOWEST)) {
  console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${name}`);
}
if (skipped.length > 0) {
  console.log('\nskipped:');
  for (const [reason, names] of skips) {
    console.log(`  ${names.length} because: ${reason}`);
    for (const name of names) {
      console.log(`    ${name.replace(/^ > /, '')}`);
    }
  }
}
const stderr = said !== undefined && existsSync(said) ? readFileSync(said, 'utf8') : '';
if (stderr !== '') {
  console.log(`\nsaid on stderr:\n${stderr.slice(-MOST_SAID)}`);
}
// Once more, last: a log is read from its end, and often only its end is kept.
for (const { name, how } of failures) {
  console.log(`\nfailed: ${name}${how}`);
}
console.log(`\n${passed} passed, ${failures.length} failed, ${skipped.length} skipped`);

const required = process.env.FAULTLINE_REQUIRE_KVM;
const needed = required === 'inside' ? /\/dev\/kvm/ : /kvm|userfaultfd/i;
const unproven = [...skips.keys()].filter((reason) => needed.test(reason));
const hasKvm = required === 'inside' || (required === '1' && kvmSkip() === false);
if (hasKvm && unproven.length > 0) {
  const where = required === 'inside' ? 'in the nested machine' : 'here';
  console.error(`/dev/kvm opens ${where}, and tests were skipped: ${unproven.join('; ')}`);
  process.exitCode = 1;
}
if (passed === 0) {
  console.error('no test ran');
  process.exitCode = 1;
}
