/*
 * hello: 16-bit real mode, flat binary at FLAT_ENTRY.
 *
 * Every vCPU writes one line to the serial port and ends. On entry AX is the vCPU's index and BX
 * the number of vCPUs; DS = ES = SS = 0. KVM emulates real mode where the hardware (or a software
 * KVM) cannot run it, so this also shows that emulated instructions work.
 */
#include "../abi.h"

#define STACK_SHIFT 5

        .code16
        .globl _start
_start:
        mov     %ax, %sp                /* a stack of its own, within the image */
        inc     %sp
        shl     $STACK_SHIFT, %sp
        add     $stacks, %sp
        mov     %ax, %bp                /* index */
        mov     %bx, %di                /* count */
        mov     $hello, %si
        call    print
        mov     %bp, %ax
        call    print_number
        mov     $of, %si
        call    print
        mov     %di, %ax
        call    print_number
        mov     $ending, %si
        call    print
        mov     $PORT_EXIT, %dx
        xor     %eax, %eax
        outl    %eax, %dx
0:      hlt
        jmp     0b

/* SI = zero-terminated text */
print:
        mov     $PORT_SERIAL, %dx
0:      lodsb
        test    %al, %al
        jz      1f
        outb    %al, %dx
        jmp     0b
1:      ret

/* AX = 0 to 99, in decimal without a leading zero */
print_number:
        mov     $PORT_SERIAL, %dx
        mov     $10, %cl
        div     %cl                     /* AL = tens, AH = units */
        mov     %ah, %ch
        test    %al, %al
        jz      0f
        add     $'0', %al
        outb    %al, %dx
0:      mov     %ch, %al
        add     $'0', %al
        outb    %al, %dx
        ret

hello:  .asciz  "hello from vCPU "
of:     .asciz  " of "
ending: .asciz  " in real mode\n"

        .balign 32
stacks: .skip   MAX_VCPUS << STACK_SHIFT
