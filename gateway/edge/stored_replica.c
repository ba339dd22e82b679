#include "stored_replica.h"

#include <stdio.h>

#include "check.h"

#define PREFIX       "resp_"
#define PREFIX_BYTES (sizeof(PREFIX) - 1)
#define DIGITS       (STORED_REPLICA_BYTES - 1)

void stored_replica_write(uint32_t replica, char out[STORED_REPLICA_BYTES])
{
    CHECK(replica <= 0xffff);
    (void)snprintf(out, STORED_REPLICA_BYTES, "%04x", replica & 0xffffu);
}

uint32_t stored_replica_read(struct text_slice id)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t number = 0;

    if (id.bytes <= PREFIX_BYTES + DIGITS || memcmp(id.data, PREFIX, PREFIX_BYTES) != 0)
        return STORED_REPLICA_NONE;
    for (size_t i = PREFIX_BYTES; i < PREFIX_BYTES + DIGITS; i++) {
        const char *digit = memchr(digits, id.data[i], 16);

        if (digit == NULL)
            return STORED_REPLICA_NONE;
        number = number * 16 + (uint32_t)(digit - digits);
    }
    return number;
}
