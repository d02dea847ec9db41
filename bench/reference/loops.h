/* The two loops that are compared with their TypeScript twins, and what they count. */
#ifndef FAULT_LOOPS_LOOPS_H
#define FAULT_LOOPS_LOOPS_H

#include <pthread.h>

#include "machine.h"

#define REPORT_WORDS 16
#define HISTOGRAM_BUCKETS (HISTOGRAM_BYTES / sizeof(uint32_t))

/* Written by one thread, read by the main thread once that has ended. */
struct counters {
    uint64_t faults;  /* pages this thread claimed, filled and mapped */
    uint64_t lost;    /* another thread had claimed the page */
    uint64_t repeats; /* the page was mapped already */
    uint64_t resolve_nanoseconds;
    uint32_t histogram[HISTOGRAM_BUCKETS]; /* of resolve times: log2, 16 sub-buckets each */
};

struct worker {
    struct machine *machine;
    pthread_barrier_t *release;
    uint32_t seed;
    int cpu; /* to run on, or -1 */
    struct counters counters;

    /* vCPU threads */
    unsigned index;
    uint32_t report[REPORT_WORDS];
    uint32_t exit_code;
    uint64_t exited_at; /* CLOCK_MONOTONIC, nanoseconds */

    /* handler threads */
    int stop; /* eventfd */
};

uint64_t monotonic_nanoseconds(void);

/* Thread functions; their argument is a struct worker. */
void *vcpu_loop(void *worker);
void *handler_loop(void *worker);

#endif
