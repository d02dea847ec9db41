import t from 'tap';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(60_000);

t.test('probe --json tells what is there, and for what is missing why', async (t) => {
  const { status, stdout, stderr } = await cli(['probe', '--json']);
  t.equal(status, 0, stderr);
  const { schema, entries, host } = JSON.parse(stdout);
  t.equal(schema, 'faultline.probe/1');
  t.ok(host.kernel);
  for (const entry of entries) {
    t.ok(entry.available || entry.why, `${entry.name} is there, or says why not`);
  }
  for (const name of ['kernel', 'handler', 'exit']) {
    t.ok(
      entries.find(
        (entry: { group: string; name: string }) =>
          entry.group === 'delivery' && entry.name === name,
      ),
    );
  }
});

t.test('probe agrees with what run does', { skip: kvmSkip() }, async (t) => {
  const { auto } = JSON.parse((await cli(['probe', '--json'])).stdout);
  const run = JSON.parse((await cli(['run', 'hello', '--memory', '4M', '--json'])).stdout);
  t.equal(run.delivery.used, auto.delivery);
});

t.test('probe says in words which delivery auto uses, or that none is possible', async (t) => {
  const { stdout } = await cli(['probe']);
  t.match(stdout, /--delivery auto uses|No delivery is possible/);
});
