/* Guest memory: one shmem file, mapped twice, with a userfaultfd on the guest's mapping. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine.h"

/* Since Linux 6.6; older headers lack them. */
#define FEATURE_POISON ((uint64_t)1 << 14)
struct poison {
    struct uffdio_range range;
    uint64_t mode;
    int64_t updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison)

static int open_userfaultfd(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int uffd;

    if (device < 0)
        return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    uffd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    close(device);
    return uffd;
}

static void register_guest_mapping(struct memory *memory)
{
    uint64_t features = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM;
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register registration = {
        .range = {.start = (uintptr_t)memory->guest, .len = memory->bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
    };

    /*
     * A marked page exits with its address. SIGBUS closes the other case: a missing page that lost
     * its marker ends KVM_RUN with EFAULT, where it would hang without the feature.
     */
    if (memory->delivery == DELIVERY_EXIT)
        features |= UFFD_FEATURE_SIGBUS | FEATURE_POISON;
    api.features = features;
    memory->uffd = open_userfaultfd();
    if (memory->uffd < 0)
        fail(errno, "userfaultfd");
    if (ioctl(memory->uffd, UFFDIO_API, &api))
        fail(errno, "UFFDIO_API with features %#llx (exit delivery needs Linux 6.6)",
             (unsigned long long)features);
    if (ioctl(memory->uffd, UFFDIO_REGISTER, &registration))
        fail(errno, "UFFDIO_REGISTER of the guest mapping");
}

static uint8_t *map_file(const struct memory *memory, const char *name)
{
    void *mapping = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                         memory->memfd, 0);

    if (mapping == MAP_FAILED)
        fail(errno, "mmap of the %s mapping", name);
    return mapping;
}

void memory_open(struct memory *memory, uint64_t bytes, enum delivery delivery)
{
    memory->bytes = bytes;
    memory->page_count = bytes >> PAGE_SHIFT;
    memory->delivery = delivery;
    memory->states = calloc(memory->page_count, sizeof(*memory->states));
    if (!memory->states)
        fail(ENOMEM, "page states");
    memory->memfd = memfd_create("fault-loops", MFD_CLOEXEC);
    if (memory->memfd < 0)
        fail(errno, "memfd_create");
    if (ftruncate(memory->memfd, (off_t)bytes))
        fail(errno, "ftruncate of the memfd");
    memory->guest = map_file(memory, "guest");
    memory->alias = map_file(memory, "alias");
    /* A collapse may drop markers of a range that is not write-protect registered. */
    if (madvise(memory->guest, bytes, MADV_NOHUGEPAGE))
        fail(errno, "MADV_NOHUGEPAGE");
    register_guest_mapping(memory);
}

/* These pages were written through the alias mapping; memory_arm() maps them for the guest. */
void memory_make_resident(struct memory *memory, uint64_t gpa, uint64_t bytes)
{
    uint64_t end = (gpa + bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;

    for (uint64_t page = gpa >> PAGE_SHIFT; page < end; page++)
        atomic_store(&memory->states[page], PAGE_MAPPED);
}

/* 0, or the error. EEXIST: a page was mapped already. */
int memory_continue(const struct memory *memory, uint64_t gpa, uint64_t bytes, uint64_t mode)
{
    struct uffdio_continue request = {
        .range = {.start = (uintptr_t)memory->guest + gpa, .len = bytes},
        .mode = mode,
    };

    /* EAGAIN: the address space was changing; `mapped` is what came before, or an error. */
    while (ioctl(memory->uffd, UFFDIO_CONTINUE, &request)) {
        if (errno != EAGAIN)
            return errno;
        if (request.mapped > 0) {
            request.range.start += (uint64_t)request.mapped;
            request.range.len -= (uint64_t)request.mapped;
        }
        request.mapped = 0;
    }
    return 0;
}

/* 0, or the error. */
int memory_wake(const struct memory *memory, uint64_t gpa)
{
    struct uffdio_range range = {.start = (uintptr_t)memory->guest + gpa, .len = PAGE_BYTES};

    return ioctl(memory->uffd, UFFDIO_WAKE, &range) ? errno : 0;
}

static void poison(const struct memory *memory, uint64_t gpa, uint64_t bytes)
{
    struct poison request = {
        .range = {.start = (uintptr_t)memory->guest + gpa, .len = bytes},
    };

    while (ioctl(memory->uffd, IOCTL_POISON, &request)) {
        if (errno != EAGAIN)
            fail(errno, "UFFDIO_POISON at GPA %#llx", (unsigned long long)gpa);
        if (request.updated > 0) {
            request.range.start += (uint64_t)request.updated;
            request.range.len -= (uint64_t)request.updated;
        }
        request.updated = 0;
    }
}

/* Maps the resident pages; in exit delivery marks every other one. One call for each run. */
void memory_arm(struct memory *memory)
{
    uint64_t end;

    for (uint64_t page = 0; page < memory->page_count; page = end) {
        uint32_t state = atomic_load(&memory->states[page]);
        uint64_t gpa = page << PAGE_SHIFT;
        int error = 0;

        for (end = page + 1; end < memory->page_count; end++)
            if (atomic_load(&memory->states[end]) != state)
                break;
        if (state == PAGE_MAPPED)
            error = memory_continue(memory, gpa, (end - page) << PAGE_SHIFT, 0);
        else if (memory->delivery == DELIVERY_EXIT)
            poison(memory, gpa, (end - page) << PAGE_SHIFT);
        if (error)
            fail(error, "UFFDIO_CONTINUE at GPA %#llx", (unsigned long long)gpa);
    }
}

/* The userfaultfd closes last: without it a missing page would read as zeroes. */
void memory_close(struct memory *memory)
{
    struct uffdio_range range = {.start = (uintptr_t)memory->guest, .len = memory->bytes};

    if (ioctl(memory->uffd, UFFDIO_UNREGISTER, &range))
        fail(errno, "UFFDIO_UNREGISTER");
    munmap(memory->guest, memory->bytes);
    munmap(memory->alias, memory->bytes);
    close(memory->uffd);
    close(memory->memfd);
    free(memory->states);
}
