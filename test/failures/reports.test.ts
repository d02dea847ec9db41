/** Commands that are cut short, or cannot write what they found: they say so. */
import t from 'tap';
import { cli } from '../support/cli.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(200_000);
const skip = kvmSkip();

for (const [args, what] of [
  [['matrix', 'discard', '--json'], 'matrix'],
  [['bench', 'deliveries', '--pages', '1024'], 'bench'],
] as const) {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    t.test(`${signal} in the middle of ${what}`, { skip, timeout: 60_000 }, async (t) => {
      let sent = false;
      const { status, stdout, stderr } = await cli(args, [], (written, child) => {
        if (!sent && written.includes('[2/')) {
          sent = true; // by its own progress, it is in the middle
          child.kill(signal);
        }
      });
      t.equal(status, 1, stderr);
      t.equal(stdout, '', 'no half of a result');
      t.match(stderr, new RegExp(`faultline: the ${what} was interrupted`));
    });
  }
}

t.test('a result that its file has no room for', { skip, timeout: 60_000 }, async (t) => {
  const args = ['bench', 'deliveries', '--pages', '256', '--repeat', '1', '--json', '/dev/full'];
  const { status, stdout, stderr } = await cli(args);
  t.equal(status, 3, stderr);
  t.match(stdout, /^kernel /m, 'the table is there');
  t.match(stderr, /--json \/dev\/full could not be written \(ENOSPC\)/);
  t.notMatch(stderr, /^\s+at |Please report/m);
});
