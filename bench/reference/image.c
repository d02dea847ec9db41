/* What is resident before the guest starts: its descriptor table, page tables and ELF segments. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"

#define IMAGE_FILE_MAX (16 << 20)

#define PDPT_GPA (PML4_GPA + PAGE_BYTES)
#define PD_GPA   (PML4_GPA + 2 * PAGE_BYTES)

#define PTE_TABLE   0x07ull /* present, writable, user */
#define PTE_LARGE   0x87ull /* ... and a 2 MiB page */
#define LARGE_SHIFT 21

/* The 64-bit task state: where its I/O map base is, and where the map may begin. */
#define TSS_IO_MAP_BASE 102
#define TSS_STATE_BYTES 104

/* The descriptor of the note: touch.S. */
struct note {
    uint32_t version;
    uint32_t cpl;
    uint64_t parameters;
    uint64_t histograms;
    uint64_t histogram_stride;
};

static uint64_t tables_end(const struct memory *memory)
{
    return PD_GPA + (memory->bytes + GIB - 1) / GIB * PAGE_BYTES;
}

/*
 * A map that lets CPL 3 use every port. RFLAGS.IOPL 3 should be enough, but a KVM that runs CPL 3
 * natively without hardware support (kvm_pvm) loses IOPL at the first entry.
 */
static void write_task_state(struct memory *memory)
{
    uint8_t *tss = memory->alias + TSS_GPA;

    memset(tss, 0, TSS_BYTES);
    tss[TSS_IO_MAP_BASE] = TSS_STATE_BYTES;
    tss[TSS_BYTES - 1] = 0xff; /* the map ends with a byte of ones */
    memory_make_resident(memory, TSS_GPA, TSS_BYTES);
}

/* GPA 0 to the memory's end, rounded up to a GiB, identity-mapped with 2 MiB pages. */
void image_write_tables(struct memory *memory)
{
    static const uint64_t gdt[GDT_BYTES / 8] = {
        0,
        0x00af9b000000ffff, /* code, CPL 0 */
        0x00cf93000000ffff, /* data, CPL 0 */
        0x00cff3000000ffff, /* data, CPL 3 */
        0x00affb000000ffff, /* code, CPL 3 */
    };
    uint64_t directories = (memory->bytes + GIB - 1) / GIB;
    uint64_t *pml4 = (uint64_t *)(memory->alias + PML4_GPA);
    uint64_t *pdpt = (uint64_t *)(memory->alias + PDPT_GPA);
    uint64_t *pd = (uint64_t *)(memory->alias + PD_GPA);

    memcpy(memory->alias + GDT_GPA, gdt, sizeof(gdt));
    memory_make_resident(memory, GDT_GPA, sizeof(gdt));
    pml4[0] = PDPT_GPA | PTE_TABLE;
    for (uint64_t i = 0; i < directories; i++)
        pdpt[i] = (PD_GPA + i * PAGE_BYTES) | PTE_TABLE;
    for (uint64_t i = 0; i < directories * 512; i++)
        pd[i] = i << LARGE_SHIFT | PTE_LARGE;
    memory_make_resident(memory, PML4_GPA, tables_end(memory) - PML4_GPA);
    write_task_state(memory);
}

static uint8_t *read_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    uint8_t *bytes;

    if (fd < 0 || fstat(fd, &status))
        fail(errno, "%s", path);
    if (!S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(Elf64_Ehdr) ||
        status.st_size > IMAGE_FILE_MAX)
        fail(0, "%s: not an ELF64 image", path);
    *size = (size_t)status.st_size;
    bytes = malloc(*size);
    if (!bytes)
        fail(ENOMEM, "%s", path);
    if (read(fd, bytes, *size) != (ssize_t)*size)
        fail(errno, "%s: short read", path);
    close(fd);
    return bytes;
}

/* The notes of one PT_NOTE segment; 1 when ours was among them. */
static int read_notes(const uint8_t *bytes, size_t size, struct note *note)
{
    Elf64_Nhdr header;
    size_t at = 0;

    while (size - at >= sizeof(header)) {
        size_t name, descriptor;

        memcpy(&header, bytes + at, sizeof(header));
        name = at + sizeof(header);
        descriptor = name + ((size_t)header.n_namesz + 3) / 4 * 4;
        at = descriptor + ((size_t)header.n_descsz + 3) / 4 * 4;
        if (at > size)
            return 0;
        if (header.n_type == NOTE_TYPE && header.n_namesz == sizeof(NOTE_NAME) &&
            !memcmp(bytes + name, NOTE_NAME, sizeof(NOTE_NAME)) &&
            header.n_descsz >= sizeof(*note)) {
            memcpy(note, bytes + descriptor, sizeof(*note));
            return 1;
        }
    }
    return 0;
}

static int in_file(const Elf64_Phdr *segment, size_t size)
{
    return segment->p_offset <= size && segment->p_filesz <= size - segment->p_offset;
}

/* The new mapping of the file reads as zeroes, so .bss needs no clearing. */
static void load_segment(struct memory *memory, const Elf64_Phdr *segment, const uint8_t *file,
                         const char *path)
{
    uint64_t end = WORKLOAD_START < memory->bytes ? WORKLOAD_START : memory->bytes;

    if (segment->p_filesz > segment->p_memsz || segment->p_paddr < tables_end(memory) ||
        segment->p_paddr > end || segment->p_memsz > end - segment->p_paddr)
        fail(0, "%s: a segment lies outside %#llx to %#llx", path,
             (unsigned long long)tables_end(memory), (unsigned long long)end);
    memcpy(memory->alias + segment->p_paddr, file + segment->p_offset, segment->p_filesz);
    /* CONTINUE never allocates: pages of zeroes must be in the page cache too. */
    memset(memory->alias + segment->p_paddr + segment->p_filesz, 0,
           segment->p_memsz - segment->p_filesz);
    if (segment->p_memsz)
        memory_make_resident(memory, segment->p_paddr, segment->p_memsz);
}

void image_load(struct memory *memory, struct image *image, const char *path)
{
    size_t size;
    uint8_t *file = read_file(path, &size);
    struct note note = {0};
    Elf64_Ehdr header;
    int found = 0;

    memcpy(&header, file, sizeof(header));
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_machine != EM_X86_64 || header.e_phentsize != sizeof(Elf64_Phdr) ||
        header.e_phoff > size || header.e_phnum > (size - header.e_phoff) / sizeof(Elf64_Phdr))
        fail(0, "%s: not an ELF64 image for x86-64", path);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;

        memcpy(&segment, file + header.e_phoff + i * sizeof(segment), sizeof(segment));
        if (segment.p_type != PT_LOAD && segment.p_type != PT_NOTE)
            continue;
        if (!in_file(&segment, size))
            fail(0, "%s: program header %u points outside the file", path, i);
        if (segment.p_type == PT_LOAD)
            load_segment(memory, &segment, file, path);
        else if (!found)
            found = read_notes(file + segment.p_offset, segment.p_filesz, &note);
    }
    if (!found)
        fail(0, "%s: no \"%s\" note", path, NOTE_NAME);
    if (note.version != ABI_VERSION || (note.cpl != 0 && note.cpl != 3) ||
        note.parameters % 8 || note.parameters > WORKLOAD_START - PAGE_BYTES)
        fail(0, "%s: its note asks for ABI %u, CPL %u", path, note.version, note.cpl);
    image->entry = header.e_entry;
    image->parameters = note.parameters;
    image->cpl = note.cpl;
    free(file);
}
