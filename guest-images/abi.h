/*
 * What a guest image and the VMM agree on; README.md explains it.
 * The same numbers stand in src/; test/machine/guest-abi.test.ts compares them.
 */
#ifndef FAULTLINE_ABI_H
#define FAULTLINE_ABI_H

#define ABI_VERSION       1

/* Ports. A guest at CPL3 may use them too: its TSS allows every port. */
#define PORT_SERIAL       0x3f8   /* OUT byte: console */
#define PORT_EXIT         0xf4    /* OUT 32 bit: this vCPU is done; 0 is success */
#define PORT_REPORT       0xa00   /* OUT 32 bit to PORT_REPORT + 4*k: report word k, k < 16 */

/* The flat binaries' load address; CS:IP = 0000:FLAT_ENTRY in real mode. */
#define FLAT_ENTRY        0x1000

/* Guest RAM below this belongs to the image and its tables. */
#define WORKLOAD_START    0x200000

/* The ELF note that describes a 64-bit image to the VMM. */
#define NOTE_TYPE         1
#define NOTE_NAME         "faultline"

/* Latency histogram of one vCPU: 1024 32-bit counts of TSC cycles. */
#define HISTOGRAM_BYTES   4096
#define HISTOGRAM_SUB_BITS 4      /* 16 buckets in every power of two */

#define MAX_VCPUS         64

/* Pattern: word i of page n is hash(n, seed) + i * PATTERN_STEP, all modulo 2^32. */
#define PATTERN_STEP      0x9E3779B9
#define PATTERN_MIX_A     0x85EBCA6B
#define PATTERN_MIX_B     0xC2B2AE35
/* A page is written when hash(n, seed ^ WRITE_SALT) % 100 < write percentage;
 * what is written there is the pattern of seed ~seed. */
#define WRITE_SALT        0xA5A5A5A5

#endif
