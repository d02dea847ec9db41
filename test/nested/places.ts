/** Places in programs that test/nested/bundle.ts has made, as places in what they were made of. */
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { join } from 'node:path';

const known = new Map<string, SourceMap | null>();

function mapOf(maps: string, program: string): SourceMap | null {
  let map = known.get(program);
  if (map === undefined) {
    const file = join(maps, `${program}.map`);
    map = existsSync(file)
      ? new SourceMap(JSON.parse(readFileSync(file, 'utf8')) as SourceMapPayload)
      : null;
    known.set(program, map);
  }
  return map;
}

/** Line and column from 1; null for a program without a map, or a place that is nobody's. */
function origin(maps: string, program: string, line: number, column: number) {
  const entry = mapOf(maps, program)?.findEntry(line - 1, column - 1);
  return entry !== undefined && 'originalSource' in entry
    ? {
        file: entry.originalSource,
        line: entry.originalLine + 1,
        column: entry.originalColumn + 1,
      }
    : null;
}

/** tap leaves itself out of stacks, if it is not one file. */
const OF_TAP = /^.*node_modules\/tap\/tap\.js:\d+:\d+\)?\n/gm;
const IN_STACK = /\b(dist\/\S+?\.js):(\d+):(\d+)/g;
const IN_DIAGNOSTIC = /fileName: (dist\/\S+\.js)\n(\s+)lineNumber: (\d+)\n\s+columnNumber: (\d+)/g;

/** @param maps a folder with their source maps */
export function mapPlaces(tap: string, maps: string): string {
  return tap
    .replace(OF_TAP, '')
    .replace(IN_STACK, (place, program: string, line: string, column: string) => {
      const at = origin(maps, program, Number(line), Number(column));
      return at === null ? place : `${at.file}:${at.line}:${at.column}`;
    })
    .replace(
      IN_DIAGNOSTIC,
      (place, program: string, indent: string, line: string, column: string) => {
        const at = origin(maps, program, Number(line), Number(column));
        return at === null
          ? place
          : `fileName: ${at.file}\n${indent}lineNumber: ${at.line}\n${indent}columnNumber: ${at.column}`;
      },
    );
}
