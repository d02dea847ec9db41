/** What is said about results from nested machines, also of one that ended in the middle. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { mapPlaces } from './places.js';

const built = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** TAP of a test file, as a machine sends it. */
const PASSING = `TAP version 14
# Subtest: one
    ok 1 - right
    ok 2 - also right
    1..2
ok 1 - one # time=12.5ms

ok 2 - two # SKIP needs more than there is
1..2
`;
const FAILING = `TAP version 14
# Subtest: one
    not ok 1 - should be equal
      ---
      at:
        fileName: test/kvm/some.test.ts
        lineNumber: 7
        columnNumber: 3
      diff: |
        --- expected
        +++ actual
        @@ -1,1 +1,1 @@
        -2
        +1
      ...
    1..1
not ok 1 - one # time=3ms
1..1
`;

/** Runs the two programs that follow a run of machines. */
function reported(t: Test, commands: string, results: string) {
  const folder = t.testdir({ commands, results });
  const tap = join(folder, 'results.tap');
  const pair = [join(folder, 'commands'), join(folder, 'results')];
  const made = spawnSync(process.execPath, [built('./results.js'), tap, folder, ...pair], {
    encoding: 'utf8',
  });
  const report = spawnSync(process.execPath, [built('../report.js'), tap], {
    env: { ...process.env, FAULTLINE_REQUIRE_KVM: 'inside' },
    encoding: 'utf8',
  });
  return { table: made.stdout, status: made.status, report };
}

const sent = (command: string, output: string, status: number): string =>
  `nested: begin ${command}\n${output}nested: end ${status} 10.00 12.50 ${command}\n`;

t.test('each file has a line, with what it counted and how long it took', async (t) => {
  const commands =
    'timeout 9 node dist/test/a/one.test.js\ntimeout 9 node dist/test/a/two.test.js\n';
  const [one, two] = commands.trim().split('\n') as [string, string];
  const { table, status, report } = reported(
    t,
    commands,
    sent(one, PASSING, 0) + sent(two, FAILING, 1),
  );
  t.match(table, /test\/a\/one\.test +2 +0 +1 +2\.5 +passed/);
  t.match(table, /test\/a\/two\.test +0 +1 +0 +2\.5 +failed/);
  t.equal(status, 1);
  t.equal(reported(t, `${one}\n`, sent(one, PASSING, 0)).status, 0);
  t.match(
    report.stdout,
    /failed: test\/a\/two\.test > one > should be equal\n +at test\/kvm\/some\.test\.ts:7/,
  );
  t.match(report.stdout, /1 because: needs more than there is/);
  t.match(report.stdout, /2 passed, 1 failed, 1 skipped\n$/);
});

t.test('what did not end, never began or said nothing has failed', async (t) => {
  const commands = ['half', 'never', 'silent', 'dead'].map((name) => `node dist/test/${name}.js`);
  const [half, , silent, dead] = commands as [string, string, string, string];
  const results = [
    sent(silent, '', 0),
    sent(dead, `${PASSING}nested: stderr: Segmentation fault\n`, 139),
    `nested: begin ${half}\nTAP version 14\n# Subtest: one\n    ok 1 - right\n`,
  ];
  const { table, status, report } = reported(t, `${commands.join('\n')}\n`, results.join(''));
  t.match(table, /test\/half .*did not end/);
  t.match(table, /test\/never .*never began/);
  t.match(table, /test\/silent .*made no assertion/);
  t.match(table, /test\/dead .*ended with status 139/);
  t.equal(status, 1);
  t.match(report.stdout, /Segmentation fault/);
  t.match(report.stdout, /0 passed, 4 failed, 0 skipped\n$/);
});

t.test('a test that finds no KVM in there fails', async (t) => {
  const command = 'node dist/test/a.js';
  const output = PASSING.replace('needs more than there is', 'needs /dev/kvm: ENOENT');
  const { report } = reported(t, `${command}\n`, sent(command, output, 0));
  t.equal(report.status, 1);
  t.match(report.stderr, /opens in the nested machine.*needs \/dev\/kvm: ENOENT/);
});

t.test('places are those of what a program was made of', async (t) => {
  const map = {
    version: 3,
    sources: ['test/a/one.test.ts'],
    names: [],
    mappings: ';;EAIK', // line 3, column 3: line 5, column 6
  };
  const maps = t.testdir({ dist: { test: { 'one.js.map': JSON.stringify(map) } } });
  const stack = '      Test.<anonymous> (dist/test/one.js:3:3)\n';
  t.equal(mapPlaces(stack, maps), '      Test.<anonymous> (test/a/one.test.ts:5:6)\n');
  const at = (file: string, line: number, column: number): string =>
    `  fileName: ${file}\n  lineNumber: ${line}\n  columnNumber: ${column}\n`;
  t.equal(mapPlaces(at('dist/test/one.js', 3, 3), maps), at('test/a/one.test.ts', 5, 6));
  t.equal(mapPlaces(at('dist/test/two.js', 3, 3), maps), at('dist/test/two.js', 3, 3), 'no map');
  const oftap = '      TAP.test (node_modules/tap/tap.js:24813:20)\n';
  t.equal(mapPlaces(oftap + stack, maps), mapPlaces(stack, maps), 'tap leaves itself out');
});
