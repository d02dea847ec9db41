import { InvalidArgumentError } from 'commander';
import type { Pin } from '../machine/machine-config.js';
import { DEFAULT_SEED, type SourceSpec } from '../source/open-source.js';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** `64M` → 67108864. K, M and G are powers of 1024. */
export function parseSize(text: string): number {
  const [, digits, unit] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit?.toUpperCase() ?? ''] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('A size is a whole number with K, M or G behind it.');
  }
  return bytes;
}

/** `256M` for 268435456. */
export function formatSize(bytes: number): string {
  for (const unit of ['G', 'M', 'K']) {
    const size = UNITS[unit]!;
    if (bytes >= size && bytes % size === 0) {
      return `${bytes / size}${unit}`;
    }
  }
  return String(bytes);
}

export function parseWhole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw new InvalidArgumentError('A whole number is wanted.');
  }
  return Number(text);
}

export function parseSeconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) === 0) {
    throw new InvalidArgumentError('A number of seconds above 0 is wanted.');
  }
  return Number(text);
}

/** `zero`, `pattern` or `pattern:SEED`. */
export function parseSource(text: string): SourceSpec {
  if (text === 'zero') {
    return { kind: 'zero' };
  }
  const found = /^pattern(?::(\d{1,10}))?$/.exec(text);
  const value = Number(found?.[1] ?? DEFAULT_SEED);
  if (found === null || value > 0xffff_ffff) {
    throw new InvalidArgumentError(
      'A source is zero, pattern or pattern:SEED, with a seed below 4294967296.',
    );
  }
  return { kind: 'pattern', seed: value };
}

/** `vcpu=0,1;handler=1` */
export function parsePin(text: string): Pin {
  const pin: { vcpu?: number[]; handler?: number[] } = {};
  for (const part of text.split(';')) {
    const [, kind, list] = /^(vcpu|handler)=(\d+(?:,\d+)*)$/.exec(part) ?? [];
    if (kind === undefined || list === undefined) {
      throw new InvalidArgumentError(
        'A pin is vcpu=CPU[,CPU…], handler=CPU[,CPU…], or both with ; between.',
      );
    }
    pin[kind as keyof Pin] = list.split(',').map(Number);
  }
  return pin;
}

/** Collects `--param K=V`, which may be given often. */
export function parseParam(
  text: string,
  previous: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const [, name, value] = /^([\w-]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new InvalidArgumentError('A parameter is K=V.');
  }
  return { ...previous, [name]: value };
}
