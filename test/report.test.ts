/** What closes a test run (report.ts) says of a test file whose process died. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

/** Of tap 21: what died after its only assertion. */
const DIED = `TAP version 14
1..1
# Subtest: dist/dying.test.js
    ok 1 - fine
    # test count(1) != plan(null)
not ok 1 - dist/dying.test.js # time=1433.477ms
  ---
  exitCode: null
  signal: SIGABRT
  ...

`;

t.test('a file whose process died has failed, and its last words are shown', async (t) => {
  const folder = t.testdir({ 'results.tap': DIED, said: `${'early\n'.repeat(5000)}last words\n` });
  const report = (...files: string[]): string => {
    const program = fileURLToPath(new URL('./report.js', import.meta.url));
    const paths = files.map((name) => `${folder}/${name}`);
    const { FAULTLINE_REQUIRE_KVM: _, ...env } = process.env;
    return spawnSync(process.execPath, [program, ...paths], { env, encoding: 'utf8' }).stdout;
  };
  const shown = report('results.tap', 'said');
  t.match(shown, /said on stderr:\n[\s\S]*early\nlast words\n/);
  t.ok(shown.length < 12_000, 'of what went before, not all');
  t.match(
    shown,
    /failed: dist\/dying\.test\.js\n +ended by SIGABRT\n\n1 passed, 1 failed, 0 skipped\n$/,
  );
  for (const quiet of [report('results.tap'), report('results.tap', 'none')]) {
    t.match(quiet, /1 passed, 1 failed/);
    t.notMatch(quiet, /stderr/);
  }
});
