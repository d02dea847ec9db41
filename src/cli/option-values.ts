import { InvalidArgumentError } from 'commander';
import type { AroundPolicy } from '../fault/around.js';
import type { Background, Pin } from '../machine/machine-config.js';
import type { SourceFault } from '../source/faulty-source.js';
import type { Network } from '../source/network-link.js';
import { type ContentsSpec, DEFAULT_SEED } from '../source/open-source.js';

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

export function parseWhole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw new InvalidArgumentError('A whole number is wanted.');
  }
  return Number(text);
}

export function parseSeconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) === 0) {
    throw new InvalidArgumentError('A number above 0 is wanted.');
  }
  return Number(text);
}

/** `0x200000,4M` → [2097152, 4194304], after those given before. */
export function parseAddresses(text: string, previous: readonly number[] = []): readonly number[] {
  const addresses = text.split(',').map((part) => {
    const address = /^0x[0-9a-f]{1,13}$/i.test(part) ? Number(part) : parseSize(part);
    if (!Number.isSafeInteger(address)) {
      throw new InvalidArgumentError('An address is 0x and hexadecimal digits, or a size.');
    }
    return address;
  });
  return [...previous, ...addresses];
}

/** `zero`, `pattern` or `pattern:SEED`. */
export function parseSource(text: string): ContentsSpec {
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

/** `page=GPA[:TIMES]`, `every=N[:TIMES]`, `delay=MILLISECONDS` or `throw=GPA`; may be given often. */
export function parseFault(
  text: string,
  previous: readonly SourceFault[] = [],
): readonly SourceFault[] {
  const [, kind, digits, times] =
    /^(\w+)=(0x[0-9a-f]{1,13}|\d{1,15})(?::(\d{1,9}))?$/i.exec(text) ?? [];
  const value = Number(digits);
  const often = times === undefined ? null : Number(times);
  switch (kind) {
    case 'page':
      return [...previous, { kind, address: value, times: often }];
    case 'every':
      return [...previous, { kind, requests: value, times: often }];
    case 'delay':
      if (often === null) {
        return [...previous, { kind, milliseconds: value }];
      }
      break;
    case 'throw':
      if (often === null) {
        return [...previous, { kind, address: value }];
      }
      break;
  }
  throw new InvalidArgumentError(
    'It is page=GPA[:TIMES], every=N[:TIMES], delay=MILLISECONDS or throw=GPA.',
  );
}

const RATES: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** `10G:50` → 10 Gbit/s, 50 µs. K, M, G and T are powers of 1000: it is a bit rate. */
export function parseNetwork(text: string): Network {
  const [, digits, unit, latency] =
    /^(\d+(?:\.\d+)?)([KMGT]?)(?::(\d+(?:\.\d+)?))?$/i.exec(text) ?? [];
  if (digits === undefined) {
    throw new InvalidArgumentError(
      'A network is BITS_PER_SECOND[:LATENCY_MICROSECONDS], as 10G:50; K, M, G are powers of 1000.',
    );
  }
  return {
    bitsPerSecond: Number(digits) * RATES[unit!.toUpperCase()]!,
    latencyMicroseconds: Number(latency ?? 0),
  };
}

/** What `parse` makes of each part of a list with commas. */
export function listOf<Value>(parse: (text: string) => Value): (text: string) => readonly Value[] {
  return (text) => [...new Set(text.split(','))].map(parse);
}

/** One of some words. */
export function oneOf<Word extends string>(words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((candidate) => candidate === text);
    if (word === undefined) {
      throw new InvalidArgumentError(`It is ${words.join(', ')}.`);
    }
    return word;
  };
}

/** A number of threads, or `vcpus`: as many as there are vCPUs. */
export function parseHandlers(text: string): number | 'vcpus' {
  return text === 'vcpus' ? text : parseWhole(text);
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

/** `none`, `background` or `background:BYTES_PER_SECOND`. */
export function parseBackground(text: string): Background | null {
  if (text === 'none') {
    return null;
  }
  const found = /^background(?::(.+))?$/.exec(text);
  if (found === null) {
    throw new InvalidArgumentError('It is none, background or background:BYTES_PER_SECOND.');
  }
  return { bytesPerSecond: found[1] === undefined ? null : parseSize(found[1]) };
}

/** A number of units, or `adaptive`. */
export function parseAround(text: string): AroundPolicy {
  if (text !== 'adaptive' && !/^\d{1,15}$/.test(text)) {
    throw new InvalidArgumentError('A whole number or adaptive is wanted.');
  }
  return text === 'adaptive' ? text : Number(text);
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
