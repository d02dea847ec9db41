/** What `run --json` prints when there is no run to report on. Imports nothing: see main.ts. */

/** Whether a command line asks for the JSON of a run. */
export function asksForRunJson(argv: readonly string[]): boolean {
  return argv[2] === 'run' && argv.includes('--json');
}

/** One JSON object of schema `faultline.run/1`, of which there are these four fields alone. */
export function failedRun(
  image: string | null,
  { code, message, hint }: { code: string; message: string; hint: string },
): string {
  const result = { schema: 'faultline.run/1', image, outcome: 'error' };
  return `${JSON.stringify({ ...result, error: { code, message, hint } }, null, 2)}\n`;
}
