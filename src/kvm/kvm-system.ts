import { constants } from 'node:os';
import { Descriptor } from '../ffi/descriptor.js';
import { SyscallError, UnsupportedError } from '../ffi/errors.js';
import { errno, open } from '../ffi/libc.js';
import { ScratchPage, scratch } from '../ffi/scratch.js';
import { O_CLOEXEC, O_RDWR } from '../uapi/fcntl.js';
import {
  KVM_API_VERSION,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_X86_GET_MCE_CAP_SUPPORTED,
} from '../uapi/kvm.js';
import { kvm_cpuid_entry2, kvm_cpuid2 } from '../uapi/kvm-x86.js';
import { kvmIoctl } from './kvm-ioctl.js';
import { Vm } from './vm.js';

/** More CPUID leaves than any kernel reports today; KVM says E2BIG when they do not fit. */
const CPUID_ENTRIES = 256;

/** `/dev/kvm`: what this host's KVM can do, and where VMs come from. */
export class KvmSystem extends Descriptor {
  /** @throws UnsupportedError saying why `/dev/kvm` cannot be used and how to change that */
  static open(path = '/dev/kvm'): KvmSystem {
    const fd = open(path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) {
      throw openError(path, errno());
    }
    const system = new KvmSystem(fd);
    try {
      const version = kvmIoctl('KVM_GET_API_VERSION', fd, KVM_GET_API_VERSION, 0);
      if (version !== KVM_API_VERSION) {
        throw new UnsupportedError(`${path} speaks KVM API ${version}, not ${KVM_API_VERSION}`);
      }
      return system;
    } catch (error) {
      system.close();
      if (error instanceof SyscallError && error.errno === constants.errno.ENOTTY) {
        throw new UnsupportedError(`${path} is not a KVM device`, 'Load kvm_intel or kvm_amd.');
      }
      throw error;
    }
  }

  /** KVM_CHECK_EXTENSION: 0 where the capability is missing, else its value. */
  checkExtension(capability: number): number {
    return kvmIoctl('KVM_CHECK_EXTENSION', this.fd, KVM_CHECK_EXTENSION, capability);
  }

  createVm(): Vm {
    const fd = kvmIoctl('KVM_CREATE_VM', this.fd, KVM_CREATE_VM, 0);
    const runPageBytes = kvmIoctl('KVM_GET_VCPU_MMAP_SIZE', this.fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    return new Vm(fd, runPageBytes);
  }

  /** KVM_X86_GET_MCE_CAP_SUPPORTED: MCG_CAP bits that a guest's CPU may have. */
  machineCheckCapabilities(): number {
    const name = 'KVM_X86_GET_MCE_CAP_SUPPORTED';
    kvmIoctl(name, this.fd, KVM_X86_GET_MCE_CAP_SUPPORTED, scratch.address);
    return scratch.getU64(0);
  }

  /** KVM_GET_SUPPORTED_CPUID: a `struct kvm_cpuid2` that can be given to a vCPU as it is. */
  supportedCpuid(): ScratchPage {
    const cpuid = new ScratchPage(kvm_cpuid2.size + CPUID_ENTRIES * kvm_cpuid_entry2.size);
    cpuid.u32[kvm_cpuid2.offset.nent >> 2] = CPUID_ENTRIES;
    kvmIoctl('KVM_GET_SUPPORTED_CPUID', this.fd, KVM_GET_SUPPORTED_CPUID, cpuid.address);
    return cpuid;
  }
}

function openError(path: string, error: number): Error {
  const { ENOENT, EACCES, EPERM, ENODEV, ENXIO } = constants.errno;
  if (error === ENOENT || error === ENODEV || error === ENXIO) {
    return new UnsupportedError(
      `${path} does not exist`,
      'Load kvm_intel or kvm_amd (modprobe), enable virtualization in the firmware, or pass the device into the container.',
    );
  }
  if (error === EACCES || error === EPERM) {
    return new UnsupportedError(
      `no permission to open ${path}`,
      'Join the group kvm (usermod -aG kvm $USER, then log in again) or run as root.',
    );
  }
  return new SyscallError(`open of ${path}`, error);
}
