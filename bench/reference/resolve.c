/* Claim, fill, continue, publish: the part of a fault that both loops share. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "resolve.h"

uint64_t monotonic_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void record_since(struct counters *counters, uint64_t began)
{
    uint64_t value = monotonic_nanoseconds() - began;
    uint64_t bucket = value;

    counters->resolve_nanoseconds += value;
    if (value >> HISTOGRAM_SUB_BITS) {
        unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;

        bucket = (uint64_t)(shift + 1) << HISTOGRAM_SUB_BITS |
                 (value >> shift & ((1 << HISTOGRAM_SUB_BITS) - 1));
    }
    counters->histogram[bucket]++;
}

uint64_t gpa_of(const struct memory *memory, uint64_t hva)
{
    uint64_t gpa = hva - (uintptr_t)memory->guest;

    if (gpa >= memory->bytes)
        fail(0, "a fault at %#llx is outside the guest mapping", (unsigned long long)hva);
    return gpa;
}

/* The claimant finishes in microseconds; sleep until it has. */
static void wait_for_claimant(_Atomic uint32_t *state)
{
    for (;;) {
        uint32_t seen = PAGE_CLAIMED;

        if (!atomic_compare_exchange_strong(state, &seen, PAGE_CLAIMED_WAITED) &&
            seen != PAGE_CLAIMED_WAITED)
            return;
        syscall(SYS_futex, state, FUTEX_WAIT_PRIVATE, PAGE_CLAIMED_WAITED, NULL, NULL, 0);
    }
}

static void publish(_Atomic uint32_t *state)
{
    if (atomic_exchange(state, PAGE_MAPPED) == PAGE_CLAIMED_WAITED)
        syscall(SYS_futex, state, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/*
 * A page that was continued and faults again: this vCPU met the marker just before another thread
 * mapped the page, or the host took it out of the page table since. Both end well here.
 */
static void bring_back(const struct memory *memory, uint64_t gpa)
{
    int error;

    if (memory->delivery == DELIVERY_HANDLER)
        error = memory_wake(memory, gpa);
    else
        error = madvise(memory->guest + gpa, PAGE_BYTES, MADV_POPULATE_WRITE) ? errno : 0;
    if (error)
        fail(error, "a mapped page faults again, GPA %#llx", (unsigned long long)gpa);
}

void resolve(struct worker *worker, uint64_t gpa, uint64_t mode)
{
    const struct memory *memory = &worker->machine->memory;
    uint64_t page = gpa >> PAGE_SHIFT;
    _Atomic uint32_t *state = &memory->states[page];
    uint32_t seen = PAGE_MISSING;
    int error;

    gpa = page << PAGE_SHIFT;
    if (!atomic_compare_exchange_strong(state, &seen, PAGE_CLAIMED)) {
        if (seen == PAGE_MAPPED) {
            worker->counters.repeats++;
            bring_back(memory, gpa);
        } else {
            worker->counters.lost++;
            wait_for_claimant(state);
        }
        return;
    }
    pattern_fill((uint32_t *)(memory->alias + gpa), page, worker->seed);
    error = memory_continue(memory, gpa, PAGE_BYTES, mode);
    if (error == EEXIST) /* mapped by other means; sleepers are still asleep */
        error = memory_wake(memory, gpa);
    if (error)
        fail(error, "UFFDIO_CONTINUE at GPA %#llx", (unsigned long long)gpa);
    publish(state);
    worker->counters.faults++;
}
