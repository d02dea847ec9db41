import t from 'tap';
import { ResourceStack } from '../../src/ffi/resource-stack.js';

/** A resource that writes its name when it is closed. */
const named = (name: string, closed: string[]) => ({ close: () => void closed.push(name) });

t.test('resources are closed last in, first out, and once', async (t) => {
  const closed: string[] = [];
  const stack = new ResourceStack();
  const a = named('a', closed);
  t.equal(stack.use(a), a, 'use returns what it took');
  stack.use(named('b', closed));
  stack.use(named('c', closed));
  stack.close();
  t.strictSame(closed, ['c', 'b', 'a']);
  stack.close();
  t.equal(closed.length, 3);
});

t.test('what is used after a close belongs to the next close', async (t) => {
  const closed: string[] = [];
  const stack = new ResourceStack();
  stack.close();
  stack.use(named('late', closed));
  stack.close();
  t.strictSame(closed, ['late']);
});

t.test('using closes at the end of the block, also when it throws', async (t) => {
  const closed: string[] = [];
  t.throws(() => {
    using stack = new ResourceStack();
    stack.use(named('a', closed));
    stack.use(named('b', closed));
    throw new Error('half-way');
  }, /half-way/);
  t.strictSame(closed, ['b', 'a']);
});

t.test('move hands everything over: the first stack closes nothing', async (t) => {
  const closed: string[] = [];
  let moved: ResourceStack;
  {
    using stack = new ResourceStack();
    stack.use(named('a', closed));
    stack.use(named('b', closed));
    moved = stack.move();
    stack.use(named('after', closed));
  }
  t.strictSame(closed, ['after']);
  moved.close();
  t.strictSame(closed, ['after', 'b', 'a']);
});
