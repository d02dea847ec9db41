import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { readResult } from '../../src/report/read-results.js';
import { faultsResult, runResult } from '../support/bench-results.js';

/** What is said of a file with these contents. */
function refusal(t: Test, contents: string | Buffer): string {
  const path = join(t.testdir({ 'result.json': contents }), 'result.json');
  try {
    readResult(path);
  } catch (error) {
    t.ok(error instanceof UsageError, String(error));
    const { message } = error as Error;
    t.ok(message.startsWith(path), 'it names the file');
    t.notOk(/\n/.test(message), 'it is one sentence');
    return message.slice(path.length + 1);
  }
  return 'taken';
}

t.test('a result is read as it was written', async (t) => {
  const path = join(t.testdir({ 'run.json': JSON.stringify(runResult()) }), 'run.json');
  t.strictSame(readResult(path), { path, name: 'run.json', result: runResult() });
});

t.test('any other file is refused in one sentence', async (t) => {
  const whole = JSON.stringify(faultsResult(), null, 2);
  t.equal(refusal(t, ''), 'is empty');
  t.equal(refusal(t, whole.slice(0, 1000)), 'is no JSON: it ends too early');
  t.equal(refusal(t, whole.slice(0, whole.length - 2)), 'is no JSON: it ends too early');
  t.equal(refusal(t, '{\n  "schema": x\n}'), 'is no JSON: it cannot be parsed');
  t.equal(refusal(t, Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0xff, 0xfe])), 'is no text in UTF-8');
  t.equal(refusal(t, '\0\0\0'), 'is no JSON: it cannot be parsed');
  t.equal(refusal(t, '{\n  "a": 1 "b"\n}'), 'is no JSON: line 2, column 10');
  t.equal(refusal(t, '[]'), 'is no result of faultline: it is no JSON object');
  t.match(refusal(t, '{"schema":"faultline.bench/1"}'), /^is no result of faultline: it must have/);
  t.match(refusal(t, `${whole}${whole}`), /^is no JSON: line \d+, column 2$/);
});

t.test('nesting as deep as one likes does no harm', async (t) => {
  const deep = '['.repeat(500_000);
  t.equal(refusal(t, deep), 'is no JSON: it ends too early');
  t.equal(
    refusal(t, `${deep}${']'.repeat(500_000)}`),
    'is no result of faultline: it is no JSON object',
  );
  const nested = `{"schema":"faultline.run/1","x":${deep}${']'.repeat(500_000)}}`;
  t.match(refusal(t, nested), /^is no result of faultline: /);
  const kept = JSON.stringify(runResult()).replace('{', `{"x":${deep}${']'.repeat(500_000)},`);
  t.equal(refusal(t, kept), 'taken', 'where additions are welcome, nobody looks');
});

t.test('what is no file, or has no end', async (t) => {
  t.throws(() => readResult('/dev/zero'), {
    message: /^\/dev\/zero is neither a file nor a pipe$/,
  });
  t.throws(() => readResult(t.testdirName), { message: /cannot be read \(ENOENT\)$/ });
  t.throws(() => readResult('/tmp'), { message: /^\/tmp is a directory$/ });
  const huge = join(t.testdir({}), 'huge.json');
  execFileSync('truncate', ['-s', '65M', huge]);
  t.throws(() => readResult(huge), { message: /has more than 64 MiB, as no result has$/ });
});

t.test('a run that never began has nothing to show', async (t) => {
  const error = { code: 'usage', message: '--vcpus 99 is too much', hint: '' };
  const failed = { schema: 'faultline.run/1', image: 'touch', outcome: 'error', error };
  t.equal(
    refusal(t, JSON.stringify(failed)),
    'is of a run that never began: --vcpus 99 is too much',
  );
});
