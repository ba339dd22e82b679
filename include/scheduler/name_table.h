#ifndef PENSTOCK_SCHEDULER_NAME_TABLE_H
#define PENSTOCK_SCHEDULER_NAME_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "status.h"

/* Texts as small numbers, so that scans compare words and tables are indexed by them. Counted: a number lasts as long as
 * somebody holds it and is given to another text afterwards. The same text in two scopes has two numbers. Number 0 is the
 * empty text and needs no holding. Bounded in count and in length; tables may be filled by outsiders (hashing is keyed).
 *
 * Thread: one owner. */
struct name_table;

#define NAME_NONE 0u

/* Room for `count_max` names (1 .. 2^24). STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status name_table_create(uint32_t count_max, const struct hash_key *key,
                                   struct name_table **out);
void name_table_destroy(struct name_table *table); /* accepts NULL */

/* The number of `text` in `scope`, held once more. NULL and "" give NAME_NONE. STATUS_OK, STATUS_TOO_LARGE (beyond
 * SLICE_NAME_BYTES_MAX), STATUS_FULL, STATUS_NO_MEMORY; then `out` is untouched. */
NODISCARD status name_table_acquire(struct name_table *table, uint32_t scope, const char *text,
                                    uint32_t *out);
/* Holds it once more. */
void name_table_hold(struct name_table *table, uint32_t name);
void name_table_release(struct name_table *table, uint32_t name);

/* The number, not held; NAME_NONE when nobody holds the text. */
uint32_t name_table_find(const struct name_table *table, uint32_t scope, const char *text);
/* Valid while the number is held. Never NULL. */
const char *name_table_text(const struct name_table *table, uint32_t name);

/* Numbers in use are below this (for tables indexed by them); it never exceeds count_max + 1. */
uint32_t name_table_bound(const struct name_table *table);
uint32_t name_table_count(const struct name_table *table);

#endif
