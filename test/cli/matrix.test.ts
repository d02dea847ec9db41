import { mkdtempSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { discardMatrix } from '../../src/memory/discard-matrix/discard-matrix.js';
import { subjects } from '../../src/memory/discard-matrix/subjects.js';
import { describeDiscardMatrix } from '../../src/report/matrix-report.js';
import { cli } from '../support/cli.js';
import { mappingsOf, openDescriptors, threadCount } from '../support/leaks.js';

t.setTimeout(60_000);

const NAMES = subjects().map(({ name }) => name);

/** A directory of its own for temporary files, which must be empty again. */
function temporaryPlace(t: { teardown(remove: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'faultline-test-'));
  t.teardown(() => rmdirSync(directory));
  return directory;
}

t.test('matrix discard --json is one JSON object with every backing', async (t) => {
  const place = temporaryPlace(t);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  const { status, stdout, stderr } = await cli(
    ['matrix', 'discard', '--json'],
    ['env', `TMPDIR=${place}`],
  );
  t.equal(status, 0, stderr);
  const { schema, host, calls, discard, mail } = JSON.parse(stdout);
  t.equal(schema, 'faultline.matrix.discard/1');
  t.match(host, { kernel: String, cpus: Number, version: String });
  t.strictSame(
    calls.map(({ backing }: { backing: string }) => backing),
    NAMES,
  );
  t.strictSame(
    discard.map(({ backing }: { backing: string }) => backing),
    NAMES,
  );
  for (const entry of [...calls, ...discard]) {
    const tried = entry.calls ?? entry.observations;
    t.ok(tried.length > 0 || entry.notes.length > 0, `${entry.backing} was tried, or says why not`);
  }
  t.equal(mail.length, 15);
  t.strictSame(readdirSync(place), [], 'no file is left');
  t.equal(readFileSync('/proc/self/mountinfo', 'utf8'), mounts, 'no mount is left');
});

t.test('matrix discard in text: every section, 100 columns', async (t) => {
  const { status, stdout, stderr } = await cli(['matrix', 'discard']);
  t.equal(status, 0, stderr);
  const lines = stdout.trimEnd().split('\n');
  t.strictSame(
    lines.filter((line) => line.length > 100),
    [],
  );
  t.strictSame(
    lines.filter((line) => line !== line.trimEnd()),
    [],
  );
  for (const section of ['What each call does', 'What discard() does', 'The mail of 14 March']) {
    t.ok(
      lines.some((line) => line.startsWith(section)),
      section,
    );
  }
  for (const name of NAMES) {
    t.equal(
      lines.filter((line) => line.startsWith(name)).length >= 2,
      true,
      `${name} has its rows`,
    );
  }
});

t.test('the text says what the result says, measured or not', async (t) => {
  const matrix = await discardMatrix();
  const words = { no: '=', partly: '~', yes: '≠' } as const;
  for (const differs of ['no', 'partly', 'yes', null] as const) {
    const mail = matrix.mail.map((entry) => ({ ...entry, differs }));
    const text = describeDiscardMatrix({ ...matrix, mail });
    const rows = text.split('\n').filter((line) => /^(MADV_\w+|PUNCH_HOLE) +\S/.test(line));
    t.equal(rows.length, 15);
    const mark = differs === null ? '–' : words[differs];
    t.ok(
      rows.every((line) => line.includes(`  ${mark}  `)),
      `marked ${mark}`,
    );
  }
  const nothing = {
    ...matrix,
    calls: matrix.calls.map((entry) => ({
      ...entry,
      calls: [],
      notes: [{ what: 'this memory', why: 'it is not there', hint: 'Get some.' }],
    })),
    discard: matrix.discard.map((entry) => ({ ...entry, observations: [] })),
  };
  const text = describeDiscardMatrix(nothing);
  t.match(text, /it is not there\.\n {2}Get some\./);
  t.match(text, /in 0 of 0 trials on 0 backings/);
});

t.test('as a library function it leaves nothing behind', async (t) => {
  const place = temporaryPlace(t);
  const before = process.env.TMPDIR;
  t.teardown(() => {
    if (before === undefined) {
      delete process.env.TMPDIR;
    } else {
      process.env.TMPDIR = before;
    }
  });
  process.env.TMPDIR = place;
  const held = () => ({
    descriptors: openDescriptors(),
    mappings: mappingsOf('faultline'),
    threads: threadCount(),
    locked: /^VmLck:.*$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[0],
    files: readdirSync(place),
  });
  await discardMatrix(); // threads that Node keeps are there from now on
  const first = held();
  const steps: string[] = [];
  await discardMatrix({ onStep: (done, total, name) => steps.push(`${done}/${total} ${name}`) });
  t.strictSame(held(), first);
  t.strictSame(
    steps,
    NAMES.map((name, index) => `${index}/${NAMES.length} ${name}`),
  );
});

t.test('matrix without a table, and with what it does not know, is a usage error', async (t) => {
  for (const args of [['matrix'], ['matrix', 'nothing'], ['matrix', 'discard', '--nothing']]) {
    const { status, stdout, stderr } = await cli(args);
    t.equal(status, 2, args.join(' '));
    t.equal(stdout, '');
    t.match(stderr, /^faultline: unknown|^Usage: faultline matrix/);
  }
});

t.test('--help has an example', async (t) => {
  for (const args of [
    ['matrix', '--help'],
    ['matrix', 'discard', '--help'],
  ]) {
    const { status, stdout } = await cli(args);
    t.equal(status, 0);
    t.match(stdout, /Example:\n {2}faultline matrix discard/);
  }
});
