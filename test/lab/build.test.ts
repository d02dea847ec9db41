/** What can be said of the lab's kernel without building it: that takes minutes, and is `make lab`. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  KVM_CAP_MEM_EXIT,
  KVM_MEM_EXIT_ON_MISSING,
  KVM_MEM_EXIT_ON_USERFAULT,
} from '../../src/uapi/kvm.js';

t.setTimeout(60_000);
const LAB = fileURLToPath(new URL('../../../guest-images/lab/', import.meta.url));
const patches = readdirSync(LAB).filter((name) => name.endsWith('.patch'));

for (const name of patches) {
  t.test(`${name}: its numbers are those that we use`, async (t) => {
    const added = readFileSync(join(LAB, name), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('+'))
      .join('\n');
    const defined = (constant: string): string | undefined =>
      new RegExp(`^\\+#define ${constant}\\s+(.*)$`, 'm').exec(added)?.[1];
    const bit = (constant: string): number =>
      1 << Number(/^\(1UL << (\d+)\)$/.exec(defined(constant) ?? '')?.[1]);
    t.equal(bit('KVM_MEM_EXIT_ON_MISSING'), KVM_MEM_EXIT_ON_MISSING);
    t.equal(bit('KVM_MEM_EXIT_ON_USERFAULT'), KVM_MEM_EXIT_ON_USERFAULT);
    t.equal(Number(defined('KVM_CAP_MEM_EXIT')), KVM_CAP_MEM_EXIT);
  });
}

function build(cache: string, environment: Record<string, string>) {
  return spawnSync('bash', [join(LAB, 'build.sh')], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: cache, XDG_CACHE_HOME: cache, ...environment },
    timeout: 50_000,
  });
}

t.test(
  'a version without a patch is refused in one sentence, with those that have one',
  async (t) => {
    const { status, stdout, stderr } = build(t.testdir(), { LAB_SOURCE: '5.10' });
    t.equal(status, 3);
    t.equal(stdout, '');
    t.match(stderr, /^lab kernel: there is no patch for Linux 5\.10, but for: .*\b6\.12\b.*\n$/);
  },
);

t.test('without apt-get there is no source to be had: one sentence', async (t) => {
  const folder = t.testdir({ bin: {} });
  const tools = join(folder, 'bin');
  for (const tool of ['bash', 'mkdir', 'flock', 'dirname', 'cat', 'awk', 'basename']) {
    const { stdout } = spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' });
    symlinkSync(stdout.trim(), join(tools, tool));
  }
  const { status, stdout, stderr } = build(folder, { PATH: tools });
  t.equal(status, 3);
  t.equal(stdout, '');
  t.equal(stderr, 'lab kernel: needs apt-get to download linux-source-6.12\n');
});
