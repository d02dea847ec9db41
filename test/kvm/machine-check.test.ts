/** What KVM keeps of an injected machine check, read back through the MSRs that a guest reads. */
import t from 'tap';
import { ScratchPage, scratch } from '../../src/ffi/scratch.js';
import { kvmIoctl } from '../../src/kvm/kvm-ioctl.js';
import { KvmSystem } from '../../src/kvm/kvm-system.js';
import {
  injectMachineCheck,
  machineCheckVendor,
  setUpMachineChecks,
} from '../../src/kvm/machine-check.js';
import { setLongMode } from '../../src/kvm/registers.js';
import { describeHost } from '../../src/measure/host.js';
import { KVM_GET_MSRS } from '../../src/uapi/kvm.js';
import {
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_msr_entry,
  kvm_msrs,
  MSR_IA32_MC0_ADDR,
  MSR_IA32_MC0_MISC,
  MSR_IA32_MC0_STATUS,
  MSR_IA32_MCG_CAP,
  MSR_IA32_MCG_STATUS,
} from '../../src/uapi/kvm-x86.js';
import { kvmSkip } from '../support/host.js';

const options = { skip: kvmSkip(), timeout: 20_000 };

function readMsr(vcpu: number, index: number): bigint {
  scratch.clear(0, kvm_msrs.size + kvm_msr_entry.size);
  scratch.u32[kvm_msrs.offset.nmsrs >> 2] = 1;
  scratch.u32[(kvm_msrs.size + kvm_msr_entry.offset.index) >> 2] = index;
  kvmIoctl('KVM_GET_MSRS', vcpu, KVM_GET_MSRS, scratch.address);
  const data = (kvm_msrs.size + kvm_msr_entry.offset.data) >> 2;
  return BigInt(scratch.u32[data]!) | (BigInt(scratch.u32[data + 1]!) << 32n);
}

const TABLES = { gdtAddress: 0x8000, tssAddress: 0x9000, pml4Address: 0x10000 };

// Bits as the manuals number them: Intel SDM vol. 3B 16.3.2.2, AMD APM vol. 2 9.3.2.
const bit = (number: bigint): bigint => 1n << number;
const VAL_UC_EN_MISCV_ADDRV = bit(63n) | bit(61n) | bit(60n) | bit(59n) | bit(58n);

for (const [vendor, bank, status] of [
  ['intel', 1, VAL_UC_EN_MISCV_ADDRV | bit(56n) | bit(55n) | 0x134n],
  ['amd', 0, VAL_UC_EN_MISCV_ADDRV | bit(43n) | 0x134n],
] as const) {
  t.test(
    `${vendor}: the bank names the address, and what of it means something`,
    options,
    async (t) => {
      using system = KvmSystem.open();
      using vm = system.createVm();
      using vcpu = vm.createVcpu(0);
      vcpu.setCpuid(system.supportedCpuid());
      vcpu.changeSystemRegisters((sregs) => setLongMode(sregs, 3, TABLES)); // sets CR4.MCE
      const supported = system.machineCheckCapabilities();
      setUpMachineChecks(vcpu.fd, vendor, supported);
      const capabilities = readMsr(vcpu.fd, MSR_IA32_MCG_CAP);
      t.equal(capabilities & 0xffn, 10n, 'banks');
      // MCG_SER_P: AMD has no such bit, and kvm_amd takes it from whoever sets it (svm_setup_mce).
      const recovery = vendor === 'intel' && describeHost().kvmModule !== 'kvm_amd';
      t.equal((capabilities & bit(24n)) !== 0n, recovery, 'software recovery is Intel');
      injectMachineCheck(vcpu.fd, vendor, 0x12_3456_7000, 12);
      const at = (msr: number): bigint => readMsr(vcpu.fd, msr + 4 * bank);
      t.equal(at(MSR_IA32_MC0_STATUS), status);
      t.equal(at(MSR_IA32_MC0_ADDR), 0x12_3456_7000n);
      t.equal(at(MSR_IA32_MC0_MISC), (2n << 6n) | 12n, 'a physical address, from bit 12 on');
      t.equal(readMsr(vcpu.fd, MSR_IA32_MCG_STATUS), 7n, 'RIPV, EIPV, MCIP');
    },
  );
}

t.test('this KVM has what the recipe for its own CPU needs', options, async (t) => {
  using system = KvmSystem.open();
  const supported = BigInt(system.machineCheckCapabilities());
  const vendor = machineCheckVendor(system.supportedCpuid());
  const needed = vendor === 'intel' ? bit(8n) | bit(24n) : bit(8n); // MCG_CTL_P, MCG_SER_P
  t.equal(supported & needed, needed, vendor);
});

t.test('the recipe is that of the CPU the guest has', async (t) => {
  for (const [vendor, expected] of [
    ['GenuineIntel', 'intel'],
    ['AuthenticAMD', 'amd'],
    ['HygonGenuine', 'amd'],
    ['CentaurHauls', 'intel'],
  ] as const) {
    const cpuid = new ScratchPage();
    const { offset, size } = kvm_cpuid_entry2;
    cpuid.u32[kvm_cpuid2.offset.nent >> 2] = 2;
    const leaf = kvm_cpuid2.size + size; // the second: the order is not given
    cpuid.u32[(kvm_cpuid2.size + offset.function) >> 2] = 0x8000_0000;
    const bytes = new TextEncoder().encode(vendor);
    [offset.ebx, offset.edx, offset.ecx].forEach((register, index) => {
      cpuid.u8.set(bytes.subarray(index * 4, index * 4 + 4), leaf + register);
    });
    t.equal(machineCheckVendor(cpuid), expected, vendor);
  }
  t.equal(machineCheckVendor(new ScratchPage()), 'intel', 'no leaf 0 at all');
});
