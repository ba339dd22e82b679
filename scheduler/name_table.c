/* Names as numbers
 *
 * An array of entries indexed by the number, and chains by hash: two words of a bucket lead to an entry, its `next` to the other
 * texts of the bucket. Free entries are chained by the same word. A number is given out again only after its last holder
 * has let go, so whoever indexes a table by numbers must clear a row when it takes up a number. */
#include "name_table.h"

#include <string.h>

#include "check.h"
#include "memory.h"
#include "slice.h"

#define COUNT_MAX (1u << 24)

struct name_entry {
    char *text; /* owned; NULL: free */
    uint32_t scope;
    uint32_t holders; /* 0: free */
    uint32_t next;    /* in its bucket, or of the free ones; 0: the last */
};

struct name_table {
    struct hash_key key;
    struct name_entry *entries; /* owned: [count_max + 1]; entry 0 is the empty text */
    uint32_t *buckets;          /* owned: [bucket_mask + 1], first entries */
    uint32_t bucket_mask;
    uint32_t count_max, count, bound;
    uint32_t free; /* first of the free entries below the bound */
};

status name_table_create(uint32_t count_max, const struct hash_key *key, struct name_table **out)
{
    struct name_table *table = memory_allocate_array(1, sizeof(*table));
    uint32_t buckets = 16;

    CHECK(count_max > 0 && count_max <= COUNT_MAX);
    if (table == NULL)
        return STATUS_NO_MEMORY;
    while (buckets < count_max)
        buckets *= 2;
    table->key = *key;
    table->count_max = count_max;
    table->bound = 1;
    table->bucket_mask = buckets - 1;
    table->buckets = memory_allocate_array(buckets, sizeof(*table->buckets));
    table->entries = memory_allocate_array((size_t)count_max + 1, sizeof(*table->entries));
    if (table->buckets == NULL || table->entries == NULL) {
        name_table_destroy(table);
        return STATUS_NO_MEMORY;
    }
    *out = table;
    return STATUS_OK;
}

void name_table_destroy(struct name_table *table)
{
    if (table == NULL)
        return;
    for (uint32_t i = 1; table->entries != NULL && i < table->bound; i++)
        memory_release(table->entries[i].text);
    memory_release(table->entries);
    memory_release(table->buckets);
    memory_release(table);
}

static uint32_t *bucket_of(const struct name_table *table, uint32_t scope, const char *text,
                           size_t bytes)
{
    struct hash_key key = {table->key.k0 ^ scope, table->key.k1};

    return &table->buckets[hash64(&key, text, bytes) & table->bucket_mask];
}

static uint32_t find_in(const struct name_table *table, uint32_t first, uint32_t scope,
                        const char *text)
{
    for (uint32_t name = first; name != NAME_NONE; name = table->entries[name].next) {
        if (table->entries[name].scope == scope && strcmp(table->entries[name].text, text) == 0)
            return name;
    }
    return NAME_NONE;
}

/* An entry that is free now, not yet taken; NAME_NONE at the limit. */
static uint32_t free_entry(const struct name_table *table)
{
    if (table->free != NAME_NONE)
        return table->free;
    return table->bound <= table->count_max ? table->bound : NAME_NONE;
}

static void take_entry(struct name_table *table, uint32_t name)
{
    if (name == table->free)
        table->free = table->entries[name].next;
    else
        table->bound++;
    table->count++;
}

status name_table_acquire(struct name_table *table, uint32_t scope, const char *text, uint32_t *out)
{
    size_t bytes = text != NULL ? strnlen(text, SLICE_NAME_BYTES_MAX + 1) : 0;
    uint32_t *bucket, name;
    char *copy;

    if (bytes == 0) {
        *out = NAME_NONE;
        return STATUS_OK;
    }
    if (bytes > SLICE_NAME_BYTES_MAX)
        return STATUS_TOO_LARGE;
    bucket = bucket_of(table, scope, text, bytes);
    name = find_in(table, *bucket, scope, text);
    if (name != NAME_NONE) {
        table->entries[name].holders++;
        *out = name;
        return STATUS_OK;
    }
    name = free_entry(table);
    if (name == NAME_NONE)
        return STATUS_FULL;
    copy = memory_allocate(bytes + 1);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    memcpy(copy, text, bytes + 1);
    take_entry(table, name);
    table->entries[name] =
        (struct name_entry){.text = copy, .scope = scope, .holders = 1, .next = *bucket};
    *bucket = name;
    *out = name;
    return STATUS_OK;
}

void name_table_hold(struct name_table *table, uint32_t name)
{
    CHECK(name < table->bound);
    if (name == NAME_NONE)
        return;
    CHECK(table->entries[name].holders > 0);
    table->entries[name].holders++;
}

void name_table_release(struct name_table *table, uint32_t name)
{
    struct name_entry *entry = &table->entries[name];
    uint32_t *link;

    CHECK(name < table->bound);
    if (name == NAME_NONE)
        return;
    CHECK(entry->holders > 0);
    if (--entry->holders > 0)
        return;
    link = bucket_of(table, entry->scope, entry->text, strlen(entry->text));
    while (*link != name)
        link = &table->entries[*link].next;
    *link = entry->next;
    memory_release(entry->text);
    *entry = (struct name_entry){.next = table->free};
    table->free = name;
    table->count--;
}

uint32_t name_table_find(const struct name_table *table, uint32_t scope, const char *text)
{
    size_t bytes = text != NULL ? strnlen(text, SLICE_NAME_BYTES_MAX + 1) : 0;

    if (bytes == 0 || bytes > SLICE_NAME_BYTES_MAX)
        return NAME_NONE;
    return find_in(table, *bucket_of(table, scope, text, bytes), scope, text);
}

const char *name_table_text(const struct name_table *table, uint32_t name)
{
    CHECK(name < table->bound);
    if (name == NAME_NONE)
        return "";
    CHECK(table->entries[name].holders > 0);
    return table->entries[name].text;
}

uint32_t name_table_bound(const struct name_table *table)
{
    return table->bound;
}

uint32_t name_table_count(const struct name_table *table)
{
    return table->count;
}
