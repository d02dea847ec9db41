/** Random command lines: flags of this program with values that fit, nearly fit, or do not. */
import fc from 'fast-check';

const NUMBERS = [
  '0',
  '1',
  '-1',
  '64',
  '65',
  '4096',
  '3000',
  '1e3',
  '0x10',
  '1.5',
  ' 1',
  '+1',
  '00',
  '٣',
  'NaN',
  'Infinity',
  '9007199254740991',
  '9007199254740993',
  '18446744073709551616',
  '999999999999999999999999999999',
];
const SIZES = ['4K', '64K', '2M', '4M', '256M', '1G', '200G', '201G', '9007199254740991G', '1T'];
const VALUES: Readonly<Record<string, readonly string[]>> = {
  '--memory': [...SIZES, ...NUMBERS, '4097K', '5M'],
  '--unit': [...SIZES, ...NUMBERS],
  '--backing': [
    'shmem',
    'anon-private',
    'hugetlb-2M',
    'tmpfs-huge',
    'file:',
    'file:/dev/null',
    'file:\0',
    'file-private:/nonesuch/x',
    'constructor',
    '__proto__',
    'toString',
  ],
  '--delivery': ['auto', 'kernel', 'handler', 'exit', 'mail', 'constructor'],
  '--strategy': ['no-slow-gup', 'no-uffd-wait', 'hasOwnProperty'],
  '--around': [...NUMBERS, 'adaptive', 'Adaptive'],
  '--collapse': ['never', 'complete', 'end', 'valueOf'],
  '--prefetch': ['none', 'background', 'background:1M', 'background:', 'background:0'],
  '--discard': ['none', 'background', 'background:1M', 'background:-1', 'background:0'],
  '--writers': [...NUMBERS, '0', '2:500'],
  '--writer-rate': [...NUMBERS, '0', '1000001'],
  '--vcpus': NUMBERS,
  '--handlers': NUMBERS,
  '--source': ['zero', 'pattern', 'pattern:1', 'pattern:4294967295', 'pattern:4294967296'],
  '--network': ['10G:50', '1', '1000', '1e9', '9'.repeat(400), '1T:9999999999', '1G:0.5', '1G:'],
  '--pin': ['vcpu=0', 'vcpu=0,1;handler=1', 'vcpu=99999999999999999999', 'vcpu=;handler=0'],
  '--poison': ['0x200000', '0x200000,2M', '0x', '0xfffffffffffff', '0xffffffffffffff', ',', '2M'],
  '--on-memory-error': ['stop', 'inject', 'constructor'],
  '--fail-source': [
    'page=0x200000',
    'page=0x200000:2',
    'every=0',
    'every=100',
    'delay=50',
    'delay=999999999999999',
    'throw=1',
    'throw=1:1',
    'toString=1',
    'page=-1',
  ],
  '--source-retries': NUMBERS,
  '--param': [
    'pages=1',
    'order=random',
    'pages=',
    '=',
    '__proto__=1',
    'constructor=1',
    'a=b\x1b[2J',
  ],
  '--timeout': [...NUMBERS, '0.001', '2000001', `1${'0'.repeat(400)}`, '0.0'],
  '--pages': NUMBERS,
  '--repeat': NUMBERS,
  '--json': ['-', '/nonesuch/x', ''],
};
const SWITCHES = [
  '--no-reserve',
  '--no-count',
  '--list',
  '--help',
  '-h',
  '--version',
  '-V',
  '--',
  '-',
  '--nonesuch',
  '--memory',
  '--vcpu',
  '-v',
];
const WORDS = [
  'run',
  'run',
  'run',
  'probe',
  'bench',
  'matrix',
  'discard',
  'help',
  'touch',
  'touch',
  'hello',
  'deliveries',
  'units',
  '/',
  '/nonesuch',
  '',
  'runn',
  '__proto__',
];

/** Any text a shell can pass: what a program's arguments cannot hold is a NUL. */
export const anyText = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '\n',
    'a\nb',
    '\r',
    '\x1b[31m',
    '\u2028',
    '\u202e',
    '%s%n',
    '$(x)',
    'é',
    '😀',
    '=',
  ),
  fc.constantFrom(...NUMBERS, ...SIZES, ...Object.values(VALUES).flat()),
);

const flag = fc.constantFrom(...Object.keys(VALUES)).chain((name) => {
  const value = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...VALUES[name]!) },
    { weight: 1, arbitrary: anyText },
  );
  return fc
    .tuple(value, fc.boolean())
    .map(([text, joined]) => (joined ? [`${name}=${text}`] : [name, text]));
});

const argument = fc.oneof(
  { weight: 6, arbitrary: flag },
  { weight: 1, arbitrary: fc.constantFrom(...SWITCHES).map((text) => [text]) },
  { weight: 2, arbitrary: fc.constantFrom(...WORDS).map((text) => [text]) },
  { weight: 1, arbitrary: anyText.map((text) => [text]) },
);

const start = fc.oneof(
  { weight: 4, arbitrary: fc.constant(['run', 'touch']) },
  { weight: 2, arbitrary: fc.constantFrom(...WORDS).map((text) => [text]) },
  { weight: 1, arbitrary: fc.constant([]) },
);

export const commandLines: fc.Arbitrary<readonly string[]> = fc
  .tuple(start, fc.array(argument, { maxLength: 6 }))
  .map(([first, rest]) => [...first, ...rest.flat()]);
