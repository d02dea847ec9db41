import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cli } from '../support/cli.js';
import { kvmSkip, rootSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(200_000);

t.test(
  'run touch --json prints one object with every field of the contract',
  { skip },
  async (t) => {
    const { status, stdout, stderr } = await cli([
      ...['run', 'touch', '--delivery', 'exit', '--vcpus', '4', '--memory', '16M', '--json'],
    ]);
    t.equal(status, 0, stderr);
    const result = JSON.parse(stdout);
    t.match(result, {
      schema: 'faultline.run/1',
      image: 'touch',
      outcome: 'completed',
      error: null,
      config: {
        memoryBytes: 16 * 2 ** 20,
        backing: 'shmem',
        vcpus: 4,
        unitBytes: 4096,
        around: 0,
        strategy: 'no-slow-gup',
        handlers: 1,
        uffds: 'one',
        source: 'pattern:1',
        pin: {},
        params: {
          pages: 3584,
          order: 'sequential',
          write: 0,
          passes: 1,
          share: 'partition',
          seed: 1,
        },
      },
      delivery: { requested: 'exit', used: 'exit', reportedBy: 'trap-marker', why: 'asked for' },
      pages: { bytesPerPage: 4096, touched: 3584, verified: 3584, mismatched: 0 },
      faults: { count: 3584, outcomes: { installed: 3584, present: 0, populated: 0, retried: 0 } },
      latencyMicroseconds: { p50: Number, p90: Number, p99: Number, p999: Number, max: Number },
      perFault: { kvmRuns: Number, syscalls: Number, userMicroseconds: Number },
      wallSeconds: Number,
      guestSeconds: Number,
      pagesPerSecond: Number,
      host: { kernel: String, cpus: Number, node: process.version, version: String },
    });
    t.equal(result.perVcpu.length, 4);
    t.ok('memory-error' in result.faults.outcomes);
    for (const name of ['mmapLockAcquisitions', 'contextSwitches', 'kvmExits']) {
      const figure = result.perFault[name];
      t.ok(
        typeof figure === 'number' || result.notMeasured[name],
        `${name} is a number, or has a reason`,
      );
    }
  },
);

t.test('hello writes a whole line from each vCPU', { skip }, async (t) => {
  const { status, stdout } = await cli(['run', 'hello', '--vcpus', '64', '--memory', '4M']);
  t.equal(status, 0);
  const lines = stdout.split('\n').filter((line) => line.startsWith('hello'));
  const wanted = Array.from(
    { length: 64 },
    (_, index) => `hello from vCPU ${index} of 64 in real mode`,
  );
  t.strictSame(new Set(lines), new Set(wanted));
  t.equal(lines.length, 64);
});

t.test('with --json the console goes to stderr', { skip }, async (t) => {
  const { stdout, stderr } = await cli(['run', 'hello', '--memory', '4M', '--json']);
  t.doesNotThrow(() => JSON.parse(stdout));
  t.match(stderr, 'hello from vCPU 0 of 1 in real mode\n');
});

t.test('auto says which delivery it used and why', { skip }, async (t) => {
  const { stdout } = await cli(['run', 'hello', '--memory', '4M', '--json']);
  const { delivery } = JSON.parse(stdout);
  t.equal(delivery.requested, 'auto');
  t.ok(['exit', 'handler'].includes(delivery.used));
  t.ok(delivery.why.length > 20, delivery.why);
});

const refused: { args: string[]; status: number; says: RegExp }[] = [
  { args: ['run', 'nonesuch'], status: 2, says: /image nonesuch cannot be read \(ENOENT\)/ },
  {
    args: ['run', '--firmware', 'nonesuch'],
    status: 2,
    says: /--firmware nonesuch cannot be read \(ENOENT\)\.\n$/,
  },
  { args: ['run', '/'], status: 2, says: /image \/ is not a regular file/ },
  { args: ['run'], status: 2, says: /needs an IMAGE/ },
  {
    args: ['run', 'touch', '--initrd', '/dev/null'],
    status: 2,
    says: /--initrd is for a Linux kernel, and touch is none/,
  },
  {
    args: ['run', 'hello', '--cmdline', 'quiet'],
    status: 2,
    says: /--cmdline is for a Linux kernel, and hello is none/,
  },
  { args: ['run', 'touch', '--vcpus', '0'], status: 2, says: /--vcpus 0 is not/ },
  { args: ['run', 'touch', '--vcpus', '65'], status: 2, says: /--vcpus 65 is not/ },
  { args: ['run', 'touch', '--vcpus', '-1'], status: 2, says: /whole number/ },
  { args: ['run', 'touch', '--vcpus', 'many'], status: 2, says: /whole number/ },
  { args: ['run', 'touch', '--memory', '190G'], status: 3, says: /more than this host has/ },
  { args: ['run', 'touch', '--memory', '900000G'], status: 2, says: /--memory .* is not between/ },
  {
    args: ['run', 'touch', '--memory', '1M'],
    status: 2,
    says: /--memory 1M is not between 4M and 200G/,
  },
  { args: ['run', 'touch', '--memory', '64Q'], status: 2, says: /size is a whole number/ },
  { args: ['run', 'touch', '--memory', '4097K'], status: 2, says: /multiple of the fault unit/ },
  {
    args: ['run', 'touch', '--unit', '3000'],
    status: 2,
    says: /--unit 3000 is not a power of two/,
  },
  {
    args: ['run', 'touch', '--unit', '4M'],
    status: 2,
    says: /--unit cannot be used .* shmem: the largest unit is 2M/,
  },
  { args: ['run', 'touch', '--unit', '2K'], status: 2, says: /--unit 2048 is not a power of two/ },
  { args: ['run', 'touch', '--handlers', '0'], status: 2, says: /--handlers 0 is not/ },
  { args: ['run', 'touch', '--timeout', '0'], status: 2, says: /number above 0/ },
  { args: ['run', 'touch', '--source', 'pattern:x'], status: 2, says: /source is zero, pattern/ },
  { args: ['run', 'touch', '--network', '10X'], status: 2, says: /A network is BITS_PER_SECOND/ },
  { args: ['run', 'touch', '--network', '10:1'], status: 2, says: /--network 10 is not a rate/ },
  {
    args: ['run', 'touch', '--network', '1G', '--delivery', 'kernel'],
    status: 2,
    says: /--network cannot be used as given.*every page is there beforehand/,
  },
  {
    args: ['run', 'touch', '--fail-source', 'page=0x200000', '--delivery', 'kernel'],
    status: 2,
    says: /--fail-source cannot be used as given.*every page is there beforehand/,
  },
  {
    args: ['run', 'touch', '--delay-microseconds', '1', '--delivery', 'kernel'],
    status: 2,
    says: /--delay-microseconds cannot be used as given.*every page is there beforehand/,
  },
  { args: ['run', 'touch', '--delay-microseconds', '1s'], status: 2, says: /whole number/ },
  {
    args: ['bench', 'faults', '--reference', 'moorthy-2024,linus-1991'],
    status: 2,
    says: /--reference linus-1991 is not known. There are: moorthy-2024, houghton-2024/,
  },
  { args: ['bench', 'faults', '--vcpus', '1,65'], status: 2, says: /--vcpus 65 is not a whole/ },
  { args: ['bench', 'faults', '--handlers', '65'], status: 2, says: /--handlers 65 is not/ },
  { args: ['bench', 'faults', '--unit', '4K'], status: 2, says: /bench faults takes no --unit/ },
  { args: ['bench', 'faults', '--pin', 'vcpu=99'], status: 2, says: /--pin names CPU 99/ },
  {
    args: ['bench', 'faults', '--pages', '1000000', '--vcpus', '64'],
    status: 2,
    says: /--pages 1000000 for each of 64 vCPUs takes .*, and a guest has 200G at most/,
  },
  {
    args: ['bench', 'faults', '--backing', 'hugetlb-1G', '--vcpus', '1'],
    status: 3,
    says: /nothing to measure; kernel: .*its pages are 1G/,
  },
  { args: ['bench', 'all', '--repeat', '3'], status: 2, says: /bench all takes no --repeat/ },
  { args: ['bench', 'all', '--json', '/nonesuch/x'], status: 2, says: /--json .* cannot be/ },
  { args: ['run', 'touch', '--fail-source', 'page=x'], status: 2, says: /It is page=GPA/ },
  {
    args: ['run', 'touch', '--fail-source', 'page=0x10000000'],
    status: 2,
    says: /--fail-source page=0x10000000 is no address of the guest's 256M/,
  },
  { args: ['run', 'touch', '--source-retries', '1001'], status: 2, says: /--source-retries 1001/ },
  { args: ['run', 'touch', '--param', 'every=0'], status: 2, says: /every=0 is not a whole/ },
  { args: ['run', 'touch', '--pin', 'cpu=1'], status: 2, says: /A pin is/ },
  { args: ['run', 'touch', '--pin', 'vcpu=999'], status: 2, says: /CPU 999/ },
  { args: ['run', 'touch', '--param', 'pages'], status: 2, says: /parameter is K=V/ },
  {
    args: ['run', 'touch', '--param', 'pages=0'],
    status: 2,
    says: /pages=0 is not a whole number/,
  },
  { args: ['run', 'touch', '--param', 'pages=9999999'], status: 2, says: /pages=9999999 is not/ },
  { args: ['run', 'touch', '--param', 'colour=red'], status: 2, says: /no parameter colour/ },
  { args: ['run', 'touch', '--param', 'order=odd'], status: 2, says: /none of sequential, random/ },
  {
    args: ['run', 'touch', '--backing', 'paper'],
    status: 2,
    says: /--backing paper is none of anon-/,
  },
  { args: ['run', 'touch', '--delivery', 'mail'], status: 2, says: /Allowed choices/ },
  { args: ['run', 'touch', '--nonesuch'], status: 2, says: /unknown option/ },
  { args: ['run', 'touch', 'hello'], status: 2, says: /too many arguments/ },
  { args: ['nonesuch'], status: 2, says: /unknown command/ },
  { args: ['bench', 'nonesuch'], status: 2, says: /no bench nonesuch/ },
  {
    args: ['bench', 'deliveries', '--json', '/nonesuch/x'],
    status: 2,
    says: /--json .* cannot be written/,
  },
  {
    args: ['bench', 'deliveries', '--pages', '99999999999'],
    status: 2,
    says: /--pages 99999999999 takes .* of guest memory, and a guest has 200G at most/,
  },
  {
    args: ['bench', 'deliveries', '--pages', '50000000'],
    status: 3,
    says: /--pages 50000000 takes .* more than this host has/,
  },
  { args: ['bench', 'deliveries', '--pages', '0'], status: 2, says: /--pages must be/ },
  {
    args: ['bench', 'deliveries', '--unit', '4K'],
    status: 2,
    says: /deliveries takes no --unit\. It takes --pages, --repeat, --vcpus/,
  },
  { args: ['bench', 'units', '--vcpus', '2'], status: 2, says: /units takes no --vcpus/ },
  { args: ['bench', 'units', '--unit', '4K,3K'], status: 2, says: /--unit 3072 is not a power/ },
  { args: ['bench', 'units', '--network', '1G,0'], status: 2, says: /--network 0 is not a rate/ },
  { args: ['bench', 'units', '--backing', 'paper'], status: 2, says: /--backing paper is none/ },
  {
    args: ['bench', 'units', '--backing', 'hugetlb-2M', '--unit', '4K'],
    status: 3,
    says: /nothing to measure; hugetlb-2M: its pages are 2M/,
  },
];
for (const { args, status, says } of refused) {
  t.test(`${args.join(' ')}: status ${status} and one sentence`, async (t) => {
    const result = await cli(args);
    t.equal(result.status, status);
    t.equal(result.stdout, '');
    t.match(result.stderr, says);
    t.notMatch(result.stderr, /^\s+at /m, 'no stack trace');
    t.equal(result.stderr.trimEnd().split('\n').length, 1, result.stderr);
  });
}

for (const { args, code, image, status } of [
  { args: ['touch', '--memory', '1M'], code: 'usage', image: 'touch', status: 2 },
  { args: ['touch', '--nonesuch'], code: 'usage', image: 'touch', status: 2 },
  { args: [], code: 'usage', image: null, status: 2 },
  { args: ['touch', '--memory', '190G'], code: 'unsupported', image: 'touch', status: 3 },
]) {
  t.test(`an error under --json is an object on stdout: ${args.join(' ')}`, async (t) => {
    const result = await cli(['run', ...args, '--json']);
    t.equal(result.status, status);
    const { error, ...rest } = JSON.parse(result.stdout);
    t.strictSame(rest, { schema: 'faultline.run/1', image, outcome: 'error' });
    t.match(error, { code, message: /./, hint: String });
    t.ok(result.stderr.includes(error.message), 'and the same sentence on stderr');
  });
}

t.test('options that are about handlers say so where there are none', { skip }, async (t) => {
  const args = ['run', 'hello', '--memory', '4M', '--handlers', '2', '--pin', 'handler=0'];
  for (const [delivery, lines] of [
    ['exit', 2],
    ['handler', 0],
  ] as const) {
    const { status, stderr } = await cli([...args, '--delivery', delivery]);
    t.equal(status, 0, stderr);
    t.equal(stderr.split(`had no effect: delivery ${delivery}`).length - 1, lines, stderr);
  }
});

t.test('a broken image is named with the field that is wrong', async (t) => {
  const path = join(t.testdir(), 'broken.elf');
  writeFileSync(
    path,
    Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]), Buffer.alloc(200)]),
  );
  const { status, stderr } = await cli(['run', path]);
  t.equal(status, 2);
  t.match(stderr, /EI_CLASS/);
});

const inNamespace = (command: string): string[] => [
  'unshare',
  '--mount',
  'sh',
  '-c',
  `${command} && exec "$@"`,
  'sh',
];

t.test('/dev/kvm that is no KVM device: status 3', { skip: rootSkip() }, async (t) => {
  const { status, stderr } = await cli(
    ['run', 'hello'],
    inNamespace('mount --bind /dev/null /dev/kvm'),
  );
  t.equal(status, 3, stderr);
  t.match(stderr, /\/dev\/kvm is not a KVM device/);
});

t.test('no /dev/kvm: status 3, and how to get one', { skip: rootSkip() }, async (t) => {
  const hide =
    'mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9';
  const { status, stderr } = await cli(['run', 'hello'], inNamespace(hide));
  t.equal(status, 3, stderr);
  t.match(stderr, /\/dev\/kvm does not exist.*modprobe/);
});

t.test(
  'no permission for /dev/kvm: status 3, and the group to join',
  { skip: rootSkip() || skip },
  async (t) => {
    // In a mount namespace of its own: a device that its mode forbids, to a root that must obey modes.
    const forbidden =
      'mount -t tmpfs tmpfs /mnt && mknod -m 000 /mnt/kvm c 10 232 && mount --bind /mnt/kvm /dev/kvm';
    const { status, stderr } = await cli(
      ['run', 'hello'],
      [...inNamespace(forbidden), 'setpriv', '--bounding-set=-dac_override'],
    );
    t.equal(status, 3, stderr);
    t.match(stderr, /no permission to open \/dev\/kvm.*group kvm/);
  },
);

t.test('--list names the guests and their parameters', async (t) => {
  const { status, stdout } = await cli(['run', '--list']);
  t.equal(status, 0);
  t.match(stdout, /^hello: /m);
  t.match(stdout, /^touch: /m);
  t.match(stdout, /--param order=/);
});

t.test('every command explains itself', async (t) => {
  for (const args of [
    ['--help'],
    ['run', '--help'],
    ['probe', '--help'],
    ['bench', '--help'],
    ['--version'],
  ]) {
    const { status, stdout } = await cli(args);
    t.equal(status, 0, args.join(' '));
    t.ok(stdout.length > 4);
    if (args.length === 2) {
      t.match(stdout, /Example:/, `${args.join(' ')} has an example`);
    }
  }
});
