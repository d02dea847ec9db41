/** What a run needs of its host is not permitted, or goes away while it is being set up. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { UnsupportedError } from '../../src/ffi/errors.js';
import { errno, syscall } from '../../src/ffi/libc.js';
import { ScratchPage } from '../../src/ffi/scratch.js';
import { Machine } from '../../src/machine/machine.js';
import { completeConfig } from '../../src/machine/machine-config.js';
import { cli } from '../support/cli.js';
import { kvmSkip, rootSkip, uffdSkip } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

t.setTimeout(300_000);
const skip = kvmSkip() || rootSkip();

/** A shell command in a mount namespace of its own, whose /dev has what is named here and no more. */
const withOwnDevices = (then: string): string[] => {
  const node = (name: string, minor: string): string => `mknod -m 666 /dev/${name} c ${minor}`;
  const devices = [node('null', '1 3'), node('urandom', '1 9'), node('kvm', '10 232')];
  const script = ['mount -t tmpfs tmpfs /dev', ...devices, then].join(' && ');
  return ['unshare', '--mount', 'sh', '-c', `${script} && exec "$@"`, 'sh'];
};

/** nobody, who may read everything and nothing else. */
const NOBODY = [
  ...['setpriv', '--reuid=65533', '--regid=65534', '--clear-groups'],
  ...[
    '--bounding-set=-all,+dac_override',
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
  ],
];

const sysctl = '/proc/sys/vm/unprivileged_userfaultfd';
const allowed = readFileSync(sysctl, 'utf8').trim() !== '0';
const withoutUserfaultfd = [...withOwnDevices('true'), ...NOBODY];

for (const delivery of ['exit', 'handler', 'auto'] as const) {
  t.test(
    `userfaultfd is not permitted: ${delivery}`,
    { skip: skip || (allowed && `needs ${sysctl} to be 0`), timeout: 30_000 },
    async (t) => {
      t.comment('nobody, no capability but dac_override, no /dev/userfaultfd');
      const args = ['run', 'touch', '--memory', '8M', '--delivery', delivery, '--json'];
      const { status, stdout, stderr } = await cli(args, withoutUserfaultfd);
      t.equal(status, 3, stderr);
      t.match(JSON.parse(stdout), {
        outcome: 'error',
        error: {
          code: 'unsupported',
          message: /userfaultfd is not available: \/dev\/userfaultfd says ENOENT, .*EPERM/,
          hint: /vm.unprivileged_userfaultfd=1/,
        },
      });
      t.equal(stderr.trimEnd().split('\n').length, 1, 'one sentence');
    },
  );
}

t.test(
  'userfaultfd is not permitted, and not needed',
  { skip: skip || (allowed && `needs ${sysctl} to be 0`), timeout: 30_000 },
  async (t) => {
    const args = ['run', 'touch', '--memory', '8M', '--delivery', 'kernel', '--json'];
    const { status, stdout, stderr } = await cli(args, withoutUserfaultfd);
    t.equal(status, 0, stderr);
    t.match(JSON.parse(stdout), { outcome: 'completed', pages: { mismatched: 0 } });
  },
);

t.test('/dev/kvm disappears at some moment of the start', { skip, timeout: 90_000 }, async (t) => {
  const statuses: (number | null)[] = [];
  for (let milliseconds = 0; milliseconds <= 450; milliseconds += 50) {
    const later = `(sleep ${milliseconds / 1000}; rm /dev/kvm) >/dev/null 2>&1 & true`;
    const result = await cli(
      ['run', 'touch', '--memory', '8M', '--param', 'pages=64', '--json'],
      withOwnDevices(`{ ${later}; }`),
    );
    t.equal(result.signal, null);
    t.ok(result.status === 0 || result.status === 3, `${milliseconds} ms: ${result.stderr}`);
    if (result.status === 3) {
      t.match(result.stderr, /\/dev\/kvm does not exist/);
    }
    statuses.push(result.status);
  }
  t.comment(`statuses, 0 to 450 ms: ${statuses.join(' ')}`);
  t.equal(statuses[0], 3, 'it was gone before it was opened');
});

const RLIMIT_NOFILE = 7;
const SYS_PRLIMIT64 = 302;

/** The soft limit of this process's descriptors. */
class DescriptorLimit {
  private readonly page = new ScratchPage(16);
  private readonly before: number;

  constructor() {
    this.call(0, this.page.address);
    this.before = this.page.getU64(0);
  }

  set(soft: number): void {
    this.page.setU64(0, soft); // the hard limit is still behind it
    this.call(this.page.address, 0);
  }

  restore(): void {
    this.set(this.before);
  }

  private call(set: number, get: number): void {
    if (syscall(SYS_PRLIMIT64, 0, RLIMIT_NOFILE, set, get, 0) < 0) {
      throw new Error(`prlimit64: errno ${errno()}`);
    }
  }
}

for (const delivery of ['exit', 'handler', 'kernel'] as const) {
  t.test(
    `every call that makes a descriptor fails once, from the image to the last vCPU: ${delivery}`,
    { skip: skip || uffdSkip(), timeout: 60_000 },
    async (t) => {
      const config = completeConfig({
        image: 'hello',
        memoryBytes: 4 * 2 ** 20,
        vcpus: 2,
        delivery,
      });
      new Machine(config).close(); // what is opened once and kept
      const limit = new DescriptorLimit();
      const before = openDescriptors();
      const highest = Math.max(...before.map((line) => Number.parseInt(line, 10)));
      const failures: string[] = [];
      for (let most = 3; most < highest + 40; most++) {
        let machine: Machine | null = null;
        let thrown: unknown = null;
        limit.set(most);
        try {
          machine = new Machine(config);
        } catch (error) {
          thrown = error;
        }
        limit.restore();
        machine?.close();
        t.strictSame(openDescriptors(), before, 'nothing is left open');
        if (machine !== null) {
          break;
        }
        const { code, message, hint } = thrown as UnsupportedError;
        t.equal(code, 'unsupported', message);
        t.match(hint, /open files/, message);
        failures.push(message);
      }
      t.comment([...new Set(failures)].join('; '));
      for (const call of [/^image/, /KVM_CREATE_VM/, /KVM_CREATE_VCPU/]) {
        t.ok(
          failures.some((message) => call.test(message)),
          `${call} was one of them`,
        );
      }
    },
  );
}
