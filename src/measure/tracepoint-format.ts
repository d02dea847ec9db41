import { readTracepoint } from './tracefs.js';

/** Where a field is in the raw data of a tracepoint's records, in bytes. */
export interface TracepointField {
  readonly offset: number;
  readonly size: number;
}

/** What a tracepoint's `format` file says: offsets are the kernel's to choose, and have changed. */
export interface TracepointFormat {
  /** `common_type` in its records, and `config` for perf_event_open. */
  readonly id: number;
  readonly fields: Readonly<Record<string, TracepointField>>;
}

/**
 * @param text of a `format` file
 * @returns null where the file is cut short or is none
 */
export function parseTracepointFormat(text: string): TracepointFormat | null {
  const [, id] = /^ID: (\d+)$/m.exec(text) ?? [];
  if (id === undefined || !/^print fmt: /m.test(text)) {
    return null; // the print format comes last
  }
  const fields: Record<string, TracepointField> = {};
  for (const [, name, offset, size] of text.matchAll(
    /^\tfield:[^;]*?(\w+)(?:\[[^\]]*\])?;\s*offset:(\d+);\s*size:(\d+);/gm,
  )) {
    fields[name!] = { offset: Number(offset), size: Number(size) };
  }
  return { id: Number(id), fields };
}

/**
 * The format of a tracepoint of this kernel, or why it cannot be used.
 *
 * @param name as `system/event`
 * @param wanted names of fields and their sizes in bytes
 */
export function tracepointFormat(
  name: string,
  wanted: Readonly<Record<string, number>>,
): TracepointFormat | string {
  const file = readTracepoint(name, 'format');
  if (file.text === null) {
    return file.why;
  }
  const format = parseTracepointFormat(file.text);
  if (format === null) {
    return `the format of tracepoint ${name} cannot be understood`;
  }
  for (const [field, size] of Object.entries(wanted)) {
    if (format.fields[field]?.size !== size) {
      return `tracepoint ${name} of this kernel has no field ${field} of ${size} bytes`;
    }
  }
  return format;
}
