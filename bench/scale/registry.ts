import type { Bench } from './bench.js';
import { contention } from './contention.js';
import { deliveries } from './deliveries.js';
import { exits } from './exits.js';
import { faults } from './faults.js';
import { micro } from './micro.js';
import { overhead } from './overhead.js';
import { soak } from './soak.js';
import { units } from './units.js';

/** All benches, in the order of `faultline bench --list`. */
export const BENCHES: readonly Bench[] = [
  deliveries as Bench,
  exits as Bench,
  faults as Bench,
  contention as Bench,
  overhead as Bench,
  units as Bench,
  micro as Bench,
  soak as Bench,
];
