#include "output_items.h"

#include "json.h"
#include "memory.h"

/* Calls and runs of one choice: more than any real answer has, and small. */
#define ITEMS_MAX 1024u

void output_items_init(struct output_items *items, size_t bytes_max)
{
    *items = (struct output_items){.bytes_max = bytes_max};
}

void output_items_deinit(struct output_items *items)
{
    for (uint32_t i = 0; i < items->count; i++) {
        buffer_deinit(&items->items[i].text);
        buffer_deinit(&items->items[i].name);
    }
    memory_release(items->items);
    *items = (struct output_items){0};
}

static struct output_item *items_begin(struct output_items *items, enum output_kind kind)
{
    if (items->count == items->capacity) {
        uint32_t capacity = items->capacity > 0 ? items->capacity * 2 : 2;
        struct output_item *grown =
            capacity <= ITEMS_MAX ? memory_allocate_array(capacity, sizeof *grown) : NULL;
        if (grown == NULL) {
            items->failed = STATUS_NO_MEMORY;
            return NULL;
        }
        if (items->count > 0)
            memcpy(grown, items->items, items->count * sizeof *grown);
        memory_release(items->items);
        items->items = grown;
        items->capacity = capacity;
    }
    struct output_item *item = &items->items[items->count++];
    item->kind = kind;
    buffer_init(&item->text, items->bytes_max);
    buffer_init(&item->name, items->bytes_max);
    return item;
}

/* The item that a delta belongs to: the last one, or a new one. */
static struct output_item *items_find(struct output_items *items, enum output_kind kind)
{
    struct output_item *last = items->count > 0 ? &items->items[items->count - 1] : NULL;
    if (kind == OUTPUT_TOOL_BEGIN)
        return items_begin(items, kind);
    if (kind == OUTPUT_TOOL_ARGUMENTS || kind == OUTPUT_TOOL_END)
        return last != NULL && last->kind == OUTPUT_TOOL_BEGIN ? last : NULL;
    return last != NULL && last->kind == kind ? last : items_begin(items, kind);
}

void output_items_add(struct output_items *items, const struct output_delta *delta)
{
    bool is_run = delta->kind == OUTPUT_TEXT || delta->kind == OUTPUT_REASONING;
    if (items->failed != STATUS_OK || (is_run && delta->text.bytes == 0))
        return;
    struct output_item *item = items_find(items, delta->kind);
    if (item == NULL)
        return;
    if (delta->kind == OUTPUT_TOOL_BEGIN)
        buffer_append_slice(&item->name, delta->tool_name);
    else
        buffer_append_slice(&item->text, delta->text);
    if (item->text.failed != STATUS_OK || item->name.failed != STATUS_OK)
        items->failed = STATUS_NO_MEMORY;
}

bool output_items_has(const struct output_items *items, enum output_kind kind)
{
    for (uint32_t i = 0; i < items->count; i++)
        if (items->items[i].kind == kind)
            return true;
    return false;
}

void output_items_write(const struct output_items *items, enum output_kind kind, struct buffer *out)
{
    struct buffer joined;
    buffer_init(&joined, SIZE_MAX / 2);
    for (uint32_t i = 0; i < items->count; i++)
        if (items->items[i].kind == kind)
            buffer_append_slice(&joined, buffer_slice(&items->items[i].text));
    json_write_string(out, buffer_slice(&joined));
    if (joined.failed != STATUS_OK)
        out->failed = joined.failed;
    buffer_deinit(&joined);
}
