/**
 * Reads what nested machines have sent: prints which tests ran in there, with their result and time,
 * and makes one TAP document of them, for test/report.ts.
 *
 *   node dist/test/nested/results.js TAP MAPS COMMANDS RESULTS [COMMANDS RESULTS]...
 *
 * COMMANDS and RESULTS as for test/nested/run.sh. A command that did not end, or never began, has
 * failed. Exit status: 1 if anything has failed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { Parser } from 'tap-parser';
import { textTable } from '../../src/report/table.js';
import { mapPlaces } from './places.js';

const [tap, maps, ...pairs] = process.argv.slice(2) as [string, string, ...string[]];

interface Outcome {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number | null;
  /** What is wrong with it besides its tests. */
  readonly complaint: string | null;
  readonly output: string;
}

/** The test's file, or the command if it is something else. */
const nameOf = (command: string): string => /dist\/(test\/\S+)\.js/.exec(command)?.[1] ?? command;

/** What the machine has sent about a command. */
function outcomeOf(command: string, results: string): Outcome {
  const nothing = { name: nameOf(command), passed: 0, failed: 0, skipped: 0, seconds: null };
  const begin = `nested: begin ${command}\n`;
  const from = results.indexOf(begin);
  if (from < 0) {
    return { ...nothing, complaint: 'never began', output: '' };
  }
  const rest = results.slice(from + begin.length);
  const end = /^nested: end (\d+) (\S+) (\S+) /m.exec(rest);
  const output = mapPlaces(end === null ? rest : rest.slice(0, end.index), maps);
  if (end === null) {
    return { ...nothing, complaint: 'did not end', output };
  }
  const [, status, started, ended] = end;
  const counts = countLeaves(output);
  const quiet = counts.failed === 0 && status !== '0';
  const idle = counts.passed + counts.failed + counts.skipped === 0;
  return {
    ...counts,
    name: nothing.name,
    seconds: Number(ended) - Number(started),
    complaint: quiet ? `ended with status ${status}` : idle ? 'made no assertion' : null,
    output,
  };
}

function countLeaves(output: string): { passed: number; failed: number; skipped: number } {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const follow = (parser: Parser): void => {
    let subtests = 0;
    parser.on('child', (child: Parser) => {
      subtests++;
      follow(child);
    });
    parser.on('assert', ({ ok, skip }) => {
      if (skip !== false && skip !== undefined) {
        counts.skipped++;
      } else if (subtests > 0) {
        subtests--; // closes a subtest, whose own assertions have been counted
      } else {
        counts[ok ? 'passed' : 'failed']++;
      }
    });
  };
  const parser = new Parser();
  follow(parser);
  parser.end(output);
  return counts;
}

const outcomes: Outcome[] = [];
for (let pair = 0; pair < pairs.length; pair += 2) {
  const results = readFileSync(pairs[pair + 1]!, 'utf8').replaceAll('\r\n', '\n');
  for (const command of readFileSync(pairs[pair]!, 'utf8').split('\n')) {
    if (command !== '') {
      outcomes.push(outcomeOf(command, results));
    }
  }
}
outcomes.sort((a, b) => (a.name < b.name ? -1 : 1));

const indented = (text: string): string => text.replace(/^(?=.)/gm, '    ');
const document = outcomes.map(({ name, failed, complaint, output, seconds }, index) => {
  const ok = failed === 0 && complaint === null;
  const lines = output.replace(/^TAP version.*\n/m, '').replace(/^nested: stderr: /gm, '# ');
  const time = seconds === null ? '' : ` # time=${(seconds * 1000).toFixed(0)}ms`;
  if (complaint !== null) {
    const said = lines.trim().split('\n').slice(-20).join('\n');
    const error = JSON.stringify(`${complaint}${said === '' ? '' : `:\n${said}`}`);
    return `not ok ${index + 1} - ${name}${time}\n  ---\n  error: ${error}\n  ...\n`;
  }
  return `# Subtest: ${name}\n${indented(lines)}${ok ? '' : 'not '}ok ${index + 1} - ${name}${time}\n`;
});
writeFileSync(tap, `TAP version 14\n${document.join('')}1..${outcomes.length}\n`);

const rows = outcomes.map(({ name, passed, failed, skipped, seconds, complaint }) => [
  name,
  String(passed),
  String(failed),
  String(skipped),
  seconds?.toFixed(1) ?? '',
  complaint ?? (failed === 0 ? 'passed' : 'failed'),
]);
console.log(textTable(['in the nested machine', 'passed', 'failed', 'skipped', 's', ''], rows));
const seconds = outcomes.reduce((sum, outcome) => sum + (outcome.seconds ?? 0), 0);
console.log(`${outcomes.length} files, ${seconds.toFixed(0)} s of the machines' time`);
if (
  outcomes.length === 0 ||
  outcomes.some(({ failed, complaint }) => failed > 0 || complaint !== null)
) {
  process.exitCode = 1;
}
