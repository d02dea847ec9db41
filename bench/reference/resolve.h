/* What both loops do with a missing page. */
#ifndef FAULT_LOOPS_RESOLVE_H
#define FAULT_LOOPS_RESOLVE_H

#include "loops.h"

/* `mode` is that of UFFDIO_CONTINUE. Any error but a benign one ends the process. */
void resolve(struct worker *worker, uint64_t gpa, uint64_t mode);

/* GPA of an address inside the guest mapping. */
uint64_t gpa_of(const struct memory *memory, uint64_t hva);

/* One resolved fault, from its `began` to now. */
void record_since(struct counters *counters, uint64_t began);

#endif
