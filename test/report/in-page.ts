/**
 * What is looked at in a page, as scripts for it: this project's own code runs in no browser, and is
 * compiled without a browser's types.
 */

/** Texts of charts and of the page whose boxes overlap: pairs of texts. */
export const OVERLAPS = `(() => {
  const shown = (element) => element.checkVisibility();
  const box = (element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return { left, top, right, bottom, text: element.textContent.trim().slice(0, 40) };
  };
  const overlap = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  const pairs = [];
  const compare = (boxes) => {
    const filled = boxes.filter(({ left, right, text }) => right > left && text !== '');
    filled.forEach((a, index) => {
      for (const b of filled.slice(index + 1)) {
        if (overlap(a, b)) pairs.push(a.text + ' / ' + b.text);
      }
    });
  };
  for (const svg of document.querySelectorAll('.chart svg')) {
    if (shown(svg)) compare([...svg.querySelectorAll('text')].map(box));
  }
  for (const line of document.querySelectorAll('.legend, tr')) {
    if (shown(line)) compare([...line.children].map(box));
  }
  // What stands below each other in a section.
  for (const section of document.querySelectorAll('header, section')) {
    compare([...section.children].filter(shown).map(box));
  }
  return pairs;
})()`;

/** Texts of charts that reach out of them: cut off. */
export const CUT_OFF = `[...document.querySelectorAll('.chart svg')]
  .filter((svg) => svg.checkVisibility())
  .flatMap((svg) => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')]
      .map((text) => [text.textContent, text.getBoundingClientRect()])
      .filter(([, box]) => box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1 ||
        box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
      .map(([text]) => text);
  })`;

/** How much wider the page is than its window, in pixels. */
export const TOO_WIDE =
  'document.documentElement.scrollWidth - document.documentElement.clientWidth';

/** The least contrast of text, and of series, against the page. */
export const CONTRASTS = `(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const luminance = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data]
      .slice(0, 3)
      .map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (backgroundColor !== 'rgba(0, 0, 0, 0)') return backgroundColor;
    }
    return 'white';
  };
  let text = Infinity;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
    if (!own || !element.checkVisibility() || element.closest('style, title, desc')) continue;
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    text = Math.min(text, contrast(color, groundOf(element)));
  }
  const root = getComputedStyle(document.documentElement);
  const ground = getComputedStyle(document.body).backgroundColor;
  const series = [1, 2, 3, 4, 5, 6, 7, 8].map((n) =>
    contrast(root.getPropertyValue('--series-' + n).trim(), ground));
  return { text, series: Math.min(...series), dark: luminance(ground) < 0.2 };
})()`;

/** Descriptions of the marks that are drawn with something in them, in what is shown. */
export const MARKS = `[...document.querySelectorAll('.chart svg')]
  .filter((svg) => svg.checkVisibility())
  .flatMap((svg) => [...svg.querySelectorAll('[aria-description]')])
  .filter((mark) => mark.querySelector('path, circle, rect, line') !== null || mark.children.length > 0)
  .map((mark) => mark.getAttribute('aria-description'))`;

/** Charts without a title, a description or a role. */
export const UNTITLED = `[...document.querySelectorAll('.chart svg[role=img]')].filter((svg) =>
  (svg.getAttribute('aria-labelledby') ?? '').split(' ').some((id) =>
    (document.getElementById(id)?.textContent ?? '') === '')).length
  + [...document.querySelectorAll('.chart > div > svg:not([role=img])')].length`;
