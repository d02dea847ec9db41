/*
 * The machine of the reference: demand-paged shmem, one memslot, vCPUs in 64-bit mode.
 * Constants that the guest image fixes come from guest-images/abi.h.
 */
#ifndef FAULT_LOOPS_MACHINE_H
#define FAULT_LOOPS_MACHINE_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "../../guest-images/abi.h"

#define PAGE_SHIFT 12
#define PAGE_BYTES ((uint64_t)1 << PAGE_SHIFT)
#define GIB        ((uint64_t)1 << 30)
/* Page directories, one per GiB, must end below the image at 1 MiB. */
#define MEMORY_MAX (128 * GIB)

enum delivery { DELIVERY_EXIT, DELIVERY_HANDLER };

/* One word per page; it leaves MISSING by compare-and-swap alone. */
enum page_state {
    PAGE_MISSING,
    PAGE_CLAIMED,
    PAGE_MAPPED,
    PAGE_CLAIMED_WAITED, /* claimed, and somebody sleeps on the word */
};

struct memory {
    uint64_t bytes;
    uint64_t page_count;
    uint8_t *guest; /* the memslot; registered with userfaultfd, never touched from here */
    uint8_t *alias; /* the same file, unregistered: pages are filled and inspected here */
    _Atomic uint32_t *states;
    int memfd;
    int uffd;
    enum delivery delivery;
};

struct image {
    uint64_t entry;
    uint64_t parameters; /* GPA of the parameter block */
    uint32_t cpl;
};

struct vcpu {
    int fd;
    struct kvm_run *run;
};

struct machine {
    struct memory memory;
    struct image image;
    int kvm;
    int vm;
    size_t run_bytes;
    unsigned vcpu_count;
    struct vcpu vcpus[MAX_VCPUS];
};

/* Prints the message, and the error's text unless the number is 0; ends the process. */
void fail(int error, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* memory.c */
void memory_open(struct memory *memory, uint64_t bytes, enum delivery delivery);
void memory_make_resident(struct memory *memory, uint64_t gpa, uint64_t bytes);
void memory_arm(struct memory *memory);
void memory_close(struct memory *memory);
int memory_continue(const struct memory *memory, uint64_t gpa, uint64_t bytes, uint64_t mode);
int memory_wake(const struct memory *memory, uint64_t gpa);

/* pattern.c */
void pattern_fill(uint32_t *page, uint64_t number, uint32_t seed);
uint64_t pattern_verify(const struct memory *memory, uint64_t first, uint64_t count,
                        uint32_t seed, uint32_t write_percent);

/* image.c */
void image_load(struct memory *memory, struct image *image, const char *path);
void image_write_tables(struct memory *memory);

/* machine.c */
void machine_open(struct machine *machine, unsigned vcpu_count);
void machine_close(struct machine *machine);

/* Where image.c puts the descriptor table, the task state and the root of the page tables. */
#define TSS_GPA        0x9000
#define TSS_BYTES      PAGE_BYTES
#define GDT_GPA        0x8000
#define GDT_BYTES      40
#define SELECTOR_CODE0 0x08
#define SELECTOR_DATA0 0x10
#define SELECTOR_DATA3 0x1b
#define SELECTOR_CODE3 0x23
#define PML4_GPA       0x10000

#endif
