#ifndef PENSTOCK_HUGE_MAPPING_H
#define PENSTOCK_HUGE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

/* Address space on huge pages. */
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* The file open at `descriptor`, for reading; or with -1 memory of our own, of zeros. At a multiple of
 * a huge page and advised for them. NULL with errno. Release with munmap(data, bytes). */
void *huge_mapping_create(int descriptor, size_t bytes);

/* Does the kernel give most of this mapping of a file (from a multiple of a huge page on) in huge
 * pages? Touches up to 64 places of it. False when the kernel does not tell. */
bool huge_mapping_is_huge(const void *data, size_t bytes);

#endif
