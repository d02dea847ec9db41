import { exampleBackings, listRefusals } from '../machine/refusals.js';
import type { BackingTraits } from '../memory/backing.js';
import { formatSize } from '../memory/sizes.js';
import { UFFDIO_REGISTER_MODE_MINOR, UFFDIO_REGISTER_MODE_MISSING } from '../uapi/userfaultfd.js';

const MODES = [
  [UFFDIO_REGISTER_MODE_MISSING, 'missing'],
  [UFFDIO_REGISTER_MODE_MINOR, 'minor'],
] as const;

/** The backings as a table in Markdown, from the data that the code goes by. */
export function backingTable(): string {
  return markdown(
    [
      'backing',
      'alias mapping',
      'userfaultfd modes',
      'filled by',
      'smallest unit',
      'discarded by',
      'huge pages',
    ],
    exampleBackings().map((backing) => [
      `\`${backing.name}\``,
      backing.alias ? 'yes' : 'no',
      MODES.filter(([mode]) => (backing.uffdModes & mode) !== 0)
        .map(([, name]) => name)
        .join(', ') || 'none',
      filledBy(backing),
      formatSize(backing.pageBytes),
      backing.uffdModes === 0
        ? 'not at all'
        : backing.discard.map((step) => STEPS[step]).join(', '),
      hugePages(backing),
    ]),
  );
}

const STEPS: Readonly<Record<BackingTraits['discard'][number], string>> = {
  'punch-hole': 'punching a hole',
  'remove-alias': '`MADV_REMOVE` of the alias mapping',
  'drop-private': '`MADV_DONTNEED_LOCKED`',
};

function filledBy({ fill, uffdModes }: BackingTraits): string {
  if (uffdModes === 0) {
    return 'the kernel';
  }
  return fill === 'continue' ? '`UFFDIO_CONTINUE`' : '`UFFDIO_COPY`';
}

function hugePages({ hugetlb, hugeFile, collapsible }: BackingTraits): string {
  if (hugetlb) {
    return 'always';
  }
  return collapsible ? `by \`--collapse\`${hugeFile ? ', huge pages in the file' : ''}` : 'no';
}

/** What is refused and why, as a table in Markdown. */
export function refusalTable(): string {
  return markdown(
    ['backing', 'refused', 'because'],
    listRefusals().map(({ backings, flag, values, reason }) => [
      backings === 'every' ? 'every' : backings.map((name) => `\`${name}\``).join(', '),
      values.map((value) => `\`${`${flag} ${value}`.trim()}\``).join(', '),
      reason,
    ]),
  );
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
