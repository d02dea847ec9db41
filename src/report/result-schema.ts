import { readFileSync } from 'node:fs';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';

/** The schemas that ship with the package, by what a result's `schema` says. */
const FILES = new Map([
  ['faultline.run/1', 'run.json'],
  ['faultline.bench/1', 'bench.json'],
  ['faultline.benches/1', 'benches.json'],
]);

/** All names of schemas, for messages. */
export const SCHEMA_NAMES = [...FILES.keys()];

let compiled: Ajv2020 | null = null;

function validatorOf(name: string): ValidateFunction {
  if (compiled === null) {
    // Types and required fields are given apart from each other, in what `anyOf` and `if` choose.
    compiled = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false });
    for (const file of FILES.values()) {
      const path = new URL(`../../../schemas/${file}`, import.meta.url);
      compiled.addSchema(JSON.parse(readFileSync(path, 'utf8')));
    }
  }
  return compiled.getSchema(FILES.get(name)!)!;
}

/** What is wrong with a value that calls itself a result, and where; null if nothing is. */
export function whyNoResult(value: unknown): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 'it is no JSON object';
  }
  const { schema } = value as { readonly schema?: unknown };
  if (typeof schema !== 'string' || !FILES.has(schema)) {
    const found = typeof schema === 'string' ? JSON.stringify(schema.slice(0, 40)) : 'missing';
    return `its schema is ${found}, which is none of ${SCHEMA_NAMES.join(', ')}`;
  }
  const validate = validatorOf(schema);
  return validate(value) ? null : describe(validate.errors ?? []);
}

/** The deepest complaint: the others are of whoever contains it. */
function describe(errors: readonly ErrorObject[]): string {
  const depth = ({ instancePath }: ErrorObject): number => instancePath.split('/').length;
  const known = errors.filter(({ keyword }) => keyword !== 'if' && keyword !== 'anyOf');
  const worst = known.reduce<ErrorObject | null>(
    (deepest, error) => (deepest === null || depth(error) > depth(deepest) ? error : deepest),
    null,
  );
  if (worst === null) {
    return 'it does not follow its schema';
  }
  const { instancePath, message = 'is wrong', params } = worst;
  const allowed = worst.keyword === 'enum' ? `: ${params.allowedValues.join(', ')}` : '';
  return `${instancePath === '' ? 'it' : instancePath} ${message}${allowed}`;
}
