/*
 * fault-loops: the exit loop and the handler loop in C, to compare the TypeScript ones with.
 * README.md explains its output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loops.h"

#define STATUS_FAILED 1
#define STATUS_USAGE  2

#define WORDS_PER_PAGE (PAGE_BYTES / sizeof(uint32_t))

struct options {
    const char *guest;
    int delivery; /* -1 until given */
    uint64_t memory_bytes;
    uint64_t pages;
    unsigned vcpus;
    uint32_t seed;
    uint32_t write_percent;
    int vcpu_cpu;
    int handler_cpu;
};

struct totals {
    struct counters counters;
    uint64_t touched;
    uint64_t words;
    uint64_t mismatches;
    uint64_t verified;
    uint64_t wall_nanoseconds;
    unsigned failed_vcpus;
};

/* The parameter block of guest-images/touch/touch.S. */
struct touch_parameters {
    uint64_t start;
    uint64_t pages;
    uint64_t order;
    uint64_t write_percent;
    uint64_t passes;
    uint64_t seed;
    uint64_t overlap;
    uint64_t stride;
    uint64_t order_seed;
    uint64_t zero;
    uint64_t every;
};

static const char usage[] =
    "usage: fault-loops --guest PATH.elf --delivery exit|handler --memory BYTES --pages N\n"
    "                   [--vcpus N] [--seed N] [--write PERCENT]\n"
    "                   [--pin-vcpu CPU] [--pin-handler CPU]\n";

/* Not exit(): other threads may be anywhere, and the kernel ends them all, even inside KVM_RUN. */
void fail(int error, const char *format, ...)
{
    char message[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (error)
        fprintf(stderr, "fault-loops: %s: %s\n", message, strerror(error));
    else
        fprintf(stderr, "fault-loops: %s\n", message);
    _exit(STATUS_FAILED);
}

__attribute__((noreturn, format(printf, 1, 2))) static void refuse(const char *format, ...)
{
    va_list arguments;

    fputs("fault-loops: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n%s", usage);
    exit(STATUS_USAGE);
}

static uint64_t number(const char *option, const char *text, uint64_t minimum, uint64_t maximum)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (*text < '0' || *text > '9' || *end || errno || value < minimum || value > maximum)
        refuse("--%s %s: a number from %llu to %llu is wanted", option, text,
               (unsigned long long)minimum, (unsigned long long)maximum);
    return value;
}

static void parse_option(struct options *options, int letter, const char *name)
{
    switch (letter) {
    case 'g':
        options->guest = optarg;
        break;
    case 'd':
        if (!strcmp(optarg, "exit"))
            options->delivery = DELIVERY_EXIT;
        else if (!strcmp(optarg, "handler"))
            options->delivery = DELIVERY_HANDLER;
        else
            refuse("--delivery %s: exit or handler is wanted", optarg);
        break;
    case 'm':
        options->memory_bytes = number(name, optarg, PAGE_BYTES, MEMORY_MAX);
        break;
    case 'p':
        options->pages = number(name, optarg, 1, MEMORY_MAX / PAGE_BYTES);
        break;
    case 'v':
        options->vcpus = (unsigned)number(name, optarg, 1, MAX_VCPUS);
        break;
    case 's':
        options->seed = (uint32_t)number(name, optarg, 0, UINT32_MAX);
        break;
    case 'w':
        options->write_percent = (uint32_t)number(name, optarg, 0, 100);
        break;
    case 'V':
        options->vcpu_cpu = (int)number(name, optarg, 0, CPU_SETSIZE - 1);
        break;
    case 'H':
        options->handler_cpu = (int)number(name, optarg, 0, CPU_SETSIZE - 1);
        break;
    default:
        refuse("unknown or incomplete option");
    }
}

static struct options parse_options(int count, char **arguments)
{
    static const struct option known[] = {
        {"guest", required_argument, NULL, 'g'},
        {"delivery", required_argument, NULL, 'd'},
        {"memory", required_argument, NULL, 'm'},
        {"pages", required_argument, NULL, 'p'},
        {"vcpus", required_argument, NULL, 'v'},
        {"seed", required_argument, NULL, 's'},
        {"write", required_argument, NULL, 'w'},
        {"pin-vcpu", required_argument, NULL, 'V'},
        {"pin-handler", required_argument, NULL, 'H'},
        {0},
    };
    struct options options = {
        .delivery = -1, .vcpus = 1, .seed = 1, .vcpu_cpu = -1, .handler_cpu = -1,
    };
    int letter, index = 0;

    opterr = 0;
    while ((letter = getopt_long(count, arguments, "", known, &index)) != -1)
        parse_option(&options, letter, known[index].name);
    if (optind != count)
        refuse("unexpected argument: %s", arguments[optind]);
    if (!options.guest || options.delivery < 0 || !options.memory_bytes || !options.pages)
        refuse("--guest, --delivery, --memory and --pages are needed");
    if (options.memory_bytes % PAGE_BYTES)
        refuse("--memory must be a multiple of %llu", (unsigned long long)PAGE_BYTES);
    if (options.memory_bytes < WORKLOAD_START + options.pages * PAGE_BYTES)
        refuse("--memory must be %llu at least to hold %llu pages",
               (unsigned long long)(WORKLOAD_START + options.pages * PAGE_BYTES),
               (unsigned long long)options.pages);
    return options;
}

static void prepare(struct machine *machine, const struct options *options)
{
    struct memory *memory = &machine->memory;
    const struct touch_parameters parameters = {
        .start = WORKLOAD_START,
        .pages = options->pages,
        .write_percent = options->write_percent,
        .passes = 1,
        .seed = options->seed,
        .stride = 512,
        .order_seed = options->seed,
        .every = 1,
    };

    memory_open(memory, options->memory_bytes, (enum delivery)options->delivery);
    image_write_tables(memory);
    image_load(memory, &machine->image, options->guest);
    memcpy(memory->alias + machine->image.parameters, &parameters, sizeof(parameters));
    memory_make_resident(memory, machine->image.parameters, sizeof(parameters));
    memory_arm(memory);
    machine_open(machine, options->vcpus);
}

static void start_thread(pthread_t *thread, void *(*loop)(void *), struct worker *worker)
{
    int error = pthread_create(thread, NULL, loop, worker);

    if (error)
        fail(error, "pthread_create");
}

static void add_counters(struct counters *total, const struct counters *counters)
{
    total->faults += counters->faults;
    total->lost += counters->lost;
    total->repeats += counters->repeats;
    total->resolve_nanoseconds += counters->resolve_nanoseconds;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        total->histogram[i] += counters->histogram[i];
}

static uint64_t report_pair(const struct worker *worker, unsigned index)
{
    return worker->report[2 * index] | (uint64_t)worker->report[2 * index + 1] << 32;
}

static void add_vcpu(struct totals *totals, const struct worker *vcpu, uint64_t began)
{
    add_counters(&totals->counters, &vcpu->counters);
    totals->touched += report_pair(vcpu, 0);
    totals->words += report_pair(vcpu, 1);
    totals->mismatches += report_pair(vcpu, 2);
    totals->failed_vcpus += vcpu->exit_code != 0;
    if (vcpu->exited_at - began > totals->wall_nanoseconds)
        totals->wall_nanoseconds = vcpu->exited_at - began;
}

static void run(struct machine *machine, const struct options *options, struct totals *totals)
{
    static struct worker vcpus[MAX_VCPUS], handler;
    pthread_t vcpu_threads[MAX_VCPUS], handler_thread;
    pthread_barrier_t release;
    unsigned handlers = options->delivery == DELIVERY_HANDLER;
    uint64_t began;

    pthread_barrier_init(&release, NULL, options->vcpus + handlers + 1);
    for (unsigned i = 0; i < options->vcpus; i++) {
        vcpus[i] = (struct worker){.machine = machine, .release = &release, .index = i,
                                   .seed = options->seed, .cpu = options->vcpu_cpu};
        start_thread(&vcpu_threads[i], vcpu_loop, &vcpus[i]);
    }
    handler = (struct worker){.machine = machine, .release = &release, .seed = options->seed,
                              .cpu = options->handler_cpu, .stop = -1};
    if (handlers) {
        handler.stop = eventfd(0, EFD_CLOEXEC);
        if (handler.stop < 0)
            fail(errno, "eventfd");
        start_thread(&handler_thread, handler_loop, &handler);
    }
    began = monotonic_nanoseconds();
    pthread_barrier_wait(&release);
    for (unsigned i = 0; i < options->vcpus; i++) {
        pthread_join(vcpu_threads[i], NULL);
        add_vcpu(totals, &vcpus[i], began);
    }
    if (handlers) {
        if (eventfd_write(handler.stop, 1))
            fail(errno, "eventfd");
        pthread_join(handler_thread, NULL);
        close(handler.stop);
        add_counters(&totals->counters, &handler.counters);
    }
    pthread_barrier_destroy(&release);
}

/* The lower bound of the bucket that holds the given share of all values. */
static uint64_t percentile(const uint32_t *histogram, unsigned percent)
{
    uint64_t all = 0, seen = 0;
    size_t i;

    for (i = 0; i < HISTOGRAM_BUCKETS; i++)
        all += histogram[i];
    for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram[i];
        if (seen && seen * 100 >= all * percent)
            break;
    }
    if (i >> HISTOGRAM_SUB_BITS == 0 || i == HISTOGRAM_BUCKETS)
        return i % HISTOGRAM_BUCKETS;
    return (i % (1 << HISTOGRAM_SUB_BITS) + (1 << HISTOGRAM_SUB_BITS))
           << ((i >> HISTOGRAM_SUB_BITS) - 1);
}

static void print(const struct options *options, const struct totals *totals)
{
    const struct counters *counters = &totals->counters;
    uint64_t served = counters->faults + counters->lost + counters->repeats;

    printf("{\"delivery\":\"%s\",\"vcpus\":%u,\"pages\":%llu,\"faults\":%llu,"
           "\"lostRaces\":%llu,\"repeats\":%llu,\"wallSeconds\":%.9f,\"mismatches\":%llu,"
           "\"verified\":%llu,\"resolveNanoseconds\":{\"mean\":%.1f,\"p50\":%llu,\"p99\":%llu}}\n",
           options->delivery == DELIVERY_EXIT ? "exit" : "handler", options->vcpus,
           (unsigned long long)options->pages, (unsigned long long)counters->faults,
           (unsigned long long)counters->lost, (unsigned long long)counters->repeats,
           (double)totals->wall_nanoseconds / 1e9, (unsigned long long)totals->mismatches,
           (unsigned long long)totals->verified,
           served ? (double)counters->resolve_nanoseconds / (double)served : 0.0,
           (unsigned long long)percentile(counters->histogram, 50),
           (unsigned long long)percentile(counters->histogram, 99));
}

int main(int count, char **arguments)
{
    static struct machine machine;
    static struct totals totals;
    struct options options = parse_options(count, arguments);

    prepare(&machine, &options);
    run(&machine, &options, &totals);
    totals.verified = pattern_verify(&machine.memory, WORKLOAD_START >> PAGE_SHIFT,
                                     options.pages, options.seed, options.write_percent);
    machine_close(&machine);
    memory_close(&machine.memory);
    print(&options, &totals);
    if (totals.mismatches || totals.failed_vcpus || totals.touched != options.pages ||
        totals.words != options.pages * WORDS_PER_PAGE || totals.verified != options.pages ||
        totals.counters.faults != options.pages) {
        fprintf(stderr, "fault-loops: the run does not verify: the guest touched %llu pages\n",
                (unsigned long long)totals.touched);
        return STATUS_FAILED;
    }
    return 0;
}
