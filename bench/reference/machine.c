/* The VM and its vCPUs, ready to run at the image's entry point. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"

#define CR0_PE   (1ull << 0)
#define CR0_MP   (1ull << 1)
#define CR0_ET   (1ull << 4)
#define CR0_NE   (1ull << 5)
#define CR0_WP   (1ull << 16)
#define CR0_PG   (1ull << 31)
#define CR4_PAE  (1ull << 5)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

#define RFLAGS_IOPL3 0x3002 /* bit 1 is always set */

#define CPUID_ENTRIES 256

static void set_cpuid(const struct machine *machine, int vcpu)
{
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));

    if (!cpuid)
        fail(ENOMEM, "CPUID table");
    cpuid->nent = CPUID_ENTRIES;
    if (ioctl(machine->kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
        fail(errno, "KVM_GET_SUPPORTED_CPUID");
    if (ioctl(vcpu, KVM_SET_CPUID2, cpuid))
        fail(errno, "KVM_SET_CPUID2");
    free(cpuid);
}

static void set_system_registers(const struct machine *machine, int vcpu)
{
    uint8_t cpl = (uint8_t)machine->image.cpl;
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = cpl ? SELECTOR_CODE3 : SELECTOR_CODE0,
        .type = 11, .present = 1, .dpl = cpl, .s = 1, .l = 1, .g = 1,
    };
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = cpl ? SELECTOR_DATA3 : SELECTOR_DATA0,
        .type = 3, .present = 1, .dpl = cpl, .db = 1, .s = 1, .g = 1,
    };
    struct kvm_segment task = {
        .base = TSS_GPA, .limit = TSS_BYTES - 1, .type = 11, .present = 1,
    };
    struct kvm_sregs sregs;

    if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
        fail(errno, "KVM_GET_SREGS");
    sregs.cs = code;
    sregs.ss = sregs.ds = sregs.es = sregs.fs = sregs.gs = data;
    sregs.tr = task;
    sregs.ldt = (struct kvm_segment){.type = 2, .unusable = 1};
    sregs.gdt.base = GDT_GPA;
    sregs.gdt.limit = GDT_BYTES - 1;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    sregs.cr3 = PML4_GPA;
    sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    sregs.efer = EFER_LME | EFER_LMA;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
        fail(errno, "KVM_SET_SREGS");
}

static void set_registers(const struct machine *machine, int vcpu, unsigned index)
{
    struct kvm_regs regs = {
        .rip = machine->image.entry,
        .rdi = machine->image.parameters,
        .rsi = index,
        .rdx = machine->vcpu_count,
        .rflags = RFLAGS_IOPL3,
    };

    if (ioctl(vcpu, KVM_SET_REGS, &regs))
        fail(errno, "KVM_SET_REGS");
}

/* No signal is blocked inside KVM_RUN: the thread blocks outside it those that must end it. */
static void set_signal_mask(int vcpu)
{
    struct {
        struct kvm_signal_mask head;
        uint8_t set[8];
    } mask = {.head.len = 8};

    if (ioctl(vcpu, KVM_SET_SIGNAL_MASK, &mask))
        fail(errno, "KVM_SET_SIGNAL_MASK");
}

static void vcpu_open(struct machine *machine, unsigned index)
{
    struct vcpu *vcpu = &machine->vcpus[index];

    vcpu->fd = ioctl(machine->vm, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->fd < 0)
        fail(errno, "KVM_CREATE_VCPU %u", index);
    vcpu->run = mmap(NULL, machine->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED)
        fail(errno, "mmap of vCPU %u", index);
    /* Before the long-mode KVM_SET_SREGS, which is refused (EINVAL) without CPUID's LM. */
    set_cpuid(machine, vcpu->fd);
    set_system_registers(machine, vcpu->fd);
    set_registers(machine, vcpu->fd, index);
    set_signal_mask(vcpu->fd);
}

/* The memory and the image are there already. */
void machine_open(struct machine *machine, unsigned vcpu_count)
{
    struct kvm_userspace_memory_region slot = {
        .memory_size = machine->memory.bytes,
        .userspace_addr = (uintptr_t)machine->memory.guest,
    };
    int size;

    machine->vcpu_count = vcpu_count;
    machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (machine->kvm < 0)
        fail(errno, "/dev/kvm");
    if (ioctl(machine->kvm, KVM_GET_API_VERSION, 0ul) != KVM_API_VERSION)
        fail(0, "/dev/kvm: its API is not version %d", KVM_API_VERSION);
    machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0ul);
    if (machine->vm < 0)
        fail(errno, "KVM_CREATE_VM");
    if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &slot))
        fail(errno, "KVM_SET_USER_MEMORY_REGION");
    size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0ul);
    if (size < (int)sizeof(struct kvm_run))
        fail(errno, "KVM_GET_VCPU_MMAP_SIZE");
    machine->run_bytes = (size_t)size;
    for (unsigned i = 0; i < vcpu_count; i++)
        vcpu_open(machine, i);
}

void machine_close(struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        munmap(machine->vcpus[i].run, machine->run_bytes);
        close(machine->vcpus[i].fd);
    }
    close(machine->vm);
    close(machine->kvm);
}
