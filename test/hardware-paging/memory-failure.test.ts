/**
 * Frames of this machine that fail under a guest: its kernel takes them away (CONFIG_MEMORY_FAILURE),
 * a vCPU that touches one leaves KVM_RUN with SIGBUS, and the guest is told by a machine check.
 */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { UNTIMED } from '../../src/fault/fault-timing.js';
import { createResolver } from '../../src/fault/resolver.js';
import { createBystander } from '../../src/fault/revisit.js';
import { createTrapReader } from '../../src/fault/trap-marker.js';
import { WorkerControl } from '../../src/fault/worker-control.js';
import { ioctl } from '../../src/ffi/libc.js';
import { blockVcpuSignals } from '../../src/ffi/thread.js';
import { RunPage } from '../../src/kvm/run-page.js';
import { fillMissing } from '../../src/machine/fill-missing.js';
import { Machine } from '../../src/machine/machine.js';
import { completeConfig, STRATEGIES } from '../../src/machine/machine-config.js';
import { decodeMce } from '../../src/machine/mce-guest.js';
import type { RunResult } from '../../src/machine/run-result.js';
import { COUNTERS } from '../../src/measure/counters.js';
import { openSource } from '../../src/source/open-source.js';
import { KVM_RUN } from '../../src/uapi/kvm.js';
import { UFFD_FEATURE_POISON, UFFD_FEATURE_SIGBUS } from '../../src/uapi/userfaultfd.js';
import { createGuestPorts } from '../../src/vcpu/guest-ports.js';
import { createMemoryErrors } from '../../src/vcpu/memory-errors.js';
import { createRunLoop } from '../../src/vcpu/run-loop.js';
import { cli } from '../support/cli.js';
import { hardwareSkip, kvmSkip, uffdSkip } from '../support/host.js';
import {
  adviseFailure,
  corruptedKilobytes,
  failFrames,
  memoryFailureSkip,
} from '../support/memory-failure.js';
import { FIRST_PAGE, GuestCode, SteppedGuest } from '../support/stepped-guest.js';
import { PAGE } from '../support/trapped-memory.js';

t.setTimeout(300_000);
const noFailure = kvmSkip() || hardwareSkip() || memoryFailureSkip();
const skip = noFailure || uffdSkip(UFFD_FEATURE_POISON | UFFD_FEATURE_SIGBUS);
const timeout = 120_000;
const options = { skip, timeout };
const EHWPOISON = 133; // absent from node:os
const TOUCHED = FIRST_PAGE + 3;

for (const backing of ['shmem', 'anon-private'] as const) {
  for (const level of [3, 0] as const) {
    for (const strategy of STRATEGIES) {
      t.test(
        `${backing}, CPL ${level}, ${strategy}: a page that had been read`,
        options,
        async (t) => {
          const code = new GuestCode()
            .read(TOUCHED * PAGE)
            .step()
            .read(TOUCHED * PAGE + 8)
            .exit();
          const guest = new SteppedGuest(t, code, { delivery: 'exit', backing, level, strategy });
          const before = corruptedKilobytes();
          const { end, seen } = guest.run([() => failFrames([guest.address(TOUCHED)])]);
          t.equal(corruptedKilobytes() - before, 4, 'the kernel has lost a page');
          t.match(end, {
            reason: 'memory-error',
            failure:
              strategy === 'no-slow-gup'
                ? { unit: TOUCHED, cause: 'populate', errno: EHWPOISON }
                : { unit: TOUCHED, cause: 'repeated', errno: 0 },
            gpa: TOUCHED * PAGE,
            emulated: false,
          });
          t.strictSame(seen, [guest.word(TOUCHED)], 'and nothing was read in its place');
        },
      );
    }
  }
}

/** Runs the `mce` guest, all of whose memory is there, on this thread. */
async function runMce(t: Test, delivery: 'exit' | 'handler' | 'kernel', pages: readonly number[]) {
  blockVcpuSignals();
  const config = completeConfig({
    image: 'mce',
    memoryBytes: 4 * 2 ** 20,
    onMemoryError: 'inject',
    delivery,
  });
  const machine = new Machine(config);
  t.teardown(() => machine.close());
  t.equal(await fillMissing(machine.memory, machine.installer, async () => true), null);
  const signal = await adviseFailure(machine.memory.layout.fd, pages);
  t.equal(signal, 'SIGBUS', 'who asked for it was told by the kernel');

  const { layout } = machine.memory;
  const { strategy } = config;
  const [vcpu] = machine.vcpus;
  const control = new WorkerControl();
  control.start();
  const counters = new Float64Array(COUNTERS.length);
  const ports = createGuestPorts(() => undefined);
  const memoryErrors = createMemoryErrors(vcpu!.fd, machine.machineChecks, layout);
  const wake = (): void => undefined;
  const run = createRunLoop({
    enter: () => ioctl(vcpu!.fd, KVM_RUN, 0),
    page: new RunPage(vcpu!.runPage.address, vcpu!.runPage.bytes),
    memory: layout,
    resolver: machine.delivery.trapped
      ? createResolver({
          memory: layout,
          source: openSource(config.source),
          uffds: machine.trap!.uffds,
          strategy,
          around: 0,
          caller: 'vcpu',
          sleepers: false,
          counters,
          timing: UNTIMED,
        })
      : createBystander({ sleepers: false, memory: layout, strategy, counters, wake }),
    ports,
    traps: createTrapReader(layout),
    control,
    counters,
    timing: UNTIMED,
    memoryErrors,
    wake,
    trap: machine.delivery.trapped ? machine.trap : null,
  });
  return { end: run(), report: decodeMce(ports.report), memoryErrors };
}

for (const delivery of ['exit', 'handler', 'kernel'] as const) {
  const needed = { timeout, skip: delivery === 'exit' ? skip : noFailure || uffdSkip() };
  t.test(`${delivery}: MADV_HWPOISON reaches the guest as a machine check`, needed, async (t) => {
    const before = corruptedKilobytes();
    // The kernel ends who asks at the first: one page each.
    const failed = [0x280];
    const { end, report, memoryErrors } = await runMce(t, delivery, failed);
    t.equal(corruptedKilobytes() - before, 4);
    t.strictSame(end, { reason: 'exited', code: 0 }, 'the guest goes on, and is content');
    t.match(report, { pagesVisited: 511, machineChecks: 1, rightAddresses: 1, wordsMismatched: 0 });
    t.match(memoryErrors.records, [
      { gpa: 0x280 * PAGE, cause: 'populate', errno: EHWPOISON, injected: true },
    ]);
  });
}

/** Where a process has mapped guest memory of so many bytes. */
function memoryOf(process: number, bytes: number): number | undefined {
  const maps = readFileSync(`/proc/${process}/maps`, 'utf8');
  return [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) .*memfd:faultline/gm)]
    .map(([, start, end]) => [parseInt(start!, 16), parseInt(end!, 16)] as const)
    .find(([start, end]) => end - start === bytes)?.[0];
}

const FAILING = [0x280, 0x3a0];

/** Has pages of a process's guest memory fail, once all of them are there. */
async function failOnceThere(process: number, bytes: number): Promise<void> {
  for (;;) {
    await setTimeout(100);
    try {
      const address = memoryOf(process, bytes)!;
      failFrames(
        FAILING.map((page) => address + page * PAGE),
        process,
      );
      return;
    } catch {
      if (!existsSync(`/proc/${process}`)) {
        throw new Error('it ended before its memory failed');
      } // no memory yet, or no page in it
    }
  }
}

t.test('stop: the run ends with status 1, also where more has failed', options, async (t) => {
  t.comment('the guest meets one of two pages; who compares memory at the end, the other too');
  const command = ['run', 'touch', '--memory', '4M', '--param', 'passes=1000000', '--json'];
  let failing: Promise<void> | undefined;
  const { status, signal, stdout, stderr } = await cli(
    [...command, '--delivery', 'exit', '--timeout', '90'],
    [],
    undefined,
    ({ pid }) => {
      failing = failOnceThere(pid!, 4 * 2 ** 20);
    },
  );
  await failing;
  t.strictSame([status, signal], [1, null], stderr);
  const result = JSON.parse(stdout) as RunResult;
  t.match(result, {
    outcome: 'memory-error',
    error: { code: 'memory-error' },
    memoryErrors: {
      count: 1,
      records: [{ cause: 'populate', errno: 'EHWPOISON', injected: false }],
    },
  });
  t.ok(FAILING.includes(Math.floor(result.memoryErrors.records[0]!.gpa / PAGE)));
});
