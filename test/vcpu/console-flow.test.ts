import t from 'tap';
import { ConsoleFlow } from '../../src/vcpu/console-flow.js';

t.test('nobody waits while little is under way', async (t) => {
  const flow = new ConsoleFlow();
  const neverAsked = (): boolean => {
    throw new Error('it waits');
  };
  for (let line = 0; line < 1000; line++) {
    flow.sent(65536, neverAsked);
    flow.received(65536);
  }
  t.pass();
});

t.test('whoever sends too much waits until it is told to stop', { timeout: 10_000 }, async (t) => {
  const flow = new ConsoleFlow();
  let asked = 0;
  flow.sent(65537, () => ++asked > 2);
  t.equal(asked, 3, 'it looks again every now and then');
});

t.test('or until it is received', { timeout: 10_000 }, async (t) => {
  const flow = new ConsoleFlow();
  let asked = 0;
  flow.sent(70_000, () => {
    asked++;
    new ConsoleFlow(flow.buffer).received(10_000);
    return false;
  });
  t.equal(asked, 1);
});
