import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { whyNoResult } from '../../src/report/result-schema.js';
import { contentionResult, faultsResult, runResult } from '../support/bench-results.js';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(240_000);

const results = {
  'faults.json': JSON.stringify(faultsResult()),
  'contention.json': JSON.stringify(contentionResult()),
  'exit.json': JSON.stringify(runResult('exit')),
  'handler.json': JSON.stringify(runResult('handler')),
  'denied.json': JSON.stringify(
    faultsResult(undefined, [{ ...runResult('exit'), outcome: 'timeout' }]),
  ),
  'broken.json': '{"schema":',
};

t.test('report draws one page from results, and nothing else', async (t) => {
  const directory = t.testdir(results);
  const [faults, contention, out] = ['faults.json', 'contention.json', 'out.html'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  const { status, stderr } = await cli(['report', faults, contention, '--out', out]);
  t.equal(status, 0, stderr);
  const page = readFileSync(out, 'utf8');
  t.match(page, /^<!doctype html>/);
  t.match(page, 'bench faults');
  t.match(page, 'bench contention');
  t.match(page.replace(/<[^>]*>/g, ''), faultsResult().command);
  t.notMatch(page, /<script|(src|href)="(?!#|data:)|url\((?!#)|@import/, 'it refers to nothing');
});

t.test('report compares two runs in text', async (t) => {
  const directory = t.testdir(results);
  const files = ['exit.json', 'handler.json'].map((name) => join(directory, name));
  const { status, stdout } = await cli(['report', ...files]);
  t.equal(status, 0);
  t.match(stdout, /^ {2}delivery: exit in A, handler in B$/m);
  t.match(stdout, /^ {2}mmap_lock +1\.00 +– +4\.00 +– +\+300\.0% +not known$/m);
  t.notMatch(stdout, '\u001b', 'no colours where there is no terminal');
  for (const line of stdout.replaceAll(directory, '').split('\n')) {
    t.ok(line.length <= 100, line);
  }
});

t.test('report of one run is the text that the run has shown', async (t) => {
  const directory = t.testdir(results);
  const { status, stdout } = await cli(['report', join(directory, 'exit.json')]);
  t.equal(status, 0);
  t.match(stdout, /^outcome +completed$/m);
});

t.test('what cannot be used is refused in one sentence, with status 2', async (t) => {
  const directory = t.testdir(results);
  const at = (name: string): string => join(directory, name);
  const before = readFileSync(at('exit.json'), 'utf8');
  for (const [args, sentence] of [
    [[], /missing required argument/],
    [[at('none.json')], /none\.json cannot be read \(ENOENT\)\.$/],
    [[at('broken.json')], /broken\.json is no JSON: it ends too early\. /],
    [[at('faults.json'), at('contention.json')], /cannot be compared: bench faults is in/],
    [[at('exit.json'), at('exit.json'), at('exit.json')], /3 results are drawn, not compared\. /],
    [[at('exit.json'), '--out', at('exit.json')], /is one of the results\. /],
    [[''], /a name of a file is empty\. /],
    [['-'], /results are read from files, not from -\. Name a file, or \/dev\/stdin\.$/],
    [[at('denied.json')], /denied\.json contradicts itself: \/runs\/0 ended as timeout\. /],
    [[at('exit.json'), '--out', ''], /^.*--out names no file\. /],
    [[at('exit.json'), '--out', at('none/out.html')], /cannot be written \(ENOENT\)\./],
  ] as const) {
    const { status, stdout, stderr } = await cli(['report', ...args]);
    t.equal(status, 2, stderr);
    t.equal(stdout, '');
    t.match(stderr.trimEnd(), sentence);
    t.equal(stderr.trimEnd().split('\n').length, 1, 'one line');
  }
  t.equal(readFileSync(at('exit.json'), 'utf8'), before, 'a result is not written over');
});

t.test('a result that follows its schema and makes no sense is refused as well', async (t) => {
  const [first] = contentionResult().summary.rows;
  const deliveries = { ...contentionResult(), bench: 'deliveries', runs: [], summary: [] };
  const units = { units: [4096], networks: [], subjects: [], leftOut: [], rows: [] };
  for (const result of [
    deliveries,
    { ...deliveries, bench: 'units', summary: units },
    { ...contentionResult(), summary: { ...contentionResult().summary, rows: [first, first] } },
  ]) {
    const file = join(t.testdir({}), 'odd.json');
    writeFileSync(file, JSON.stringify(result));
    const text = await cli(['report', file]);
    const drawn = await cli(['report', file, '--out', '-']);
    for (const { status, stderr } of [text, drawn]) {
      t.ok(status === 0 || status === 2, `${result.bench}: ${status} ${stderr}`);
      t.notMatch(stderr, /defect|report it|\n {4}at /);
    }
  }
});

t.test(
  'what run and bench write follows the schemas, and is drawn',
  { skip: kvmSkip(), timeout: 180_000 },
  async (t) => {
    const directory = t.testdir({});
    const small = ['--memory', '8M', '--vcpus', '2'];
    for (const delivery of ['exit', 'handler']) {
      const { stdout } = await cli(['run', 'touch', ...small, '--delivery', delivery, '--json']);
      t.equal(whyNoResult(JSON.parse(stdout)), null, delivery);
      writeFileSync(join(directory, `${delivery}.json`), stdout);
    }
    const refused = await cli(['run', 'touch', '--vcpus', '999', '--json']);
    t.equal(whyNoResult(JSON.parse(refused.stdout)), null, 'a run that never began');
    for (const args of [
      ['deliveries', '--pages', '256', '--repeat', '2'],
      ['overhead', '--pages', '256', '--repeat', '1'],
      ['units', '--repeat', '1', '--backing', 'shmem', '--network', '100G:0', '--unit', '4K,2M'],
      ['soak', '--minutes', '0.01'],
      ['faults', '--pages', '256', '--repeat', '1', '--vcpus', '1,2', '--delivery', 'exit'],
      ['contention', '--pages', '256', '--repeat', '1', '--delivery', 'exit', '--writers', '0,1'],
    ]) {
      const file = join(directory, `${args[0]}.json`);
      const { status, stderr } = await cli(['bench', ...args, '--json', file]);
      t.equal(status, 0, stderr);
      t.equal(whyNoResult(JSON.parse(readFileSync(file, 'utf8'))), null, args.join(' '));
    }
    const measured = ['deliveries', 'overhead', 'units', 'soak', 'faults', 'contention'];
    const files = ['exit', 'handler', ...measured].map((name) => join(directory, `${name}.json`));
    const { status, stdout, stderr } = await cli(['report', ...files, '--out', '-']);
    t.equal(status, 0, stderr);
    t.match(stdout, /^<!doctype html>[\s\S]*<\/html>\n$/);
    const compared = await cli(['report', files[2]!, files[2]!]);
    t.match(compared.stdout, /^handler, same CPU$/m);
    t.notMatch(compared.stdout, /exceeds$/m, 'of itself it differs by nothing');
  },
);
