import t from 'tap';
import { SHARES } from './cases.js';

t.test('the shares of all properties are shares of 100,000', async (t) => {
  const total = Object.values(SHARES).reduce((sum, { many }) => sum + many, 0);
  t.equal(total, 100_000);
});
