/* What belongs to a response beside its answer, and the list of its input. */

#include "responses.h"

#include <stdlib.h>
#include <string.h>

#include "field.h"
#include "memory.h"

#define PAGE_ITEMS_DEFAULT 20
#define PAGE_ITEMS_MAX     100

struct api_responses *api_responses_create(void)
{
    struct api_responses *responses = memory_allocate_array(1, sizeof *responses);
    if (responses == NULL)
        return NULL;
    responses->is_stored = true;
    buffer_init(&responses->echo, SIZE_MAX / 2);
    buffer_init(&responses->context, SIZE_MAX / 2);
    buffer_init(&responses->input, SIZE_MAX / 2);
    return responses;
}

void api_responses_destroy(struct api_responses *responses)
{
    if (responses == NULL)
        return;
    buffer_deinit(&responses->echo);
    buffer_deinit(&responses->context);
    buffer_deinit(&responses->input);
    memory_release(responses);
}

/* Which items of a list a client wants. */
struct page {
    char after[96]; /* "": from the beginning */
    uint64_t limit;
    bool is_rising;
};

static bool page_set(struct page *page, struct text_slice name, struct text_slice value,
                     struct api_error *error)
{
    char text[96];
    if (value.bytes >= sizeof text) {
        (void)field_fail(error, "after", "invalid_value", "Invalid query: a value is too long.");
        return false;
    }
    memcpy(text, value.data, value.bytes);
    text[value.bytes] = '\0';
    if (text_slice_is(name, "after")) {
        memcpy(page->after, text, value.bytes + 1);
    } else if (text_slice_is(name, "limit")) {
        char *end = NULL;
        page->limit = strtoull(text, &end, 10);
        if (*end != '\0' || page->limit < 1 || page->limit > PAGE_ITEMS_MAX) {
            (void)field_fail(error, "limit", "invalid_value",
                             "Invalid 'limit': expected a number from 1 to %d.", PAGE_ITEMS_MAX);
            return false;
        }
    } else if (text_slice_is(name, "order")) {
        page->is_rising = strcmp(text, "asc") == 0;
        if (!page->is_rising && strcmp(text, "desc") != 0) {
            (void)field_fail(error, "order", "invalid_value",
                             "Invalid 'order': supported values are 'asc' and 'desc'.");
            return false;
        }
    }
    return true; /* `include` asks for what no item here has */
}

static bool page_read(struct page *page, struct text_slice query, struct api_error *error)
{
    *page = (struct page){.limit = PAGE_ITEMS_DEFAULT};
    while (query.bytes > 0) {
        const char *end = memchr(query.data, '&', query.bytes);
        size_t bytes = end != NULL ? (size_t)(end - query.data) : query.bytes;
        const char *equals = memchr(query.data, '=', bytes);
        size_t name = equals != NULL ? (size_t)(equals - query.data) : bytes;
        size_t skip = equals != NULL ? name + 1 : bytes;
        if (!page_set(page, (struct text_slice){query.data, name},
                      (struct text_slice){query.data + skip, bytes - skip}, error))
            return false;
        bytes += end != NULL;
        query = (struct text_slice){query.data + bytes, query.bytes - bytes};
    }
    return true;
}

static const char *item_id(const json_t *items, size_t index)
{
    const char *id = json_string_value(json_object_get(json_array_get(items, index), "id"));
    return id != NULL ? id : "";
}

static void page_write(struct buffer *out, const json_t *items, const struct page *page)
{
    size_t count = json_array_size(items), begin = 0;
    /* `place` counts in the page's order */
    for (size_t place = 0; page->after[0] != '\0' && place < count; place++)
        if (strcmp(item_id(items, page->is_rising ? place : count - 1 - place), page->after) == 0)
            begin = place + 1;
    size_t end = count - begin > page->limit ? begin + page->limit : count;
    size_t first = page->is_rising ? begin : count - 1 - begin;
    size_t last = page->is_rising ? end - 1 : count - end;
    buffer_append_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t place = begin; place < end; place++) {
        json_write_comma(out);
        json_write_value(out, json_array_get(items, page->is_rising ? place : count - 1 - place));
    }
    buffer_append_text(out, "],\"first_id\":");
    json_write_text(out, begin < end ? item_id(items, first) : "");
    json_write_key(out, "last_id");
    json_write_text(out, begin < end ? item_id(items, last) : "");
    json_write_key(out, "has_more");
    json_write_bool(out, end < count);
    buffer_append_byte(out, '}');
}

status api_responses_write_items(struct buffer *out, struct text_slice items,
                                 struct text_slice query, struct api_error *error)
{
    struct page page;
    struct buffer text;
    if (!page_read(&page, query, error))
        return STATUS_INVALID;
    buffer_init(&text, SIZE_MAX / 2);
    buffer_append_byte(&text, '[');
    buffer_append_slice(&text, items);
    buffer_append_byte(&text, ']');
    json_t *list =
        text.failed == STATUS_OK ? json_loadb(text.data, text.bytes, JSON_ALLOW_NUL, NULL) : NULL;
    buffer_deinit(&text);
    if (list == NULL) {
        api_error_from_status(error, STATUS_NO_MEMORY, NULL);
        return STATUS_NO_MEMORY;
    }
    page_write(out, list, &page);
    json_decref(list);
    return STATUS_OK;
}
