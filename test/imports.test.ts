/** Imports go one way: a room sees those below it, and ffi alone sees koffi. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

t.setTimeout(30_000);
const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

/** From the bottom up. Rooms of one floor may see each other: Biome keeps files free of cycles. */
const FLOORS: readonly (readonly string[])[] = [
  ['ffi', 'uapi'],
  ['kvm', 'uffd', 'measure'],
  ['memory', 'source'],
  ['fault'],
  ['vcpu'],
  ['machine'],
  ['report'],
  ['cli'],
];

/** Shapes of results, which are written down once, where they are read. No code is imported. */
const TYPES_FROM_ABOVE = [
  'machine/run-result.ts',
  'measure/latency-histogram.ts',
  'measure/published-curves.ts',
];

interface Import {
  readonly file: string;
  /** A path below src, or the name of a package. */
  readonly target: string;
  readonly typesOnly: boolean;
}

/** `import … from`, `export … from`, and `import()` with a name that is written out. */
const STATEMENT = /^(?:import|export)\s+(type\s)?(?:[^;'"]*?from\s+)?'([^']+)'/gm;
const DYNAMIC = /(?:\bimport|\brequire|createRequire\([^)]*\))\(\s*'([^']+)'/g;

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const found = (name: string, typesOnly: boolean): Import => ({
    file,
    target: name.startsWith('.') ? relative(SRC, join(SRC, dirname(file), name)) : name,
    typesOnly,
  });
  return [
    ...[...text.matchAll(STATEMENT)].map(([, types, name]) => found(name!, types !== undefined)),
    ...[...text.matchAll(DYNAMIC)].map(([, name]) => found(name!, false)),
  ];
}

const roomOf = (path: string): string => path.split(sep)[0]!;
const floorOf = (path: string): number => FLOORS.findIndex((rooms) => rooms.includes(roomOf(path)));

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.ts'),
);
const imports = files.flatMap(importsOf);

t.test('every room has its floor', async (t) => {
  const rooms = new Set(files.filter((file) => file.includes(sep)).map(roomOf));
  t.strictSame([...rooms].sort(), FLOORS.flat().sort());
  t.ok(imports.length > files.length, `${imports.length} imports of ${files.length} files`);
});

t.test('nothing is imported from above', async (t) => {
  const upwards = imports.filter(
    ({ file, target }) => floorOf(file) >= 0 && floorOf(target) > floorOf(file),
  );
  t.strictSame(
    upwards.filter(({ file, typesOnly }) => !(typesOnly && TYPES_FROM_ABOVE.includes(file))),
    [],
  );
  t.strictSame(
    [...new Set(upwards.map(({ file }) => file))].sort(),
    TYPES_FROM_ABOVE,
    'the exceptions are still needed',
  );
});

t.test('uapi sees the layouts of structs, and nothing else', async (t) => {
  const targets = imports.filter(({ file }) => roomOf(file) === 'uapi').map(({ target }) => target);
  t.strictSame([...new Set(targets)], [join('ffi', 'layout.js')]);
});

t.test('koffi is imported by ffi alone', async (t) => {
  const importers = imports.filter(({ target }) => target === 'koffi').map(({ file }) => file);
  t.ok(importers.length > 0);
  t.strictSame(
    importers.filter((file) => roomOf(file) !== 'ffi'),
    [],
  );
});
