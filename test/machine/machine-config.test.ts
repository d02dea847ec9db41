import t from 'tap';
import { UsageError } from '../../src/ffi/errors.js';
import { completeConfig, type RunOptions } from '../../src/machine/machine-config.js';

const MIB = 2 ** 20;

t.test('only the image is needed', async (t) => {
  t.match(completeConfig({ image: 'touch' }), {
    image: 'touch',
    memoryBytes: 256 * MIB,
    backing: 'shmem',
    delivery: 'auto',
    strategy: 'no-slow-gup',
    unitBytes: 4096,
    vcpus: 1,
    handlers: 1,
    source: { kind: 'pattern', seed: 1 },
    pin: {},
    params: {},
    timeoutSeconds: 60,
    countKernelEvents: true,
  });
});

t.test('what is given is kept', async (t) => {
  const given: RunOptions = {
    image: 'a.elf',
    memoryBytes: 64 * MIB,
    backing: 'shmem',
    delivery: 'handler',
    strategy: 'no-uffd-wait',
    unitBytes: 65536,
    vcpus: 64,
    handlers: 64,
    source: { kind: 'zero' },
    pin: { vcpu: [0, 0], handler: [0] },
    params: { pages: '7' },
    timeoutSeconds: 0.5,
    countKernelEvents: false,
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
  ['--pin', 'pin', [{ vcpu: [-1] }, { vcpu: [0, 1024] }, { handler: [0.5] }]],
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

t.test('memory is a whole number of fault units', async (t) => {
  const options = { image: 'touch', unitBytes: 2 * MIB };
  t.doesNotThrow(() => completeConfig({ ...options, memoryBytes: 6 * MIB }));
  t.throws(() => completeConfig({ ...options, memoryBytes: 5 * MIB }), {
    message: /^--memory .* not a multiple of the fault unit of 2097152 bytes/,
  });
});
