import { constants } from 'node:os';
import t from 'tap';
import {
  causeOf,
  encodeReason,
  errnoOf,
  MEMORY_ERROR_CAUSES,
} from '../../src/fault/memory-error.js';
import { PageStates, POISONED, poisonedBecause } from '../../src/memory/page-states.js';

t.test('a poisoned unit remembers cause and errno', async (t) => {
  const states = new PageStates(PageStates.allocate(2));
  const errnos = [0, ...Object.values(constants.errno), 133];
  for (const cause of MEMORY_ERROR_CAUSES) {
    for (const errno of errnos) {
      states.publish(1, poisonedBecause(encodeReason(cause, errno)));
      const reason = states.reasonOf(1);
      t.strictSame([causeOf(reason), errnoOf(reason)], [cause, errno]);
      t.equal(states.stateOf(1), POISONED);
      t.equal(states.claim(1), POISONED);
    }
  }
  t.equal(states.reasonOf(0), -1, 'one that is not has none');
  t.equal(states.count(POISONED), 1);
});
