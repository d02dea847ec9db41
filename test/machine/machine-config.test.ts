import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';

const MIB = 2 ** 20;

t.test('only the image is needed', async (t) => {
  t.match(completeConfig({ image: 'touch' }), {
    image: 'touch',
    firmware: false,
    memoryBytes: 256 * MIB,
    backing: 'shmem',
    delivery: 'auto',
    exitBy: 'auto',
    strategy: 'no-slow-gup',
    unitBytes: 4096,
    around: 0,
    reserve: true,
    collapse: 'never',
    prefetch: null,
    discard: null,
    vcpus: 1,
    handlers: 1,
    source: { kind: 'pattern', seed: 1 },
    network: null,
    delayMicroseconds: 0,
    failSource: [],
    sourceRetries: 3,
    commandLine: '',
    initrd: null,
    pin: {},
    params: {},
    timeoutSeconds: 60,
    countKernelEvents: true,
  });
});

t.test('what is given is kept', async (t) => {
  const given: RunOptions = {
    image: 'a.elf',
    firmware: false,
    memoryBytes: 64 * MIB,
    backing: 'shmem',
    delivery: 'handler',
    exitBy: 'auto',
    strategy: 'no-uffd-wait',
    unitBytes: 65536,
    around: 15,
    reserve: true,
    collapse: 'complete',
    prefetch: { bytesPerSecond: null },
    discard: { bytesPerSecond: 4096 },
    writers: { threads: 64, perSecond: 0.5, calls: 'mixed' },
    vcpus: 64,
    handlers: 64,
    uffds: 'per-vcpu',
    source: { kind: 'zero' },
    network: { bitsPerSecond: 1e9, latencyMicroseconds: 50 },
    delayMicroseconds: 7.5,
    failSource: [{ kind: 'page', address: 0x200000, times: 2 }],
    sourceRetries: 0,
    commandLine: 'console=ttyS0',
    load: 'resident',
    initrd: 'initrd.cpio',
    pin: { vcpu: [0, 0], handler: [0] },
    params: { pages: '7' },
    timeoutSeconds: 0.5,
    poison: [0x300000],
    onMemoryError: 'inject',
    countKernelEvents: true,
    traceLocks: true,
    countFaultRetries: true,
    countKernelCalls: true,
  };
  t.strictSame(completeConfig(given), given);
});

for (const [flag, name, values] of [
  ['--backing', 'backing', ['floppy', 'toString', '']],
  ['--delivery', 'delivery', ['EXIT', '', 'none']],
  ['--strategy', 'strategy', ['', 'slow']],
  ['--unit', 'unitBytes', [0, 1, 2048, 4097, 12288, 4 * MIB, -4096, Number.NaN, Infinity]],
  ['--memory', 'memoryBytes', [0, 4 * MIB - 4096, 201 * 2 ** 30, 4 * MIB + 1, Number.NaN, -1]],
  ['--vcpus', 'vcpus', [0, 65, 1.5, -1, Number.NaN, Infinity]],
  ['--handlers', 'handlers', [0, 65, 1.5, -1, Number.NaN]],
  ['--poison', 'poison', [[-1], [256 * MIB], [0.5], [0x300000, Number.NaN]]],
  ['--uffds', 'uffds', ['', 'two']],
  [
    '--writers',
    'writers',
    [
      { threads: 65, perSecond: 1, calls: 'mixed' },
      { threads: -1, perSecond: 1, calls: 'mixed' },
      { threads: 0.5, perSecond: 1, calls: 'mixed' },
    ],
  ],
  [
    '--writer-rate',
    'writers',
    [
      { threads: 1, perSecond: 0, calls: 'mixed' },
      { threads: 1, perSecond: 1e7, calls: 'mixed' },
      { threads: 1, perSecond: Number.NaN, calls: 'mixed' },
    ],
  ],
  ['--on-memory-error', 'onMemoryError', ['', 'ignore']],
  ['--pin', 'pin', [{ vcpu: [-1] }, { vcpu: [0, 1024] }, { handler: [0.5] }]],
  ['--delay-microseconds', 'delayMicroseconds', [-1, 60_000_001, Number.NaN, Infinity]],
  ['--source-retries', 'sourceRetries', [-1, 0.5, 1001, Number.NaN]],
  [
    '--fail-source',
    'failSource',
    [
      [{ kind: 'page', address: 256 * MIB, times: null }],
      [{ kind: 'page', address: -4096, times: null }],
      [{ kind: 'page', address: 0x200000, times: 0 }],
      [{ kind: 'throw', address: Number.NaN }],
      [{ kind: 'every', requests: 0, times: null }],
      [{ kind: 'every', requests: 2, times: 0.5 }],
      [{ kind: 'delay', milliseconds: -1 }],
      [{ kind: 'delay', milliseconds: Number.POSITIVE_INFINITY }],
    ],
  ],
  [
    '--network',
    'network',
    [
      { bitsPerSecond: 0, latencyMicroseconds: 0 },
      { bitsPerSecond: 999, latencyMicroseconds: 0 },
      { bitsPerSecond: Number.NaN, latencyMicroseconds: 0 },
      { bitsPerSecond: Infinity, latencyMicroseconds: 0 },
      { bitsPerSecond: 1e9, latencyMicroseconds: -1 },
      { bitsPerSecond: 1e9, latencyMicroseconds: Number.NaN },
      { bitsPerSecond: 1e9, latencyMicroseconds: 1e9 },
    ],
  ],
  ['--around', 'around', [-1, 1.5, 16384, Number.NaN, Infinity, 'all', '3']],
  ['--collapse', 'collapse', ['', 'always', true]],
  ...(['--prefetch', '--discard'] as const).map(
    (flag) =>
      [
        flag,
        flag.slice(2),
        [{ bytesPerSecond: 0 }, { bytesPerSecond: -1 }, { bytesPerSecond: Number.NaN }],
      ] as const,
  ),
  ['--no-reserve', 'reserve', [false]],
  ['--timeout', 'timeoutSeconds', [0, -1, Number.NaN, Infinity, 2_000_001]],
  [
    '--source',
    'source',
    [
      { kind: 'pattern', seed: 1.5 },
      { kind: 'pattern', seed: 2 ** 32 },
    ],
  ],
] as const) {
  t.test(`${flag}: what cannot be used is refused by name`, async (t) => {
    for (const value of values) {
      const options = { image: 'touch', [name]: value } as unknown as RunOptions;
      t.throws(() => completeConfig(options), UsageError, JSON.stringify(value));
      t.throws(() => completeConfig(options), { message: new RegExp(`^${flag} `) });
    }
  });
}

t.test('what ends KVM_RUN asks for exit delivery, and is refused under another', async (t) => {
  const image = 'a.elf';
  t.match(completeConfig({ image, exitBy: 'missing' }), { delivery: 'exit', exitBy: 'missing' });
  t.match(completeConfig({ image }), { delivery: 'auto', exitBy: 'auto' });
  for (const delivery of ['kernel', 'handler'] as const) {
    t.throws(
      () => completeConfig({ image, delivery, exitBy: 'missing' }),
      /--exit-by missing is for delivery exit/,
    );
  }
});

t.test('memory is a whole number of fault units', async (t) => {
  const options = { image: 'touch', unitBytes: 2 * MIB };
  t.doesNotThrow(() => completeConfig({ ...options, memoryBytes: 6 * MIB }));
  t.throws(() => completeConfig({ ...options, memoryBytes: 5 * MIB }), {
    message: /^--memory .* not a multiple of the fault unit of 2097152 bytes/,
  });
});

t.test('background work has a rate of its own, or none', async (t) => {
  const config = completeConfig({
    image: 'touch',
    prefetch: { bytesPerSecond: null },
    discard: { bytesPerSecond: null },
  });
  t.strictSame(config.prefetch, { bytesPerSecond: null }, 'as fast as it goes');
  t.strictSame(config.discard, { bytesPerSecond: 64 * MIB });
  t.match(completeConfig({ image: 'touch', around: 'adaptive' }), { around: 'adaptive' });
});

for (const [flag, given] of [
  ['--around', { delivery: 'kernel', around: 1 }],
  ['--around', { unitBytes: 2 * MIB, around: 32 }],
  ['--collapse', { backing: 'hugetlb-2M', collapse: 'end' }],
  ['--prefetch', { delivery: 'kernel', prefetch: { bytesPerSecond: null } }],
  ['--discard', { delivery: 'kernel', discard: { bytesPerSecond: null } }],
  ['--no-reserve', { backing: 'tmpfs', reserve: false }],
  ['--unit', { backing: 'hugetlb-2M', unitBytes: 4096 }],
] as const) {
  t.test(`${flag}: a backing or a delivery that cannot do it is named`, async (t) => {
    const options: RunOptions = { image: 'touch', ...given };
    const { backing = 'shmem' } = options;
    t.throws(() => completeConfig(options), UsageError);
    t.throws(() => completeConfig(options), {
      message: new RegExp(
        `^${flag} cannot be used as given with --backing ${backing}( and --delivery \\w+)?: .`,
      ),
    });
  });
}
