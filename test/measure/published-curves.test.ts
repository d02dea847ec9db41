import t from 'tap';
import { publishedCurves, REFERENCES } from '../../src/measure/published-curves.js';

t.test('published figures are those of all vCPUs together', async (t) => {
  const [userfaultfd, exits] = publishedCurves(['moorthy-2024']);
  t.match(userfaultfd, { label: 'Moorthy 2024, userfaultfd', reference: 'moorthy-2024' });
  t.strictSame(userfaultfd!.points[2], { vcpus: 4, pagesPerSecond: 210_000 });
  t.strictSame(exits!.points.at(-1), { vcpus: 256, pagesPerSecond: 4_012_000 });
  const houghton = publishedCurves(['houghton-2024']);
  t.equal(houghton.length, 3);
  t.strictSame(houghton[1]!.points.at(-1), { vcpus: 64, pagesPerSecond: 64 * 3244 });
  t.match(houghton[0]!.source, /published per vCPU/, 'which is said');
});

t.test('they are fitted, where there are points enough', async (t) => {
  const [userfaultfd, exits, ...houghton] = publishedCurves(REFERENCES);
  const rising = exits!.fit!;
  const falling = userfaultfd!.fit!;
  t.ok(rising.fitted && falling.fitted);
  if (rising.fitted && falling.fitted) {
    t.ok(falling.peak === null || falling.peak.vcpus < 16, 'a userfaultfd peaks early');
    t.strictSame(
      rising.predictions.map(({ vcpus }) => vcpus),
      [1024],
    );
  }
  for (const { fit } of houghton) {
    t.match(fit, { fitted: false, why: /there are 3/ });
  }
});

t.test('one given twice is there once; one that is not known is refused by name', async (t) => {
  t.equal(publishedCurves(['moorthy-2024', 'moorthy-2024']).length, 2);
  t.throws(() => publishedCurves(['moorthy-2024', 'linus-1991']), {
    code: 'usage',
    message: '--reference linus-1991 is not known',
    hint: 'There are: moorthy-2024, houghton-2024.',
  });
});
