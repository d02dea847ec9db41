/*
 * mce: 64-bit mode with a machine-check handler. Touches pages at CPL3, one after the other, and
 * compares every word with what the page source must have supplied. When a page cannot be had and
 * the VMM says so by a machine check (vector 18), the handler, at CPL0, finds the bank that holds
 * the error, compares its address with the page that was being touched, clears the bank and
 * MCG_STATUS, and goes on with the next page. So it works on Intel and on AMD: it reads what the
 * MSRs say and expects no particular bank.
 *
 * On entry (CPL0): RDI = parameter block, RSI = this vCPU's index, RDX = number of vCPUs.
 */
#include "../abi.h"

/* The parameter block: 64-bit words, filled by the VMM (src/machine/mce-guest.ts). */
#define P_START   0                     /* GPA of the first page */
#define P_PAGES   8                     /* pages in all */
#define P_SEED    16                    /* the pattern's seed, 32 bits */
#define P_ZERO    24                    /* 1: the page source supplies zeroes, not the pattern */
#define P_OVERLAP 32                    /* 0: pages are partitioned, 1: all vCPUs touch all */
#define P_SHIFT   40                    /* a machine check is about 2^this bytes */

/* One vCPU's memory. The TSS allows every port at CPL3, as the VMM's own does. */
#define A_RSP0    2048                  /* the handler's stack ends here */
#define A_STACK   4096                  /* the loop's stack ends here */
#define A_TSS     4096
#define TSS_FIXED 104
#define TSS_BYTES (TSS_FIXED + 8192 + 1)
#define AREA_BYTES (A_TSS + 8304)

/* Locals, on the loop's stack; the handler reaches them through R12. */
#define L_VISITED    0                  /* pages that were to be had */
#define L_WORDS      8
#define L_MISMATCHES 16
#define L_FIRST_BAD  24
#define L_CHECKS     32                 /* machine checks taken */
#define L_RIGHT      40                 /* those about the page that was being touched */
#define L_ADDRESS    48                 /* MCi_ADDR of the last */
#define L_STATUS     56                 /* MCi_STATUS of the last */
#define L_SIZE       64

#define SELECTOR_CODE0 0x08
#define SELECTOR_DATA3 0x1b
#define SELECTOR_CODE3 0x23
#define SELECTOR_TSS   0x28

#define MSR_MCG_CAP    0x179
#define MSR_MCG_STATUS 0x17a
#define MSR_MC0_STATUS 0x401
#define CR4_MCE        0x40
#define VECTOR_MC      18

/*
 * Registers that live across the loop:
 *   RBP parameter block   R12 locals   R13 vCPU's index   R14 page being touched   R15 end
 */
        .text
        .globl _start
_start:
        mov     %rdi, %rbp
        mov     %rsi, %r13
        imul    $AREA_BYTES, %rsi, %rax
        lea     areas(%rax), %rbx
        lea     A_STACK-L_SIZE(%rbx), %r12
        lea     A_RSP0(%rbx), %rsp

        /* The share: all pages, or [index * pages / n, (index + 1) * pages / n). */
        mov     %rdx, %rcx
        mov     P_PAGES(%rbp), %r15
        xor     %r14d, %r14d
        cmpq    $0, P_OVERLAP(%rbp)
        jne     1f
        mov     %r13, %rax
        mul     %r15
        div     %rcx
        mov     %rax, %r14
        lea     1(%r13), %rax
        mul     %r15
        div     %rcx
        mov     %rax, %r15
1:      shl     $12, %r14
        add     P_START(%rbp), %r14
        shl     $12, %r15
        add     P_START(%rbp), %r15

        /* A TSS of this vCPU's own, for its handler's stack. */
        lea     A_TSS(%rbx), %rax
        lea     A_RSP0(%rbx), %rcx
        mov     %rcx, 4(%rax)
        movw    $TSS_FIXED, 102(%rax)
        movb    $0xff, TSS_BYTES-1(%rax)

        /* And so a GDT: as the VMM's, and the TSS behind it. */
        mov     %r13, %rdi
        imul    $GDT_BYTES, %rdi, %rdi
        lea     gdts(%rdi), %rdi
        mov     $GDT_FLAT, %ecx
        xor     %edx, %edx
2:      mov     flat(,%rdx,8), %r8
        mov     %r8, (%rdi,%rdx,8)
        inc     %edx
        cmp     %ecx, %edx
        jb      2b
        mov     %rax, %r8               /* base 15:0 and 23:16 */
        and     $0xffffff, %r8
        shl     $16, %r8
        mov     $0x890000000000, %r9    /* present, available 64-bit TSS */
        or      %r9, %r8
        or      $TSS_BYTES-1, %r8
        mov     %rax, %r9               /* base 31:24 */
        shr     $24, %r9
        shl     $56, %r9
        or      %r9, %r8
        mov     %r8, SELECTOR_TSS(%rdi)
        movq    $0, SELECTOR_TSS+8(%rdi)
        sub     $16, %rsp
        movw    $GDT_BYTES-1, (%rsp)
        mov     %rdi, 2(%rsp)
        lgdt    (%rsp)
        mov     $SELECTOR_TSS, %eax
        ltr     %ax

        /* Every vCPU writes the same gate. */
        mov     $machine_check, %rax
        lea     idt+VECTOR_MC*16, %rdi
        mov     %rax, %rcx
        and     $0xffff, %ecx
        or      $SELECTOR_CODE0 << 16, %ecx
        mov     %ecx, (%rdi)
        mov     %eax, %ecx
        and     $0xffff0000, %ecx
        or      $0x8e00, %ecx           /* present, interrupt gate */
        mov     %ecx, 4(%rdi)
        movq    $0, 8(%rdi)
        movw    $4095, (%rsp)
        movq    $idt, 2(%rsp)
        lidt    (%rsp)
        add     $16, %rsp

        mov     %cr4, %rax
        or      $CR4_MCE, %rax
        mov     %rax, %cr4

        pushq   $SELECTOR_DATA3
        push    %r12
        pushq   $0x3002                 /* IOPL 3 */
        pushq   $SELECTOR_CODE3
        pushq   $page
        iretq

/* CPL3 from here. */
page:
        cmp     %r15, %r14
        jae     report

        /* First word RAX and step R11D. */
        mov     %r14, %rdi
        shr     $12, %rdi
        mov     P_SEED(%rbp), %esi
        call    hash
        mov     $PATTERN_STEP, %r11d
        cmpq    $0, P_ZERO(%rbp)
        je      1f
        xor     %eax, %eax
        xor     %r11d, %r11d
1:
        mov     %r14, %rsi
        mov     $1024, %ecx
2:      mov     (%rsi), %edi            /* here it may be taken to machine_check */
        cmp     %eax, %edi
        je      3f
        incq    L_MISMATCHES(%r12)
        cmpq    $0, L_FIRST_BAD(%r12)
        jne     3f
        mov     %rsi, L_FIRST_BAD(%r12)
3:      add     $4, %rsi
        add     %r11d, %eax
        dec     %ecx
        jnz     2b
        addq    $1024, L_WORDS(%r12)
        incq    L_VISITED(%r12)
next_page:
        add     $4096, %r14
        jmp     page

report:
        mov     $PORT_REPORT, %edx
        xor     %ebx, %ebx
1:      mov     (%r12,%rbx), %rax
        out     %eax, %dx
        add     $4, %edx
        shr     $32, %rax
        out     %eax, %dx
        add     $4, %edx
        add     $8, %ebx
        cmp     $L_SIZE, %ebx
        jb      1b
        mov     L_CHECKS(%r12), %rax
        sub     L_RIGHT(%r12), %rax
        or      L_MISMATCHES(%r12), %rax
        setne   %al
        movzbl  %al, %eax
        mov     $PORT_EXIT, %edx
        out     %eax, %dx
0:      jmp     0b

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

/*
 * CPL0. Nothing of the loop's registers is needed afterwards but those that live across it: the page
 * is given up. The frame on the stack says where to go on.
 */
machine_check:
        incq    L_CHECKS(%r12)
        mov     $MSR_MCG_CAP, %ecx
        rdmsr
        movzbl  %al, %r8d               /* banks */
        xor     %r9d, %r9d
1:      cmp     %r8d, %r9d
        jae     4f
        lea     (,%r9d,4), %r10d
        lea     MSR_MC0_STATUS(%r10d), %ecx
        rdmsr
        shl     $32, %rdx
        or      %rdx, %rax
        bt      $63, %rax               /* VAL */
        jnc     3f
        mov     %rax, L_STATUS(%r12)
        bt      $58, %rax               /* ADDRV */
        jnc     2f
        inc     %ecx
        rdmsr
        dec     %ecx
        shl     $32, %rdx
        or      %rdx, %rax
        mov     %rax, L_ADDRESS(%r12)
        mov     %rcx, %rdi
        mov     P_SHIFT(%rbp), %ecx
        xor     %r14, %rax              /* of the same 2^shift bytes? */
        shr     %cl, %rax
        mov     %rdi, %rcx
        test    %rax, %rax
        jnz     2f
        incq    L_RIGHT(%r12)
2:      xor     %eax, %eax
        xor     %edx, %edx
        wrmsr                           /* the bank is free again */
3:      inc     %r9d
        jmp     1b
4:      mov     $MSR_MCG_STATUS, %ecx
        xor     %eax, %eax
        xor     %edx, %edx
        wrmsr                           /* MCIP: the next one does not shut us down */
        movq    $next_page, (%rsp)
        mov     %r12, 24(%rsp)
        iretq

        .section .rodata
        .balign 8
flat:   .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
        .set    GDT_FLAT, (. - flat) / 8
        .set    GDT_BYTES, (. - flat) + 16

        .section .note.faultline, "a", @note
        .balign 4
        .long   2f - 1f, 4f - 3f, NOTE_TYPE
1:      .asciz  NOTE_NAME
2:      .balign 4
3:      .long   ABI_VERSION
        .long   0                       /* starts at this CPL */
        .quad   parameters
        .quad   0                       /* no histograms */
        .quad   0
4:      .balign 4

        .bss
        .balign 4096
areas:  .skip   MAX_VCPUS * AREA_BYTES
idt:    .skip   4096
parameters:
        .skip   4096
gdts:   .skip   MAX_VCPUS * GDT_BYTES
