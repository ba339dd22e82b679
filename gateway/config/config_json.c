#include "config.h"

#include "check.h"
#include "json.h"

/* The config as JSON, by walking the same table that reads it: a new row shows up here by itself.
 * Tables nest three deep (models, their adapters, values), which bounds the walk. */

static void table_write(const struct setting *table, const char *base, struct buffer *out,
                        unsigned depth);

/* What must not leave the process. */
static bool is_secret(const struct setting *row)
{
    return strcmp(row->key, "sha256") == 0;
}

static void list_write(const struct setting *row, const struct setting_list *list,
                       struct buffer *out, unsigned depth)
{
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < list->count; i++) {
        json_write_comma(out);
        if (row->kind == SETTING_TEXT_LIST)
            json_write_text(out, ((const char *const *)list->items)[i]);
        else
            table_write(row->table, (const char *)list->items + i * row->item_bytes, out,
                        depth + 1);
    }
    buffer_append_byte(out, ']');
}

static void value_write(const struct setting *row, const char *value, struct buffer *out,
                        unsigned depth)
{
    switch (row->kind) {
    case SETTING_BOOL:
        json_write_bool(out, *(const bool *)value);
        break;
    case SETTING_INT:
        buffer_append_i64(out, *(const int64_t *)value);
        break;
    case SETTING_FLOAT:
        json_write_double(out, *(const double *)value);
        break;
    case SETTING_BYTES:
        buffer_append_u64(out, *(const uint64_t *)value);
        break;
    case SETTING_DURATION: /* milliseconds are the finest that people write */
        buffer_append_format(out, "\"%gms\"", (double)*(const uint64_t *)value / 1e6);
        break;
    case SETTING_TEXT:
    case SETTING_PATH:
        json_write_text(out, *(const char *const *)value);
        break;
    case SETTING_ENUM:
        json_write_text(out, row->words[*(const int *)value]);
        break;
    case SETTING_TEXT_LIST:
    case SETTING_LIST:
        list_write(row, (const struct setting_list *)value, out, depth);
        break;
    case SETTING_SECTION:
        table_write(row->table, value, out, depth + 1);
        break;
    }
}

static void table_write(const struct setting *table, const char *base, struct buffer *out,
                        unsigned depth)
{
    CHECK(depth <= 4);
    buffer_append_byte(out, '{');
    for (const struct setting *row = table; row->key != NULL; row++) {
        json_write_key(out, row->key);
        if (is_secret(row))
            json_write_text(out, "(hidden)");
        else
            value_write(row, base + row->offset, out, depth);
    }
    buffer_append_byte(out, '}');
}

void config_write_json(const struct config *config, struct buffer *out)
{
    table_write(config_table, (const char *)config, out, 0);
}
