/*
 * touch: 64-bit mode, CPL3 with all ports allowed, paging on, identity-mapped.
 *
 * Each vCPU walks its pages in the order asked for. The first access to a page is timed with the
 * TSC; then every word of the page is compared with the pattern its page source must have
 * supplied, and a page that is due for it is overwritten with a second pattern. What was seen goes
 * out through the report ports. See ../README.md for the calling convention.
 *
 * On entry: RDI = parameter block, RSI = this vCPU's index, RDX = number of vCPUs.
 */
#include "../abi.h"

/* The parameter block: 64-bit words, filled by the VMM (src/machine/touch-guest.ts). */
#define P_START   0                     /* GPA of the first page */
#define P_PAGES   8                     /* pages in all */
#define P_ORDER   16                    /* 0 sequential, 1 random, 2 strided */
#define P_WRITE   24                    /* percentage of pages that are written */
#define P_PASSES  32
#define P_SEED    40                    /* the pattern's seed, 32 bits */
#define P_OVERLAP 48                    /* 0: pages are partitioned, 1: all vCPUs touch all */
#define P_STRIDE  56                    /* pages between neighbours in strided order */
#define P_ORDER_SEED 64                 /* of the random order, 32 bits */
#define P_ZERO    72                    /* 1: the page source supplies zeroes, not the pattern */
#define P_EVERY   80                    /* from one page that is touched to the next, in pages */

/* Locals, on the vCPU's own stack. */
#define L_FIRST      0                  /* first page of this vCPU's share */
#define L_MISMATCHES 8
#define L_WORDS      16
#define L_TOUCHED    24
#define L_FIRST_BAD  32
#define L_MAX        40                 /* slowest first access, cycles */
#define L_BEGAN      48
#define L_MASK       56                 /* random order: 2^k - 1 >= pages - 1 */
#define L_SHIFT      64
#define L_ORDER_SEED 72
#define L_WRITES     80                 /* this page is due for a write */
#define L_BASE_B     88                 /* first word of the second pattern */
#define L_STEP_2     96                 /* from word to word of the second possibility */
#define L_SIZE       104

/* One vCPU's memory: its histogram, then its stack. */
#define AREA_BYTES   (HISTOGRAM_BYTES + 4096)

/*
 * Registers that live across the loop:
 *   RBP parameter block   R12 histogram   R13 pass   R14 page address   R15 pages in the share
 *   RBX index within the share
 */
        .text
        .globl _start
_start:
        mov     %rdi, %rbp
        mov     %rsi, %rax
        imul    $AREA_BYTES, %rax, %rax
        lea     areas(%rax), %r12
        lea     AREA_BYTES-L_SIZE(%r12), %rsp

        /* The share: all pages, or [index * pages / n, (index + 1) * pages / n). */
        mov     P_PAGES(%rbp), %r15
        movq    $0, L_FIRST(%rsp)
        cmpq    $0, P_OVERLAP(%rbp)
        jne     1f
        mov     %rdx, %rcx
        mov     %rsi, %rax
        mul     %r15
        div     %rcx
        mov     %rax, L_FIRST(%rsp)
        lea     1(%rsi), %rax
        mul     %r15
        div     %rcx
        sub     L_FIRST(%rsp), %rax
        mov     %rax, %r15
1:
        movq    $0, L_MISMATCHES(%rsp)
        movq    $0, L_WORDS(%rsp)
        movq    $0, L_TOUCHED(%rsp)
        movq    $0, L_FIRST_BAD(%rsp)
        movq    $0, L_MAX(%rsp)

        /* Random order permutes k bits, the fewest that hold the share. */
        mov     P_ORDER_SEED(%rbp), %rax
        add     %rsi, %rax
        mov     %rax, L_ORDER_SEED(%rsp)
        xor     %ecx, %ecx
        mov     %r15, %rax
        dec     %rax
        jle     2f                      /* one page, or none */
        bsr     %rax, %rcx
        inc     %ecx
2:      mov     $1, %eax
        shl     %cl, %rax
        dec     %rax
        mov     %rax, L_MASK(%rsp)
        inc     %ecx
        shr     %ecx
        mov     %rcx, L_SHIFT(%rsp)

        call    cycles
        mov     %rax, L_BEGAN(%rsp)
        xor     %r13d, %r13d

pass:
        cmp     P_PASSES(%rbp), %r13
        jae     report
        xor     %ebx, %ebx
page:
        cmp     %r15, %rbx
        jae     pass_done
        mov     %rbx, %rdi
        mov     P_ORDER(%rbp), %rax
        call    *orders(,%rax,8)
        add     L_FIRST(%rsp), %rax
        imul    P_EVERY(%rbp), %rax
        shl     $12, %rax
        add     P_START(%rbp), %rax
        mov     %rax, %r14

        /*
         * What may be there: first word R9D and step R11D, or first word R10D and step L_STEP_2.
         * They differ only where another vCPU may have written the page.
         */
        mov     %r14, %rdi
        shr     $12, %rdi
        mov     P_SEED(%rbp), %esi
        xor     $WRITE_SALT, %esi
        call    hash
        xor     %edx, %edx
        mov     $100, %ecx
        div     %ecx
        xor     %eax, %eax
        cmp     P_WRITE(%rbp), %edx
        setb    %al
        mov     %rax, L_WRITES(%rsp)
        mov     P_SEED(%rbp), %esi
        call    hash
        mov     $PATTERN_STEP, %r11d
        cmpq    $0, P_ZERO(%rbp)
        je      2f
        xor     %eax, %eax
        xor     %r11d, %r11d
2:      mov     %eax, %r9d
        mov     %eax, %r10d
        mov     %r11, L_STEP_2(%rsp)
        cmpq    $0, L_WRITES(%rsp)
        je      3f
        not     %esi
        call    hash
        mov     %eax, L_BASE_B(%rsp)
        cmpq    $0, P_OVERLAP(%rbp)
        je      1f
        mov     %eax, %r10d             /* another vCPU may or may not have written it */
        mov     $PATTERN_STEP, %ecx
        mov     %rcx, L_STEP_2(%rsp)
        jmp     3f
1:      test    %r13, %r13
        jz      3f
        mov     %eax, %r9d              /* ours alone: written in the pass before */
        mov     %eax, %r10d
        mov     $PATTERN_STEP, %r11d
        mov     %r11, L_STEP_2(%rsp)
3:
        /* The first access, timed. A write access keeps what is there. */
        call    cycles
        mov     %rax, %r8
        cmpq    $0, L_WRITES(%rsp)
        je      4f
        lock orl $0, (%r14)
        jmp     5f
4:      mov     (%r14), %eax
5:      call    cycles
        sub     %r8, %rax
        test    %r13, %r13
        jnz     6f
        call    record
6:
        /* Every word of the page. */
        mov     %r14, %rsi
        mov     $1024, %ecx
        mov     L_STEP_2(%rsp), %r8d
        mov     %r9d, %eax
        mov     %r10d, %edx
7:      mov     (%rsi), %edi
        cmp     %eax, %edi
        je      8f
        cmp     %edx, %edi
        je      8f
        incq    L_MISMATCHES(%rsp)
        cmpq    $0, L_FIRST_BAD(%rsp)
        jne     8f
        mov     %rsi, L_FIRST_BAD(%rsp)
8:      add     $4, %rsi
        add     %r11d, %eax
        add     %r8d, %edx
        dec     %ecx
        jnz     7b
        addq    $1024, L_WORDS(%rsp)
        incq    L_TOUCHED(%rsp)

        cmpq    $0, L_WRITES(%rsp)
        je      next_page
        mov     %r14, %rdi
        mov     $1024, %ecx
        mov     L_BASE_B(%rsp), %eax
9:      mov     %eax, (%rdi)
        add     $4, %rdi
        add     $PATTERN_STEP, %eax
        dec     %ecx
        jnz     9b
next_page:
        inc     %rbx
        jmp     page
pass_done:
        inc     %r13
        jmp     pass

report:
        call    cycles
        sub     L_BEGAN(%rsp), %rax
        mov     %rax, %rbx
        mov     $PORT_REPORT, %edx
        mov     L_TOUCHED(%rsp), %rax
        call    put
        mov     L_WORDS(%rsp), %rax
        call    put
        mov     L_MISMATCHES(%rsp), %rax
        call    put
        mov     L_FIRST_BAD(%rsp), %rax
        call    put
        mov     L_MAX(%rsp), %rax
        call    put
        mov     %rbx, %rax
        call    put
        mov     $PORT_EXIT, %edx
        xor     %eax, %eax
        cmpq    $0, L_MISMATCHES(%rsp)
        setne   %al
        out     %eax, %dx
0:      jmp     0b

/* RAX to the two report words at port DX; DX moves on. */
put:
        out     %eax, %dx
        add     $4, %edx
        shr     $32, %rax
        out     %eax, %dx
        add     $4, %edx
        ret

/* RAX = TSC, after everything before it. Keeps all but RAX and RDX. */
cycles:
        lfence
        rdtsc
        lfence
        shl     $32, %rdx
        or      %rdx, %rax
        ret

/* RAX = cycles of one first access: into the histogram. */
record:
        cmp     L_MAX+8(%rsp), %rax     /* +8: our return address */
        jbe     1f
        mov     %rax, L_MAX+8(%rsp)
1:      mov     %rax, %rdx
        cmp     $1 << HISTOGRAM_SUB_BITS, %rax
        jb      2f
        bsr     %rax, %rcx
        sub     $HISTOGRAM_SUB_BITS, %ecx
        shr     %cl, %rdx
        and     $(1 << HISTOGRAM_SUB_BITS) - 1, %edx
        inc     %ecx
        shl     $HISTOGRAM_SUB_BITS, %ecx
        or      %ecx, %edx
2:      incl    (%r12,%rdx,4)
        ret

/* EAX = hash of page number EDI under seed ESI. Uses ECX. */
hash:
        imul    $PATTERN_STEP, %esi, %eax
        add     %edi, %eax
        mov     %eax, %ecx
        shr     $16, %ecx
        xor     %ecx, %eax
        imul    $PATTERN_MIX_A, %eax, %eax
        mov     %eax, %ecx
        shr     $13, %ecx
        xor     %ecx, %eax
        imul    $PATTERN_MIX_B, %eax, %eax
        mov     %eax, %ecx
        shr     $16, %ecx
        xor     %ecx, %eax
        ret

/* Orders: RAX = the page to visit as number RDI of the share. They use RCX, RDX, RSI, R8. */
sequential:
        mov     %rdi, %rax
        ret

/*
 * A permutation of k bits (odd multiplications and right shifts, both invertible), walked until it
 * falls inside the share: less than two steps on average, no memory.
 */
random:
        mov     %rdi, %rax
        mov     L_SHIFT+8(%rsp), %ecx
        mov     L_MASK+8(%rsp), %rsi
1:      imul    $0x2545F491, %rax, %rax
        add     L_ORDER_SEED+8(%rsp), %rax
        and     %rsi, %rax
        mov     %rax, %rdx
        shr     %cl, %rdx
        xor     %rdx, %rax
        imul    $0x5851F42D, %rax, %rax
        and     %rsi, %rax
        mov     %rax, %rdx
        shr     %cl, %rdx
        xor     %rdx, %rax
        cmp     %r15, %rax
        jae     1b
        ret

/* Column by column through rows of P_STRIDE pages; the first (pages % stride) columns are longer. */
strided:
        mov     %r15, %rax
        xor     %edx, %edx
        divq    P_STRIDE(%rbp)
        mov     %rax, %rcx              /* RCX = whole rows, RDX = longer columns */
        mov     %rdx, %rsi
        lea     1(%rcx), %r8
        mov     %rdx, %rax
        imul    %r8, %rax               /* pages in the longer columns */
        sub     %rax, %rdi
        jae     1f
        add     %rdi, %rax
        xor     %edx, %edx
        div     %r8                     /* column RAX, row RDX */
        jmp     2f
1:      mov     %rdi, %rax
        xor     %edx, %edx
        div     %rcx
        add     %rsi, %rax
2:      imul    P_STRIDE(%rbp), %rdx
        add     %rdx, %rax
        ret

        .section .rodata
        .balign 8
orders: .quad   sequential, random, strided

        .section .note.faultline, "a", @note
        .balign 4
        .long   2f - 1f, 4f - 3f, NOTE_TYPE
1:      .asciz  NOTE_NAME
2:      .balign 4
3:      .long   ABI_VERSION
        .long   3                       /* starts at this CPL */
        .quad   parameters
        .quad   areas                   /* histograms */
        .quad   AREA_BYTES              /* from one vCPU's histogram to the next */
4:      .balign 4

        .bss
        .balign 4096
areas:  .skip   MAX_VCPUS * AREA_BYTES
parameters:
        .skip   4096
