/** It ships no types. A document without a browser, to draw SVG in; of it, what is used here. */
declare module '@mixmark-io/domino' {
  export interface DrawnElement {
    readonly firstChild: unknown;
    readonly outerHTML: string;
    textContent: string;
    setAttribute(name: string, value: string): void;
    insertBefore(child: DrawnElement, before: unknown): void;
  }
  export function createWindow(html: string): {
    readonly document: { createElementNS(namespace: string, name: string): DrawnElement };
  };
}
