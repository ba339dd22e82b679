/* The names of the cache types. */

#include <stddef.h>
#include <string.h>

#include "backend.h"

static const char *const kv_names[KV_TYPE_COUNT] = {
    [KV_F16] = "f16", [KV_INT8] = "int8", [KV_FP8] = "fp8"};

/* What bench/NOTES.md says of time and perplexity decides. */
#define KV_TYPE_DEFAULT KV_F16

const char *kv_type_name(enum kv_type type)
{
    return type < KV_TYPE_COUNT ? kv_names[type] : "unknown";
}

bool kv_type_find(const char *name, enum kv_type *out)
{
    if (name == NULL || strcmp(name, "auto") == 0) {
        *out = KV_TYPE_DEFAULT;
        return true;
    }
    for (enum kv_type type = 0; type < KV_TYPE_COUNT; type++) {
        if (strcmp(name, kv_names[type]) == 0) {
            *out = type;
            return true;
        }
    }
    return false;
}
