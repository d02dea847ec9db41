import { execFile } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { BENCHES } from '../bench/scale/registry.js';
import { benchCommand } from '../src/cli/bench.js';
import { reportCommand } from '../src/cli/report.js';
import { runCommand } from '../src/cli/run.js';
import { backingTable, refusalTable } from '../src/report/backing-tables.js';
import { kvmSkip } from './support/host.js';
import { withTables } from './support/readme-tables.js';

t.setTimeout(60_000);
const root = fileURLToPath(new URL('../../', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');

t.test(
  'the example in the README runs as it stands, on the package as others import it',
  { skip: kvmSkip() },
  async (t) => {
    const [, example] = /```ts\n([\s\S]*?)```/.exec(readme) ?? [];
    t.ok(example);
    // Its one type annotation-free block is JavaScript as it stands.
    const directory = t.testdir({ 'example.mjs': example!, node_modules: {} });
    symlinkSync(root, join(directory, 'node_modules', 'faultline'));
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(directory, 'example.mjs'),
    ]);
    t.match(stdout, /^3584 pages verified, \d\.\d\d context switches per fault, p99 \d+ µs\n$/);
  },
);

t.test('its tables of backings and refusals are those of the data', async (t) => {
  for (const table of [backingTable(), refusalTable()]) {
    t.ok(readme.includes(`\n${table}\n`), 'run make readme');
  }
  t.equal(readme, withTables(readme), 'run make readme');
});

t.test('what the README lists exists', async (t) => {
  for (const { name } of BENCHES) {
    t.match(readme, `\`${name}\``, `bench ${name} is in the README`);
  }
  const options = [runCommand(), benchCommand(), reportCommand()].flatMap((command) =>
    command.options.map(({ long }) => long),
  );
  const [offered] = readme.split('## What it does not do yet');
  for (const [option] of offered!.matchAll(/--[a-z][a-z-]+/g)) {
    t.ok([...options, '--help', '--list'].includes(option), `${option} is an option`);
  }
});
