import fc from 'fast-check';
import t from 'tap';
import { html, trusted } from '../../../src/report/html/markup.js';

t.test('text is text, markup is markup', async (t) => {
  const inner = html`<b>${'<i>"&\''}</b>`;
  t.equal(inner.text, '<b>&lt;i&gt;&quot;&amp;&#39;</b>');
  t.equal(html`${[inner, 1, null, undefined, 'a<b']}`.text, `${inner.text}1a&lt;b`);
  t.equal(html`${trusted('<br>')}`.text, '<br>');
});

t.test('whatever it is, it opens no element and closes no attribute', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const { text: made } = html`${text}`;
      t.notMatch(made, /[<>"']/);
      t.notMatch(made, /&(?!(amp|lt|gt|quot|#39);)/);
    }),
    { numRuns: 300 },
  );
});

t.test('what cannot be seen is shown', async (t) => {
  t.equal(html`${'a\u202eb\u0000c\u001b[1m\n'}`.text, 'a\\u{202e}b\\u{0}c\\u{1b}[1m\n');
  t.equal(html`${'µ → σ 漢'}`.text, 'µ → σ 漢');
});
