#include "memory_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_allocator.h"

/* The cache may take half of what is left after the weights: the rest is for activations, for the
 * front end, and for the file's own pages. */
#define KV_SHARE_DIVISOR 2u

/* With no idea of the machine's memory: enough to work, too little to hurt. */
#define KV_BYTES_UNKNOWN ((uint64_t)256 << 20)

static uint64_t wanted_bytes(const struct memory_plan_input *input)
{
    if (input->kv_bytes != 0)
        return input->kv_bytes;
    if (input->available_bytes == 0)
        return KV_BYTES_UNKNOWN;
    uint64_t mine = input->available_bytes / (input->share_count > 1 ? input->share_count : 1);
    if (mine <= input->weight_bytes)
        return 0;
    return (mine - input->weight_bytes) / KV_SHARE_DIVISOR;
}

status memory_plan_kv_blocks(const struct memory_plan_input *input, uint32_t *blocks,
                             struct error_note *note)
{
    uint64_t per_sequence = ((uint64_t)input->context_max + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    uint64_t useful = per_sequence * input->sequence_count_max;
    uint64_t wanted = wanted_bytes(input);
    uint64_t count = wanted / input->kv_block_bytes;
    count = count < useful ? count : useful;
    /* Block numbers are 32 bits, and tables are sized by twice the count. */
    count = count < UINT32_MAX / 4 ? count : UINT32_MAX / 4;
    if (count < KV_BLOCKS_MIN) {
        error_note_set(note,
                       "the KV cache would have %" PRIu64 " bytes; %u blocks of %" PRIu64
                       " bytes are the least",
                       wanted, KV_BLOCKS_MIN, input->kv_block_bytes);
        return STATUS_TOO_LARGE;
    }
    *blocks = (uint32_t)count;
    return STATUS_OK;
}

/* The number after `key` in a file of "key value" lines, or the file's only number with key "". */
static bool read_number(const char *path, const char *key, uint64_t *out)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    char line[256];
    bool is_found = false;
    while (!is_found && fgets(line, sizeof line, file) != NULL) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) != 0)
            continue;
        char *end;
        *out = strtoull(line + length, &end, 10);
        is_found = end != line + length;
    }
    (void)fclose(file); /* only read from */
    return is_found;
}

uint64_t memory_available_bytes(void)
{
    uint64_t available = 0;
    uint64_t kib;
    if (read_number("/proc/meminfo", "MemAvailable:", &kib))
        available = kib * 1024;
    uint64_t limit;
    uint64_t used;
    if (read_number("/sys/fs/cgroup/memory.max", "", &limit) &&
        read_number("/sys/fs/cgroup/memory.current", "", &used)) {
        uint64_t left = limit > used ? limit - used : 0;
        available = available == 0 || left < available ? left : available;
    }
    return available;
}
