/* Labels. Policies speak of at most 64, so that a slice's are the bits of one word and a filter is one comparison. Members may tell of any
 * number of others, and a policy of tomorrow may ask for one of them: so each slice keeps the names of all that it was reported with,
 * and a label that is declared later is looked for in them. */
#include <string.h>

#include "check.h"
#include "pool_internal.h"

uint64_t pool_label_find(const struct pool *pool, const char *text)
{
    for (uint32_t i = 0; i < pool->label_count; i++) {
        if (strcmp(pool->labels[i], text) == 0)
            return 1ull << i;
    }
    return 0;
}

const char *pool_label_text(const struct pool *pool, uint32_t n)
{
    return n < pool->label_count ? pool->labels[n] : NULL;
}

static bool has_name(const struct pool_slice_labels *labels, uint32_t name)
{
    for (uint32_t i = 0; i < labels->count; i++) {
        if (labels->names[i] == name)
            return true;
    }
    return false;
}

/* Slices that were reported with it have it from now on. */
static void find_reported(struct pool *pool, const char *text, uint64_t bit)
{
    uint32_t name = name_table_find(pool->names, 0, text);

    for (uint32_t i = 0; i < pool->columns.count && name != NAME_NONE; i++) {
        if (pool->columns.presence[i] == SLICE_ABSENT || !has_name(&pool->slice_labels[i], name))
            continue;
        pool->columns.labels[i] |= bit;
        pool_slice_settle(pool, i);
    }
}

status pool_label_declare(struct pool *pool, const char *text, uint64_t *out)
{
    uint64_t known = pool_label_find(pool, text);
    size_t bytes = strnlen(text, SLICE_NAME_BYTES_MAX + 1);

    if (known != 0) {
        *out = known;
        return STATUS_OK;
    }
    if (bytes == 0)
        return STATUS_INVALID;
    if (bytes > SLICE_NAME_BYTES_MAX)
        return STATUS_TOO_LARGE;
    if (pool->label_count == SLICE_LABELS_MAX)
        return STATUS_FULL;
    memcpy(pool->labels[pool->label_count], text, bytes + 1);
    *out = 1ull << pool->label_count++;
    find_reported(pool, text, *out);
    return STATUS_OK;
}

status pool_labels_acquire(struct pool *pool, const struct slice_report *report,
                           struct pool_slice_labels *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < report->label_count; i++) {
        status result =
            name_table_acquire(pool->names, 0, report->labels[i], &out->names[out->count]);

        if (result != STATUS_OK) {
            pool_labels_release(pool, out);
            return result;
        }
        out->count++;
    }
    return STATUS_OK;
}

void pool_labels_release(struct pool *pool, struct pool_slice_labels *labels)
{
    for (uint32_t i = 0; i < labels->count; i++)
        name_table_release(pool->names, labels->names[i]);
    labels->count = 0;
}

uint64_t pool_labels_bits(const struct pool *pool, const struct pool_slice_labels *labels)
{
    uint64_t bits = 0;

    for (uint32_t i = 0; i < labels->count; i++)
        bits |= pool_label_find(pool, name_table_text(pool->names, labels->names[i]));
    return bits;
}
