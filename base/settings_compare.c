#include <stdio.h>
#include <string.h>

#include "check.h"
#include "settings_private.h"

/* Which leaves differ between two structs of one table. Lists are compared item by item when they
 * are of one length, else the list itself is what changed. */

struct comparison {
    void (*changed)(void *context, const char *key, const struct setting *row);
    void *context;
    char path[SETTINGS_PATH_BYTES];
};

static void compare_table(struct comparison *comparison, const struct setting *table,
                          const void *before, const void *after);

static bool texts_equal(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

static bool text_lists_equal(const struct setting_list *a, const struct setting_list *b)
{
    if (a->count != b->count)
        return false;
    const char *const *a_items = a->items;
    const char *const *b_items = b->items;
    for (uint32_t i = 0; i < a->count; i++) {
        if (!texts_equal(a_items[i], b_items[i]))
            return false;
    }
    return true;
}

static bool leaves_equal(const struct setting *row, const void *a, const void *b)
{
    switch (row->kind) {
    case SETTING_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case SETTING_INT:
        return *(const int64_t *)a == *(const int64_t *)b;
    case SETTING_FLOAT:
        return *(const double *)a == *(const double *)b;
    case SETTING_BYTES:
    case SETTING_DURATION:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case SETTING_ENUM:
        return *(const int *)a == *(const int *)b;
    case SETTING_TEXT:
    case SETTING_PATH:
        return texts_equal(*(const char *const *)a, *(const char *const *)b);
    case SETTING_TEXT_LIST:
        return text_lists_equal(a, b);
    case SETTING_SECTION:
    case SETTING_LIST:
        break;
    }
    return true;
}

static void compare_list(struct comparison *comparison, const struct setting *row,
                         const struct setting_list *before, const struct setting_list *after)
{
    if (before->count != after->count) {
        comparison->changed(comparison->context, comparison->path, row);
        return;
    }
    size_t end = strlen(comparison->path);
    for (uint32_t i = 0; i < before->count; i++) {
        (void)snprintf(comparison->path + end, sizeof comparison->path - end, "[%u]", i);
        compare_table(comparison, row->table, (const char *)before->items + i * row->item_bytes,
                      (const char *)after->items + i * row->item_bytes);
    }
    comparison->path[end] = '\0';
}

static void compare_table(struct comparison *comparison, const struct setting *table,
                          const void *before, const void *after)
{
    size_t end = strlen(comparison->path);
    for (const struct setting *row = table; row->key != NULL; row++) {
        const void *a = (const char *)before + row->offset;
        const void *b = (const char *)after + row->offset;
        (void)snprintf(comparison->path + end, sizeof comparison->path - end, "%s%s",
                       end > 0 ? "." : "", row->key);
        if (row->kind == SETTING_SECTION)
            compare_table(comparison, row->table, a, b);
        else if (row->kind == SETTING_LIST)
            compare_list(comparison, row, a, b);
        else if (!leaves_equal(row, a, b))
            comparison->changed(comparison->context, comparison->path, row);
    }
    comparison->path[end] = '\0';
}

void settings_compare(const struct setting *table, const void *before, const void *after,
                      void (*changed)(void *context, const char *key, const struct setting *row),
                      void *context)
{
    struct comparison comparison = {.changed = changed, .context = context};
    compare_table(&comparison, table, before, after);
}

/* --- taking over --- */

static size_t leaf_bytes(const struct setting *row)
{
    switch (row->kind) {
    case SETTING_BOOL:
        return sizeof(bool);
    case SETTING_INT:
        return sizeof(int64_t);
    case SETTING_FLOAT:
        return sizeof(double);
    case SETTING_BYTES:
    case SETTING_DURATION:
        return sizeof(uint64_t);
    case SETTING_ENUM:
        return sizeof(int);
    case SETTING_TEXT:
    case SETTING_PATH:
        return sizeof(const char *);
    case SETTING_TEXT_LIST:
    case SETTING_LIST:
        return sizeof(struct setting_list);
    case SETTING_SECTION:
        break;
    }
    CHECK(false);
    return 0;
}

void settings_take(const struct setting *table, enum setting_reload reload, const void *source,
                   void *target)
{
    for (const struct setting *row = table; row->key != NULL; row++) {
        const void *from = (const char *)source + row->offset;
        void *to = (char *)target + row->offset;

        if (row->kind == SETTING_SECTION)
            settings_take(row->table, reload, from, to);
        else if (row->reload == reload)
            memcpy(to, from, leaf_bytes(row));
    }
}
