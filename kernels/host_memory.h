#ifndef PENSTOCK_KERNELS_HOST_MEMORY_H
#define PENSTOCK_KERNELS_HOST_MEMORY_H

#include "backend.h"

/* The rows of the operation table that are the same for every backend whose device memory is the process's own: what
 * `allocate` gives is a plain pointer, copies are memcpy, and an operation is done when it returns. The contract of each
 * is backend.h's. */

void host_release(backend *b, void *memory);
void host_upload(backend *b, void *device, const void *host, uint64_t bytes);
void host_download(backend *b, void *host, const void *device, uint64_t bytes);
void host_clear(backend *b, void *device, uint64_t bytes);
status host_synchronize(backend *b); /* always STATUS_OK */

#endif
