/**
 * Makes one file of each program that a nested machine is to run: loading a hundred modules costs it
 * ten seconds, which is more than most tests take.
 *
 *   node dist/test/nested/bundle.js COPY MAPS PROGRAM...
 *
 * COPY: the project's copy for the machine, whose programs are replaced; MAPS: a folder that receives
 * the source maps, for {@link mapPlaces}; PROGRAM: of the build, for instance
 * dist/test/kvm/vcpu.test.js.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

/** Where the project is in the machine. */
const PROJECT_INSIDE = 'file:///faultline/';

const project = fileURLToPath(new URL('../../../', import.meta.url));
const [copy, maps, ...programs] = process.argv.slice(2) as [string, string, ...string[]];

/** Modules find files beside them by their own place, which is not that of the program. */
const places: Plugin = {
  name: 'places',
  setup: ({ onLoad }) => {
    onLoad({ filter: /\/dist\/.*\.js$/ }, ({ path }) => {
      const place = JSON.stringify(PROJECT_INSIDE + relative(project, path));
      const contents = readFileSync(path, 'utf8').replaceAll('import.meta.url', () => place);
      return { contents, loader: 'js' };
    });
  },
};

const FROM_ESM =
  'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);';

const { outputFiles } = await build({
  entryPoints: programs.map((program) => resolve(project, program)),
  outbase: project,
  outdir: resolve(copy),
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  // tap looks at the stack for what is not its own file; koffi is native.
  external: ['tap', 'koffi'],
  // What is loaded on demand stays apart, or all would be loaded at every start.
  splitting: true,
  chunkNames: 'dist/chunks/[name]-[hash]',
  sourcemap: 'external',
  banner: { js: FROM_ESM },
  plugins: [places],
  logLevel: 'error',
});
for (const { path, text } of outputFiles) {
  const isMap = path.endsWith('.map');
  const to = isMap ? join(maps, relative(resolve(copy), path)) : path;
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, isMap ? fromProject(text, dirname(path)) : text);
}

/** Its sources by their places in the project. */
function fromProject(text: string, folder: string): string {
  const map = JSON.parse(text) as { sources: string[] };
  const sources = map.sources.map((source) => relative(project, resolve(folder, source)));
  return JSON.stringify({ ...map, sources });
}
