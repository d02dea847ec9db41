import t from 'tap';
import type { CodeBits } from '../../src/kvm/vcpu.js';
import { disassemble } from '../../src/machine/disassemble.js';

t.setTimeout(30_000);

/** The text and the length of the first instruction. */
function decoded(bits: CodeBits, ...code: number[]): readonly [string, number] | null {
  const instruction = disassemble(Uint8Array.from(code), bits, 0xffff_ffff_8100_0001n);
  return instruction && [instruction.text, instruction.bytes.length];
}

t.test('what stops Linux under an emulator is called by its name', async (t) => {
  t.strictSame(decoded(64, 0x9b, 0x90), ['fwait', 1]);
  t.strictSame(decoded(64, 0x0f, 0x01, 0xca), ['clac', 3]);
  t.strictSame(decoded(64, 0xcc), ['int3', 1]);
  t.strictSame(decoded(64, 0x48, 0x0f, 0xae, 0x2f), ['xrstor64 (%rdi)', 4]);
  t.strictSame(decoded(64, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), ['lock cmpxchg16b (%rsi)', 5]);
  t.strictSame(decoded(64, 0xc4, 0x42, 0x69, 0xf7, 0xc0), ['shlx %edx,%r8d,%r8d', 5]);
});

t.test('the same bytes are another instruction in another mode', async (t) => {
  const code = [0x8b, 0x07, 0x90, 0x90];
  t.strictSame(decoded(16, ...code), ['mov (%bx),%ax', 2]);
  t.strictSame(decoded(32, ...code), ['mov (%edi),%eax', 2]);
  t.strictSame(decoded(64, ...code), ['mov (%rdi),%eax', 2]);
});

t.test('a jump leads where it leads from there', async (t) => {
  t.match(decoded(64, 0xeb, 0x0d)?.[0], /0xffffffff81000010/i);
});

t.test('what is none, or not all of one', async (t) => {
  t.equal(decoded(64), null);
  t.equal(decoded(64, 0x06), null);
  t.equal(decoded(64, 0x48, 0x0f), null);
});
