import { constants } from 'node:os';
import t from 'tap';
import * as uapi from '../../src/uapi/kvm-run.js';
import { describeExit, describeRunError, unemulatedCode } from '../../src/vcpu/describe-exit.js';
import { FakeRunPage } from '../support/fake-run-page.js';

t.test('an exit that is not served is named as the kernel names it', async (t) => {
  const run = new FakeRunPage();
  t.match(describeExit(run.exit(uapi.KVM_EXIT_DEBUG)), /ended with KVM_EXIT_DEBUG,/);
  t.match(
    describeExit(run.exit(uapi.KVM_EXIT_IO)),
    /ended with KVM_EXIT_IO,/,
    'not KVM_EXIT_IO_OUT',
  );
  t.match(describeExit(run.exit(uapi.KVM_EXIT_HYPERCALL)), /KVM_EXIT_HYPERCALL,/);
  t.match(describeExit(run.exit(9999)), /ended with exit reason 9999,/);
});

t.test('a failed emulation shows the bytes, where the kernel gave them', async (t) => {
  const run = new FakeRunPage();
  const { offset } = uapi.kvm_run_emulation_failure;
  const { bytes } = run;
  bytes.u32[offset.suberror >> 2] = uapi.KVM_INTERNAL_ERROR_EMULATION;
  bytes.u8.set([0x0f, 0xae, 0x05, 0x90], offset.insn_bytes);
  bytes.u8[offset.insn_size] = 3;
  const describe = (): string => describeExit(run.exit(uapi.KVM_EXIT_INTERNAL_ERROR));
  t.strictSame(unemulatedCode(run.exit(uapi.KVM_EXIT_INTERNAL_ERROR)), [], 'it says none');
  t.match(
    describe(),
    /its code may not be resident, .*--delivery handler/,
    'without the flag the bytes mean nothing',
  );
  bytes.u32[offset.flags >> 2] = uapi.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
  t.match(describe(), /bytes 0f ae 05$/);
  t.strictSame(unemulatedCode(run.page), [0x0f, 0xae, 0x05]);
  bytes.u8[offset.insn_size] = 255;
  t.match(describe(), /bytes( [0-9a-f]{2}){15}$/, 'never more than the field holds');
  bytes.u32[offset.suberror >> 2] = 3;
  t.equal(describe(), 'KVM_EXIT_INTERNAL_ERROR, suberror 3');
  t.equal(unemulatedCode(run.page), null, 'no instruction');
  bytes.u32[offset.suberror >> 2] = uapi.KVM_INTERNAL_ERROR_EMULATION;
  t.equal(unemulatedCode(run.exit(uapi.KVM_EXIT_DEBUG)), null, 'another exit');
});

t.test('a refused entry shows the hardware reason', async (t) => {
  const run = new FakeRunPage();
  run.bytes.u32[uapi.kvm_run_fail_entry.offset.hardware_entry_failure_reason >> 2] = 0x80000021;
  t.match(describeExit(run.exit(uapi.KVM_EXIT_FAIL_ENTRY)), /hardware reason 0x80000021/);
});

t.test('a failed KVM_RUN: EFAULT means a lost marker only where there are markers', async (t) => {
  const { EFAULT, EBADF } = constants.errno;
  t.match(describeRunError(EFAULT, true), /lost its trap marker/);
  t.equal(describeRunError(EFAULT, false), 'KVM_RUN failed with EFAULT');
  t.equal(describeRunError(EBADF, true), 'KVM_RUN failed with EBADF');
});
