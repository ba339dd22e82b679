#include "host_memory.h"

#include <string.h>

#include "memory.h"

void host_release(backend *b, void *memory)
{
    (void)b;
    memory_release(memory);
}

void host_upload(backend *b, void *device, const void *host, uint64_t bytes)
{
    (void)b;
    memcpy(device, host, bytes);
}

void host_download(backend *b, void *host, const void *device, uint64_t bytes)
{
    (void)b;
    memcpy(host, device, bytes);
}

void host_clear(backend *b, void *device, uint64_t bytes)
{
    (void)b;
    memset(device, 0, bytes);
}

status host_synchronize(backend *b)
{
    (void)b;
    return STATUS_OK;
}
