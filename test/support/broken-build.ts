/** A copy of the build in which something is broken on purpose: no switch in the product does that. */
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const DIST = fileURLToPath(new URL('../../', import.meta.url));

/** A text of some files, below `dist`, that becomes another; it must be there. */
export interface Breakage {
  readonly files: readonly string[];
  readonly text: string | RegExp;
  readonly becomes: string;
}

/** @returns the path of its command line */
export function brokenBuild(t: Test, breakages: readonly Breakage[], guest?: Breakage): string {
  const directory = t.testdir({ dist: {} });
  cpSync(join(ROOT, 'package.json'), join(directory, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  for (const part of ['src', 'bench', 'guest-images']) {
    cpSync(join(DIST, part), join(directory, 'dist', part), { recursive: true });
  }
  for (const { files, text, becomes } of breakages) {
    for (const file of files) {
      const path = join(directory, 'dist', file);
      writeFileSync(path, replaced(path, text, becomes));
    }
  }
  if (guest !== undefined) {
    assemble(directory, guest);
  }
  return join(directory, 'dist/src/cli/main.js');
}

/** Puts a changed `touch` in place of the right one. */
function assemble(directory: string, { text, becomes }: Breakage): void {
  const sources = join(directory, 'guest-images');
  cpSync(join(ROOT, 'guest-images'), sources, { recursive: true });
  const source = join(sources, 'touch/touch.S');
  writeFileSync(source, replaced(source, text, becomes));
  const object = join(directory, 'touch.o');
  const image = join(directory, 'dist/guest-images/touch.elf');
  execFileSync('gcc', ['-c', '-o', object, source]);
  execFileSync('ld', [
    ...['-n', '-static', '--no-warn-rwx-segments'],
    ...['-T', join(sources, 'image.ld'), '-o', image, object],
  ]);
}

function replaced(path: string, text: string | RegExp, becomes: string): string {
  const before = readFileSync(path, 'utf8');
  const after = before.replace(text, becomes);
  if (after === before) {
    throw new Error(`${path} has no ${text} any more: break it elsewhere`);
  }
  return after;
}
