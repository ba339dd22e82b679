#include "huge_mapping.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define SAMPLES_MAX 64u

/* A reservation with room to shift; its ends go back. */
void *huge_mapping_create(int descriptor, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t used = (bytes + page - 1) / page * page, reserved = used + HUGE_PAGE_BYTES;
    uint8_t *base =
        mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)base % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    uint8_t *data = descriptor >= 0 ? mmap(base + before, bytes, PROT_READ, MAP_SHARED | MAP_FIXED,
                                           descriptor, 0)
                                    : mmap(base + before, bytes, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (data == MAP_FAILED) {
        int error = errno;
        munmap(base, reserved);
        errno = error;
        return NULL;
    }
    if (before > 0)
        munmap(base, before);
    if (before < HUGE_PAGE_BYTES)
        munmap(data + used, HUGE_PAGE_BYTES - before);
    (void)madvise(data, bytes, MADV_HUGEPAGE); /* only speed depends on it */
    return data;
}

/* Of the mapping that begins at `data`, what smaps says under "FilePmdMapped:", in bytes. */
static size_t huge_bytes_of(const void *data)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    if (smaps == NULL)
        return 0;
    char line[512];
    bool is_ours = false;
    size_t kib = 0;
    while (fgets(line, sizeof line, smaps) != NULL) {
        uint64_t start, end;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
            is_ours = start == (uintptr_t)data;
        else if (is_ours && sscanf(line, "FilePmdMapped: %zu kB", &kib) == 1)
            break;
    }
    (void)fclose(smaps); /* only read from */
    return kib * 1024;
}

bool huge_mapping_is_huge(const void *data, size_t bytes)
{
    size_t pieces = bytes / HUGE_PAGE_BYTES;
    size_t samples = pieces < SAMPLES_MAX ? pieces : SAMPLES_MAX;
    for (size_t i = 0; i < samples; i++)
        (void)*((const volatile uint8_t *)data + i * pieces / samples * HUGE_PAGE_BYTES);
    return samples > 0 && 2 * huge_bytes_of(data) >= samples * HUGE_PAGE_BYTES;
}
