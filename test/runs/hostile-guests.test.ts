/** Guests that want the worst, by name; test/fuzz looks for more of them. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runGuest } from '../../src/machine/run-guest.js';
import { cli } from '../support/cli.js';
import { buildElf, buildNote } from '../support/elf-builder.js';
import { kvmSkip } from '../support/host.js';

const skip = kvmSkip();
t.setTimeout(120_000);
const MEMORY = 8 * 2 ** 20;

const SPIN = [0xfa, 0xeb, 0xfe]; // cli; 0: jmp 0b
const SAY_READY = [
  ...[0xba, 0xf8, 0x03], // mov $0x3f8, %dx
  ...[0xb0, 0x52, 0xee], // mov $'R', %al; out
  ...[0xb0, 0x0a, 0xee], // mov $'\n', %al; out
];

function flat(t: Test, code: readonly number[]): string {
  return join(t.testdir({ guest: Buffer.from(code) }), 'guest');
}

function elf(t: Test, code: readonly number[]): string {
  const file = buildElf({ code: Uint8Array.from(code), note: buildNote({ level: 0 }) });
  return join(t.testdir({ guest: Buffer.from(file) }), 'guest');
}

for (const mode of ['real mode', 'CPL0'] as const) {
  const image = (t: Test): string =>
    mode === 'real mode' ? flat(t, [...SAY_READY, ...SPIN]) : elf(t, [0x66, ...SAY_READY, ...SPIN]);

  t.test(`it spins with interrupts off, and the timeout ends it: ${mode}`, { skip }, async (t) => {
    const args = ['run', image(t), '--memory', '8M', '--timeout', '2', '--json'];
    const { status, stdout, stderr } = await cli(args);
    t.equal(status, 124, stderr);
    t.match(JSON.parse(stdout), { outcome: 'timeout', perVcpu: [{ end: 'stopped' }] });
  });

  t.test(`it spins with interrupts off, and SIGINT ends it: ${mode}`, { skip }, async (t) => {
    const args = ['run', image(t), '--memory', '8M', '--json'];
    let sent = false;
    const { status, stdout, stderr } = await cli(args, [], (written, child) => {
      if (!sent && written.includes('R\n')) {
        sent = true;
        child.kill('SIGINT');
      }
    });
    t.equal(status, 1, stderr);
    t.match(JSON.parse(stdout), { error: { code: 'interrupted' }, perVcpu: [{ end: 'stopped' }] });
  });
}

t.test('it triple-faults: a shutdown that says where', { skip }, async (t) => {
  const lidt = [0x0f, 0x01, 0x1c, 0x25, 0x00, 0x00, 0x20, 0x00]; // of missing memory
  const result = await runGuest({ image: elf(t, [...lidt, 0x0f, 0x0b]), memoryBytes: MEMORY });
  t.match(result, {
    outcome: 'shutdown',
    error: { code: 'shutdown', message: /vCPU 0 shut down \(triple fault\) at RIP 0x1000/ },
  });
});

t.test('it has an exception whose vector is missing', { skip }, async (t) => {
  const image = flat(t, [0x0f, 0x0b]); // ud2
  const result = await runGuest({
    image,
    memoryBytes: MEMORY,
    delivery: 'exit',
    timeoutSeconds: 10,
  });
  if (result.host.paging !== 'shadow') {
    t.comment('the processor delivers the exception itself here');
    return;
  }
  t.match(result.error, { code: 'shutdown', hint: /--delivery handler, the interrupt vectors/ });
});

t.test('its page tables point at themselves', { skip }, async (t) => {
  const tables = [
    ...[0x48, 0xc7, 0x04, 0x25, 0, 0x20, 0x01, 0, 0x07, 0x20, 0x01, 0], // movq $0x12007, 0x12000
    ...[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8], // mov %cr3, %rax and back
    ...[0x8b, 0x04, 0x25, 0, 0, 0x20, 0], // mov 0x200000, %eax
    0xf4,
  ];
  const result = await runGuest({ image: elf(t, tables), memoryBytes: MEMORY, timeoutSeconds: 2 });
  t.ok(['shutdown', 'timeout', 'error'].includes(result.outcome), result.outcome);
  t.ok(['shutdown', 'timeout', 'guest'].includes(result.error!.code), JSON.stringify(result.error));
});
