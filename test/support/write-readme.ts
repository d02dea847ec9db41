/** Writes the tables of the README that come from data: run by `make readme`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { withTables } from './readme-tables.js';

const [, , path] = process.argv;
writeFileSync(path!, withTables(readFileSync(path!, 'utf8')));
