/** C structs laid out by hand; test/uapi compares the real ones with the headers. */
import t from 'tap';
import { array, s32, s64, struct, u8, u16, u32, u64, union } from '../../src/ffi/layout.js';

t.test('scalars are aligned to their size', async (t) => {
  for (const [type, size] of [
    [u8, 1],
    [u16, 2],
    [u32, 4],
    [s32, 4],
    [u64, 8],
    [s64, 8],
  ] as const) {
    t.strictSame(type, { size, align: size });
  }
});

t.test('struct { u8 a; u64 b; u8 c; }: a hole before b, and one behind c', async (t) => {
  const { size, align, offset } = struct({ a: u8, b: u64, c: u8 });
  t.strictSame({ size, align, offset }, { size: 24, align: 8, offset: { a: 0, b: 8, c: 16 } });
});

t.test('struct { u8 a; u8 b; u16 c; u32 d; }: no hole at all', async (t) => {
  const { size, align, offset } = struct({ a: u8, b: u8, c: u16, d: u32 });
  t.strictSame({ size, align, offset }, { size: 8, align: 4, offset: { a: 0, b: 1, c: 2, d: 4 } });
});

t.test('struct { u16 a; u8 b[3]; u16 c; }: an array is aligned as its element', async (t) => {
  const { size, offset } = struct({ a: u16, b: array(u8, 3), c: u16 });
  t.strictSame({ size, offset }, { size: 8, offset: { a: 0, b: 2, c: 6 } });
});

t.test('struct { u32 a; u64 b[]; }: a flexible array has no size, but aligns', async (t) => {
  const { size, align, offset } = struct({ a: u32, b: array(u64, 0) });
  t.strictSame({ size, align, offset }, { size: 8, align: 8, offset: { a: 0, b: 8 } });
});

t.test('union { u8 a[5]; u32 b; }: as large as its largest, rounded up', async (t) => {
  t.strictSame(union(array(u8, 5), u32), { size: 8, align: 4 });
});

t.test('struct { u8 a; struct { u16 b; u8 c; } d[2]; u8 e; }: nested and repeated', async (t) => {
  const inner = struct({ b: u16, c: u8 });
  t.equal(inner.size, 4);
  const { size, align, offset } = struct({ a: u8, d: array(inner, 2), e: u8 });
  t.strictSame({ size, align, offset }, { size: 12, align: 2, offset: { a: 0, d: 2, e: 10 } });
});

t.test('an empty struct has no size', async (t) => {
  t.match(struct({}), { size: 0, align: 1 });
});
