#include "static_keys.h"

#include "check.h"
#include "scope.h"

#define PATTERNS_BYTES_MAX (64u << 10) /* the settings table's 64 patterns, each a name */

/* The names have been checked. */
static uint32_t scopes_of(const struct config_key *key)
{
    const char *const *names = key->scopes.items;
    uint32_t scopes = SCOPE_NONE;

    for (uint32_t i = 0; i < key->scopes.count; i++)
        CHECK(scope_add(text_slice_of(names[i]), &scopes) == STATUS_OK);
    return scopes != SCOPE_NONE ? scopes : SCOPE_DEFAULT;
}

/* Blanks between them. */
static void patterns_join(const struct setting_list *list, struct buffer *out)
{
    const char *const *patterns = list->items;

    buffer_clear(out);
    for (uint32_t i = 0; i < list->count; i++) {
        buffer_append_text(out, i > 0 ? " " : "");
        buffer_append_text(out, patterns[i]);
    }
}

static status key_add(struct key_table *table, const struct config_key *row, const char *models)
{
    const struct key_identity identity = {
        .id = row->name,
        .organisation = row->organisation,
        .team = row->team,
        .name = row->name,
        .models = models,
        .scopes = scopes_of(row),
        .weight = (uint32_t)row->weight,
        .priority_max = (int32_t)row->priority_max,
        .ttft_slo_ns = row->ttft_slo_ns,
    };
    uint8_t hash[KEY_HASH_BYTES];

    key_hash_read(row->sha256, hash);
    return key_table_add(table, hash, &identity, 0);
}

status static_keys_create(const struct config *config, struct key_table **out)
{
    const struct config_key *rows = config->auth.keys.items;
    struct key_table *table = NULL;
    struct buffer models;
    status result = key_table_create(config->auth.keys.count, &table);

    buffer_init(&models, PATTERNS_BYTES_MAX);
    for (uint32_t i = 0; result == STATUS_OK && i < config->auth.keys.count; i++) {
        patterns_join(&rows[i].models, &models);
        result = models.failed;
        if (result == STATUS_OK)
            result = key_add(table, &rows[i], models.bytes > 0 ? models.data : "");
    }
    buffer_deinit(&models);
    if (result != STATUS_OK) {
        key_table_destroy(table);
        return result;
    }
    *out = table;
    return STATUS_OK;
}
