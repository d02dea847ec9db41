/** Worker threads that throw or die, most of them with a claim in their hands. */
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { Gate, type SourceFault } from '../../src/source/faulty-source.js';
import { failingRun, failureTest } from '../support/failure-test.js';
import { kvmSkip } from '../support/host.js';

t.setTimeout(300_000);
const skip = kvmSkip();
const PAGE = 0x300000;

/** The workers of the run under way, by their worker_threads id. */
const workers = new Map<number, Worker>();
process.on('worker', (worker) => {
  const { threadId } = worker;
  workers.set(threadId, worker);
  worker.once('exit', () => workers.delete(threadId));
});

/** Calls back once a thread is held at the gate and others have come to its page in vain. */
function whenOthersWait(gate: Gate, callback: (thread: number) => void) {
  let last = 0;
  let grown = 0;
  let called = false;
  return ({ faults }: { faults: number }): void => {
    const thread = gate.heldThread;
    if (thread === null || called) {
      return;
    }
    // Nothing can be resolved but the others' pages; these used up, only waiters come again.
    grown = faults > last ? grown + 1 : 0;
    last = faults;
    if (grown >= 3) {
      called = true;
      callback(thread);
    }
  };
}

const heldAt = (gate: Gate, then: readonly SourceFault[] = []): SourceFault[] => [
  { kind: 'hold', address: PAGE, gate: gate.buffer },
  ...then,
];

for (const around of [0, 7] as const) {
  failureTest(
    `a vCPU throws in the middle of a resolve, others wait on its claim, ${around} neighbours`,
    { skip },
    async (t) => {
      const gate = new Gate();
      const result = await failingRun(t, {
        delivery: 'exit',
        vcpus: 4,
        around,
        params: { share: 'overlap' },
        failSource: heldAt(gate, [{ kind: 'throw', address: PAGE }]),
        onProgress: whenOthersWait(gate, (thread) => {
          t.comment(`thread ${thread} is held with its claim, others come back for it`);
          gate.open();
        }),
      });
      t.match(result, {
        outcome: 'error',
        error: { code: 'defect', message: /^the source threw.*0x300000$/ },
      });
      t.ok(result.faults.outcomes.retried > 0, 'others waited, and went away again');
      t.equal(result.faults.outcomes['memory-error'], 0, 'and none of them got a memory error');
    },
  );
}

failureTest(
  'a vCPU thread is terminated in the middle of a resolve, others wait on its claim',
  { skip },
  async (t) => {
    const gate = new Gate();
    const result = await failingRun(t, {
      delivery: 'exit',
      vcpus: 4,
      params: { share: 'overlap' },
      failSource: heldAt(gate),
      onProgress: whenOthersWait(gate, (thread) => {
        t.comment(`thread ${thread} is held with its claim, and terminated`);
        void workers.get(thread)!.terminate();
      }),
    });
    t.match(result, {
      outcome: 'error',
      error: { code: 'defect', message: /^the thread of vCPU \d ended without a word$/ },
    });
    t.ok(result.faults.outcomes.retried > 0, 'others waited, and went away again');
  },
);

for (const handlers of [1, 2] as const) {
  failureTest(`one handler of ${handlers} throws while vCPUs sleep`, { skip }, async (t) => {
    const result = await failingRun(t, {
      delivery: 'handler',
      vcpus: 4,
      handlers,
      params: { share: 'overlap' },
      failSource: [{ kind: 'throw', address: PAGE }],
    });
    t.match(result, {
      outcome: 'error',
      error: { code: 'defect', message: /^the source threw.*0x300000$/ },
    });
  });

  failureTest(`one handler of ${handlers} is terminated while vCPUs sleep`, { skip }, async (t) => {
    const gate = new Gate();
    const result = await failingRun(t, {
      delivery: 'handler',
      vcpus: 4,
      handlers,
      params: { share: 'overlap' },
      failSource: heldAt(gate),
      onProgress: () => {
        const thread = gate.heldThread;
        if (thread !== null) {
          t.comment(`handler thread ${thread} is held with its claim, and terminated`);
          void workers.get(thread)?.terminate();
        }
      },
    });
    t.match(result, {
      outcome: 'error',
      error: { code: 'defect', message: /^the thread of handler \d ended without a word$/ },
    });
  });
}

failureTest(
  'a thread that prefetches throws with a claim that a vCPU waits for',
  { skip },
  async (t) => {
    const gate = new Gate();
    const result = await failingRun(t, {
      delivery: 'exit',
      prefetch: { bytesPerSecond: null },
      params: { order: 'random' },
      failSource: heldAt(gate, [{ kind: 'throw', address: PAGE }]),
      onProgress: () => {
        if (gate.heldThread !== null) {
          gate.open();
        }
      },
    });
    t.match(result, { outcome: 'error', error: { code: 'defect', message: /^the source threw/ } });
  },
);
