/* What a page holds before and after the guest had it; the guest checks the same (touch.S). */
#include "machine.h"

#define WORDS_PER_PAGE (PAGE_BYTES / sizeof(uint32_t))

static uint32_t hash(uint64_t number, uint32_t seed)
{
    uint32_t h = (uint32_t)number + seed * PATTERN_STEP;

    h = (h ^ h >> 16) * PATTERN_MIX_A;
    h = (h ^ h >> 13) * PATTERN_MIX_B;
    return h ^ h >> 16;
}

void pattern_fill(uint32_t *page, uint64_t number, uint32_t seed)
{
    uint32_t word = hash(number, seed);

    for (size_t i = 0; i < WORDS_PER_PAGE; i++, word += PATTERN_STEP)
        page[i] = word;
}

static int page_holds(const uint32_t *page, uint64_t number, uint32_t seed)
{
    uint32_t word = hash(number, seed);

    for (size_t i = 0; i < WORDS_PER_PAGE; i++, word += PATTERN_STEP)
        if (page[i] != word)
            return 0;
    return 1;
}

/* How many of the pages hold, word for word, what a finished run must have left in them. */
uint64_t pattern_verify(const struct memory *memory, uint64_t first, uint64_t count,
                        uint32_t seed, uint32_t write_percent)
{
    uint64_t verified = 0;

    for (uint64_t number = first; number < first + count; number++) {
        const void *page = memory->alias + (number << PAGE_SHIFT);
        int written = hash(number, seed ^ WRITE_SALT) % 100 < write_percent;

        verified += page_holds(page, number, written ? ~seed : seed);
    }
    return verified;
}
