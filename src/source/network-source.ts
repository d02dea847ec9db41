import type { LinkEnd } from './network-link.js';
import type { PageSource } from './page-source.js';

/**
 * Another source's contents, as if they came over a network: every `fill` is one request. They are
 * made while the request is under way, so that a network which is slower than that costs its own
 * time and no more.
 */
export class NetworkSource implements PageSource {
  constructor(
    private readonly of: PageSource,
    private readonly link: LinkEnd,
  ) {}

  fill(pageNumber: number, words: Int32Array, first: number, count: number): boolean {
    this.link.request(count * 4);
    const filled = this.of.fill(pageNumber, words, first, count);
    this.link.receive();
    return filled;
  }

  compare(pageNumber: number, words: Int32Array, first: number): number {
    return this.of.compare(pageNumber, words, first);
  }
}
