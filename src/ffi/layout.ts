/**
 * Sizes and offsets of C structs by the x86-64 System V rules, so that uapi layouts are written as
 * the kernel headers write them instead of as hand-computed numbers.
 */

/** A C scalar, an array of bytes, or a nested struct: all that a layout needs to know of a field. */
export interface FieldType {
  readonly size: number;
  readonly align: number;
}

const scalar = (size: number): FieldType => ({ size, align: size });

export const u8: FieldType = scalar(1);
export const u16: FieldType = scalar(2);
export const u32: FieldType = scalar(4);
export const s32: FieldType = scalar(4);
export const u64: FieldType = scalar(8);
export const s64: FieldType = scalar(8);

/** `type name[count]`. A count of 0 is a flexible array member. */
export const array = (type: FieldType, count: number): FieldType => ({
  size: type.size * count,
  align: type.align,
});

/** An anonymous or named union: as large as its largest member. */
export const union = (...members: readonly FieldType[]): FieldType => {
  const align = Math.max(...members.map((member) => member.align));
  const size = Math.max(...members.map((member) => member.size));
  return { size: roundUp(size, align), align };
};

/** A struct: usable as a field of another, with the byte offset of each of its own fields. */
export interface Layout<Name extends string> extends FieldType {
  /** Byte offset of each field from the start of the struct. */
  readonly offset: Readonly<Record<Name, number>>;
}

/** Lays fields out in the order given, each at its natural alignment. */
export function struct<Name extends string>(
  fields: Readonly<Record<Name, FieldType>>,
): Layout<Name> {
  const offset = {} as Record<Name, number>;
  let end = 0;
  let align = 1;
  for (const [name, type] of Object.entries(fields) as [Name, FieldType][]) {
    end = roundUp(end, type.align);
    offset[name] = end;
    end += type.size;
    align = Math.max(align, type.align);
  }
  return { size: roundUp(end, align), align, offset };
}

/** The same without gaps: `__attribute__((packed))`. */
export function packed<Name extends string>(
  fields: Readonly<Record<Name, FieldType>>,
): Layout<Name> {
  const bytes = Object.entries(fields) as [Name, FieldType][];
  return struct(
    Object.fromEntries(bytes.map(([name, { size }]) => [name, array(u8, size)])) as Record<
      Name,
      FieldType
    >,
  );
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
