import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { SyscallError, UnsupportedError } from '../../src/ffi/errors.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import { KVM_CAP_MAX_VCPUS, KVM_CAP_SYNC_MMU, KVM_CAP_USER_MEMORY } from '../../src/uapi/kvm.js';
import { kvm_cpuid2 } from '../../src/uapi/kvm-x86.js';
import { kvmSkip, rootSkip, unprivileged } from '../support/host.js';
import { openDescriptors } from '../support/leaks.js';

const options = { skip: kvmSkip(), timeout: 20_000 };

t.test('a device that is not there: it says how to get one', async (t) => {
  const open = (): KvmSystem => KvmSystem.open('/dev/does-not-exist');
  t.throws(open, UnsupportedError);
  t.throws(open, {
    code: 'unsupported',
    message: '/dev/does-not-exist does not exist',
    hint: /modprobe.*firmware.*container/,
  });
});

t.test('a device that is not KVM is told apart, and closed', async (t) => {
  const before = openDescriptors();
  const file = `${t.testdir({ 'file.txt': '' })}/file.txt`;
  for (const path of ['/dev/null', file]) {
    const open = (): KvmSystem => KvmSystem.open(path);
    t.throws(open, UnsupportedError);
    t.throws(open, { message: `${path} is not a KVM device`, hint: /kvm_intel or kvm_amd/ });
  }
  t.strictSame(openDescriptors(), before);
});

t.test('a device that may not be opened: it says who may', { skip: rootSkip() }, async (t) => {
  const path = `${t.testdir()}/kvm`;
  writeFileSync(path, '', { mode: 0o600 });
  const open = (): KvmSystem => unprivileged(() => KvmSystem.open(path));
  t.throws(open, UnsupportedError);
  t.throws(open, { message: `no permission to open ${path}`, hint: /group kvm.*or run as root/ });
});

t.test('any other failure is named as it is', async (t) => {
  const path = t.testdir({});
  t.throws(() => KvmSystem.open(path), SyscallError);
  t.throws(() => KvmSystem.open(path), { message: `open of ${path} failed: EISDIR` });
});

t.test('capabilities: 0 for what is missing', options, async (t) => {
  using system = KvmSystem.open();
  t.ok(system.checkExtension(KVM_CAP_USER_MEMORY) > 0);
  t.ok(system.checkExtension(KVM_CAP_SYNC_MMU) > 0);
  t.ok(system.checkExtension(KVM_CAP_MAX_VCPUS) >= 1);
  t.equal(system.checkExtension(0x7fff), 0);
});

t.test('the CPUID leaves it offers can be given to a vCPU as they are', options, async (t) => {
  using system = KvmSystem.open();
  const cpuid = system.supportedCpuid();
  const leaves = cpuid.u32[kvm_cpuid2.offset.nent >> 2]!;
  t.ok(leaves > 0 && leaves <= 256, `${leaves} leaves`);
  using vm = system.createVm();
  using vcpu = vm.createVcpu(0);
  t.doesNotThrow(() => vcpu.setCpuid(cpuid));
});

t.test('whatever was opened is closed, twice over', options, async (t) => {
  const before = openDescriptors();
  const system = KvmSystem.open();
  const vm = system.createVm();
  t.equal(openDescriptors().length, before.length + 2);
  vm.close();
  vm.close();
  system.close();
  system.close();
  t.strictSame(openDescriptors(), before);
});

t.test('a closed system fails by name', options, async (t) => {
  const system = KvmSystem.open();
  system.close();
  t.throws(() => system.createVm(), {
    code: 'syscall',
    message: 'KVM_CREATE_VM failed: EBADF',
    errno: constants.errno.EBADF,
    hint: /closed/,
  });
});

t.test('signals for this process do not keep a VM from being made', options, async (t) => {
  const taken = once(process, 'SIGUSR2');
  const ignore = (): void => undefined;
  process.on('SIGUSR2', ignore);
  const sender = spawn('sh', ['-c', `while kill -USR2 ${process.pid}; do sleep 0.001; done`]);
  t.teardown(async () => {
    sender.kill();
    await once(sender, 'close');
    process.off('SIGUSR2', ignore);
  });
  await taken;
  using system = KvmSystem.open();
  for (let round = 0; round < 200; round++) {
    system.createVm().close();
  }
  t.pass('200 VMs');
});
