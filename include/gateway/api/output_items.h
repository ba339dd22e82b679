#ifndef PENSTOCK_GATEWAY_API_OUTPUT_ITEMS_H
#define PENSTOCK_GATEWAY_API_OUTPUT_ITEMS_H

#include "buffer.h"
#include "output_delta.h"

/* What one choice has said so far, as the items that clients see, in order: runs of text, runs of
 * reasoning, calls of tools. Owned by one thread. A failure (memory, the ceiling) is remembered in
 * `failed`, and what comes after it is dropped. */
struct output_item {
    enum output_kind kind; /* TEXT, REASONING or TOOL_BEGIN: a call */
    struct buffer text;    /* or the arguments' JSON */
    struct buffer name;    /* of a call */
};

struct output_items {
    struct output_item *items; /* owned; [count] */
    uint32_t count, capacity;
    size_t bytes_max; /* of each text */
    status failed;
};

void output_items_init(struct output_items *items, size_t bytes_max);
void output_items_deinit(struct output_items *items);
void output_items_add(struct output_items *items, const struct output_delta *delta);
/* Whether there is an item of this kind. */
bool output_items_has(const struct output_items *items, enum output_kind kind);
/* Appends the texts of all items of `kind` as one JSON string. */
void output_items_write(const struct output_items *items, enum output_kind kind,
                        struct buffer *out);

#endif
