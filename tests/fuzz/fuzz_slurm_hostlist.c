/* Every text is expanded to its end or refused, within the bounds, to names that a list could have. */
#include <stdlib.h>

#include "slurm_hostlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool on_host(void *context, const char *name)
{
    uint32_t *count = context;

    if (name[0] == '\0' || strlen(name) > SLURM_HOST_BYTES_MAX || ++*count > SLURM_HOSTS_MAX)
        abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint32_t count = 0;
    status result =
        slurm_hostlist_expand((struct text_slice){(const char *)data, bytes}, on_host, &count);

    if (result == STATUS_OK && bytes > 0 && count == 0)
        abort();
    return 0;
}
