import t from 'tap';
import { parseTracepointFormat, tracepointFormat } from '../../src/measure/tracepoint-format.js';
import { rootSkip } from '../support/host.js';

/** As Linux 6.18 has it. */
const TEXT = `name: mmap_lock_acquire_returned
ID: 675
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:struct mm_struct * mm;\toffset:8;\tsize:8;\tsigned:0;
\tfield:u64 memcg_id;\toffset:16;\tsize:8;\tsigned:0;
\tfield:char comm[16];\toffset:32;\tsize:16;\tsigned:0;
\tfield:bool write;\toffset:24;\tsize:1;\tsigned:0;

print fmt: "mm=%p", REC->mm
`;
const NAME = 'mmap_lock/mmap_lock_acquire_returned';

t.test('the id and where each field is', async (t) => {
  t.match(parseTracepointFormat(TEXT), {
    id: 675,
    fields: {
      common_type: { offset: 0, size: 2 },
      mm: { offset: 8, size: 8 },
      comm: { offset: 32, size: 16 },
      write: { offset: 24, size: 1 },
    },
  });
});

t.test('a file cut short anywhere is none', async (t) => {
  for (let length = 0; length < TEXT.indexOf('print fmt: '); length++) {
    t.equal(parseTracepointFormat(TEXT.slice(0, length)), null, `${length} characters`);
  }
  t.equal(parseTracepointFormat('no such thing'), null);
});

t.test('fields of this kernel are as wanted, or named', { skip: rootSkip() }, async (t) => {
  t.match(tracepointFormat(NAME, { common_type: 2, mm: 8, write: 1, success: 1 }), { id: Number });
  t.match(tracepointFormat(NAME, { mm: 4 }), /has no field mm of 4 bytes/);
  t.match(tracepointFormat(NAME, { owner: 8 }), /has no field owner of 8 bytes/);
  t.match(tracepointFormat('mmap_lock/nonesuch', {}), /no tracepoint mmap_lock\/nonesuch/);
});
