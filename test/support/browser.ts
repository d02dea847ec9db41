/** Chromium of the system, without a window: one for a test file. */
import { existsSync } from 'node:fs';
import puppeteer, { type Browser } from 'puppeteer-core';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where it is; null where there is none. */
export const CHROMIUM = PATHS.find((path) => existsSync(path)) ?? null;

/** Why pages cannot be looked at here, or false. */
export function browserSkip(): string | false {
  return CHROMIUM === null ? `needs Chromium, which is at none of ${PATHS.join(', ')}` : false;
}

export function launchBrowser(): Promise<Browser> {
  return puppeteer.launch({
    executablePath: CHROMIUM!,
    headless: true,
    // Its sandbox refuses root.
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
    timeout: 30_000,
  });
}
