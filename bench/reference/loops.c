/* The exit loop (one for each vCPU) and the handler loop. Nothing in them allocates. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "resolve.h"

/* uapi/linux/kvm.h of Linux 6.8; older headers lack them. */
#define EXIT_MEMORY_FAULT 39
#define EXIT_DATA_OFFSET  32
struct exit_memory_fault {
    uint64_t flags;
    uint64_t gpa;
    uint64_t size;
};

#define MESSAGES_PER_READ 16

static void start(const struct worker *worker)
{
    cpu_set_t set;

    if (worker->cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)worker->cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set))
            fail(errno, "cannot run on CPU %d", worker->cpu);
    }
    pthread_barrier_wait(worker->release);
}

/* KVM_RUN was interrupted: a page with a trap marker was touched, or we are to stop. */
static void serve_signal(struct worker *worker, const sigset_t *signals, uint64_t began)
{
    static const struct timespec at_once;
    siginfo_t info;
    int number = sigtimedwait(signals, &info, &at_once);

    if (number < 0 && (errno == EAGAIN || errno == EINTR))
        return; /* a signal for somebody else */
    if (number != SIGBUS)
        fail(number < 0 ? errno : 0, "vCPU %u was told to stop", worker->index);
    if (info.si_code != BUS_MCEERR_AR || worker->machine->memory.delivery != DELIVERY_EXIT)
        fail(0, "vCPU %u: SIGBUS code %d at %p", worker->index, info.si_code, info.si_addr);
    resolve(worker, gpa_of(&worker->machine->memory, (uintptr_t)info.si_addr),
            UFFDIO_CONTINUE_MODE_DONTWAKE);
    record_since(&worker->counters, began);
}

/* KVM_RUN failed. An address comes with it only where the kernel annotates the exit. */
static void serve_error(struct worker *worker, const struct kvm_run *run, int error,
                        uint64_t began)
{
    struct exit_memory_fault fault;

    if ((error != EFAULT && error != EHWPOISON) || run->exit_reason != EXIT_MEMORY_FAULT ||
        worker->machine->memory.delivery != DELIVERY_EXIT)
        fail(error, "vCPU %u: KVM_RUN without an address, exit reason %u", worker->index,
             run->exit_reason);
    memcpy(&fault, (const uint8_t *)run + EXIT_DATA_OFFSET, sizeof(fault));
    if (fault.gpa >= worker->machine->memory.bytes)
        fail(0, "vCPU %u: a memory fault at GPA %#llx, outside RAM", worker->index,
             (unsigned long long)fault.gpa);
    resolve(worker, fault.gpa, UFFDIO_CONTINUE_MODE_DONTWAKE);
    record_since(&worker->counters, began);
}

/* 1 when the guest is done. */
static int serve_port(struct worker *worker, const struct kvm_run *run)
{
    unsigned port = run->io.port;
    unsigned word = (port - PORT_REPORT) / 4;
    uint32_t value;

    if (run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 4 || run->io.count != 1)
        fail(0, "vCPU %u: unexpected access to port %#x", worker->index, port);
    memcpy(&value, (const uint8_t *)run + run->io.data_offset, sizeof(value));
    if (port == PORT_EXIT) {
        worker->exited_at = monotonic_nanoseconds();
        worker->exit_code = value;
        return 1;
    }
    if (port < PORT_REPORT || port % 4 || word >= REPORT_WORDS)
        fail(0, "vCPU %u: unexpected port %#x", worker->index, port);
    worker->report[word] = value;
    return 0;
}

static void refuse_exit(const struct worker *worker, const struct kvm_run *run)
{
    unsigned long long gpa = run->mmio.phys_addr;

    if (run->exit_reason != KVM_EXIT_MMIO)
        fail(0, "vCPU %u: exit reason %u", worker->index, run->exit_reason);
    if (gpa < worker->machine->memory.bytes)
        fail(0, "vCPU %u: an emulated access to a missing page of RAM, GPA %#llx; the reference "
             "runs guests that need no emulation", worker->index, gpa);
    fail(0, "vCPU %u: access outside RAM, GPA %#llx", worker->index, gpa);
}

void *vcpu_loop(void *argument)
{
    struct worker *worker = argument;
    struct vcpu *vcpu = &worker->machine->vcpus[worker->index];
    struct kvm_run *run = vcpu->run;
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGBUS);
    sigaddset(&signals, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    start(worker);
    for (;;) {
        if (ioctl(vcpu->fd, KVM_RUN, 0ul)) {
            int error = errno;
            uint64_t began = monotonic_nanoseconds();

            if (error == EINTR)
                serve_signal(worker, &signals, began);
            else
                serve_error(worker, run, error, began);
        } else if (run->exit_reason != KVM_EXIT_IO) {
            refuse_exit(worker, run);
        } else if (serve_port(worker, run)) {
            return NULL;
        }
    }
}

static void serve_message(struct worker *worker, const struct uffd_msg *message)
{
    uint64_t began = monotonic_nanoseconds();

    if (message->event != UFFD_EVENT_PAGEFAULT)
        fail(0, "userfaultfd: event %#x was not asked for", message->event);
    resolve(worker, gpa_of(&worker->machine->memory, message->arg.pagefault.address), 0);
    record_since(&worker->counters, began);
}

void *handler_loop(void *argument)
{
    struct worker *worker = argument;
    struct uffd_msg messages[MESSAGES_PER_READ];
    struct pollfd waits[] = {
        {.fd = worker->machine->memory.uffd, .events = POLLIN},
        {.fd = worker->stop, .events = POLLIN},
    };

    start(worker);
    for (;;) {
        ssize_t length;

        if (poll(waits, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            fail(errno, "poll");
        }
        if (waits[1].revents)
            return NULL;
        if (waits[0].revents & ~POLLIN)
            fail(0, "userfaultfd: poll says %#x", (unsigned)waits[0].revents);
        length = read(worker->machine->memory.uffd, messages, sizeof(messages));
        if (length < 0) {
            if (errno == EAGAIN || errno == EINTR)
                continue; /* the fault went away, its thread was interrupted */
            fail(errno, "read of the userfaultfd");
        }
        for (size_t i = 0; i < (size_t)length / sizeof(*messages); i++)
            serve_message(worker, &messages[i]);
    }
}
