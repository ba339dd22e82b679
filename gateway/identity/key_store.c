#include "key_store.h"

#include <openssl/crypto.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "hash.h"

#define ID_RANDOM_BYTES     8u
#define SECRET_RANDOM_BYTES 24u

static void random_text(const char *prefix, size_t random_count, char *out)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t random[SECRET_RANDOM_BYTES];

    CHECK(random_count <= sizeof(random));
    random_bytes(random, random_count);
    out = stpcpy(out, prefix);
    for (size_t i = 0; i < random_count; i++) {
        *out++ = digits[random[i] >> 4];
        *out++ = digits[random[i] & 15];
    }
    *out = '\0';
    OPENSSL_cleanse(random, sizeof(random));
}

static void bind_number(state_statement *statement, unsigned place, uint64_t number)
{
    state_bind_number(statement, place, (int64_t)number);
}

static uint64_t column_count(const state_statement *statement, unsigned column)
{
    return (uint64_t)state_column_number(statement, column);
}

/* Makes a secret, keeps its hash. */
static status secret_add(state_database *database, const char *id, uint64_t now_s,
                         char secret[KEY_SECRET_BYTES], struct error_note *note)
{
    state_statement *statement =
        state_database_prepare(database, "INSERT INTO secrets VALUES (?1, ?2, ?3, 0)", note);
    uint8_t hash[KEY_HASH_BYTES];

    if (statement == NULL)
        return STATUS_IO;
    random_text("sk-", SECRET_RANDOM_BYTES, secret);
    CHECK(key_hash(text_slice_of(secret), hash));
    state_bind_bytes(statement, 1, hash, sizeof(hash));
    state_bind_text(statement, 2, id);
    bind_number(statement, 3, now_s);
    return state_database_run(statement, note);
}

static status key_add(state_database *database, const struct key_new *key, uint64_t now_s,
                      const char *id, struct error_note *note)
{
    state_statement *statement = state_database_prepare(
        database, "INSERT INTO keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)",
        note);
    status result;

    if (statement == NULL)
        return STATUS_IO;
    state_bind_text(statement, 1, id);
    state_bind_text(statement, 2, key->name);
    state_bind_text(statement, 3, key->organisation);
    state_bind_text(statement, 4, key->team);
    bind_number(statement, 5, key->scopes);
    state_bind_text(statement, 6, key->models);
    bind_number(statement, 7, key->weight);
    state_bind_number(statement, 8, key->priority_max);
    bind_number(statement, 9, key->ttft_slo_ms);
    bind_number(statement, 10, now_s);
    bind_number(statement, 11, key->expires_s);
    result = state_database_run(statement, note);
    if (result == STATUS_INVALID)
        error_note_set(note, "there is a key named '%s'%s%s already; rotate or revoke it",
                       key->name, key->organisation[0] != '\0' ? " of " : "", key->organisation);
    return result;
}

/* Ends what state_database_begin has begun. */
static status write_end(state_database *database, status result, struct error_note *note)
{
    if (result == STATUS_OK)
        return state_database_commit(database, note);
    state_database_roll_back(database);
    return result;
}

status key_store_create(state_database *database, const struct key_new *key, uint64_t now_s,
                        char id[KEY_ID_BYTES], char secret[KEY_SECRET_BYTES],
                        struct error_note *note)
{
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    random_text("key_", ID_RANDOM_BYTES, id);
    result = key_add(database, key, now_s, id, note);
    if (result == STATUS_OK)
        result = secret_add(database, id, now_s, secret, note);
    return write_end(database, result, note);
}

/* A statement with the key's id and a time that changes at least one row, or else there is no such key. */
static status change(state_database *database, const char *sql, const char *id, uint64_t time_s,
                     struct error_note *note)
{
    state_statement *statement = state_database_prepare(database, sql, note);
    status result;

    if (statement == NULL)
        return STATUS_IO;
    state_bind_text(statement, 1, id);
    bind_number(statement, 2, time_s);
    result = state_database_run(statement, note);
    if (result == STATUS_OK && state_database_changed_count(database) == 0) {
        error_note_set(note,
                       "no key has the id '%s', or it is revoked; `penstock keys list` "
                       "shows them",
                       id);
        result = STATUS_NOT_FOUND;
    }
    return result;
}

status key_store_rotate(state_database *database, const char *id, uint64_t now_s,
                        uint64_t overlap_s, char secret[KEY_SECRET_BYTES], struct error_note *note)
{
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    result = change(database,
                    "UPDATE secrets SET expires_s = CASE WHEN expires_s = 0 THEN ?2 "
                    "WHEN expires_s < ?2 THEN expires_s ELSE ?2 END WHERE key_id = ?1 AND EXISTS "
                    "(SELECT 1 FROM keys WHERE id = ?1 AND revoked_s = 0)",
                    id, now_s + overlap_s, note);
    if (result == STATUS_OK)
        result = secret_add(database, id, now_s, secret, note);
    return write_end(database, result, note);
}

status key_store_revoke(state_database *database, const char *id, uint64_t now_s,
                        struct error_note *note)
{
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    result = change(database, "UPDATE keys SET revoked_s = ?2 WHERE id = ?1 AND revoked_s = 0", id,
                    now_s, note);
    return write_end(database, result, note);
}

status key_store_sweep(state_database *database, uint64_t before_s, struct error_note *note)
{
    state_statement *statement = state_database_prepare(
        database, "DELETE FROM secrets WHERE expires_s > 0 AND expires_s < ?1", note);

    if (statement == NULL)
        return STATUS_IO;
    bind_number(statement, 1, before_s);
    return state_database_run(statement, note);
}

/* The first nine columns of both queries below. */
#define IDENTITY_COLUMNS                                                                           \
    "k.id, k.name, k.organisation, k.team, k.models, k.scopes, k.weight, k.priority_max,"          \
    " k.ttft_slo_ms"

static struct key_identity identity_read(const state_statement *statement)
{
    return (struct key_identity){
        .id = state_column_text(statement, 0),
        .name = state_column_text(statement, 1),
        .organisation = state_column_text(statement, 2),
        .team = state_column_text(statement, 3),
        .models = state_column_text(statement, 4),
        .scopes = (uint32_t)state_column_number(statement, 5),
        .weight = (uint32_t)state_column_number(statement, 6),
        .priority_max = (int32_t)state_column_number(statement, 7),
        .ttft_slo_ns = column_count(statement, 8) * NS_PER_MS,
    };
}

status key_store_list(state_database *database, uint64_t now_s,
                      void (*take)(void *context, const struct key_row *row), void *context,
                      struct error_note *note)
{
    state_statement *statement = state_database_prepare(
        database,
        "SELECT " IDENTITY_COLUMNS ", k.created_s, k.expires_s, k.revoked_s,"
        " (SELECT count(*) FROM secrets s WHERE s.key_id = k.id AND"
        "  (s.expires_s = 0 OR s.expires_s > ?1)) FROM keys k ORDER BY k.created_s, k.rowid",
        note);
    bool has_row = true;
    status result = STATUS_OK;

    if (statement == NULL)
        return STATUS_IO;
    bind_number(statement, 1, now_s);
    while ((result = state_statement_step(statement, &has_row, note)) == STATUS_OK && has_row) {
        struct key_row row = {
            .identity = identity_read(statement),
            .created_s = column_count(statement, 9),
            .expires_s = column_count(statement, 10),
            .revoked_s = column_count(statement, 11),
            .secret_count = (uint32_t)state_column_number(statement, 12),
        };
        take(context, &row);
    }
    state_statement_close(statement);
    return result == STATUS_OK ? STATUS_OK : STATUS_IO;
}

#define LOADED                                                                                     \
    " FROM secrets s JOIN keys k ON k.id = s.key_id WHERE k.revoked_s = 0"                         \
    " AND (k.expires_s = 0 OR k.expires_s > ?1) AND (s.expires_s = 0 OR s.expires_s > ?1)"

static status count_read(state_database *database, uint64_t now_s, uint32_t *out,
                         struct error_note *note)
{
    state_statement *statement = state_database_prepare(database, "SELECT count(*)" LOADED, note);
    bool has_row = false;
    int64_t count = 0;
    status result;

    if (statement == NULL)
        return STATUS_IO;
    bind_number(statement, 1, now_s);
    result = state_statement_step(statement, &has_row, note);
    if (result == STATUS_OK && has_row)
        count = state_column_number(statement, 0);
    state_statement_close(statement);
    *out = (uint32_t)(count <= KEY_COUNT_MAX ? count : KEY_COUNT_MAX + 1);
    return result == STATUS_OK && has_row ? STATUS_OK : STATUS_IO;
}

/* Whichever ends first; 0: never. */
static uint64_t first_end(uint64_t a_s, uint64_t b_s)
{
    if (a_s == 0 || b_s == 0)
        return a_s + b_s;
    return a_s < b_s ? a_s : b_s;
}

static status secrets_read(state_statement *statement, struct key_table *table,
                           struct error_note *note)
{
    bool has_row = true;
    status result = STATUS_OK;

    while (result == STATUS_OK && has_row) {
        uint8_t hash[KEY_HASH_BYTES];

        if (state_statement_step(statement, &has_row, note) != STATUS_OK)
            return STATUS_IO;
        if (has_row && state_column_bytes(statement, 9, hash, sizeof(hash))) {
            struct key_identity identity = identity_read(statement);

            result =
                key_table_add(table, hash, &identity,
                              first_end(column_count(statement, 10), column_count(statement, 11)));
        }
    }
    return result;
}

/* Count and rows must be of one moment: a transaction that only reads. */
static status load(state_database *database, uint64_t now_s, struct key_table **out,
                   struct error_note *note)
{
    struct key_table *table = NULL;
    state_statement *statement;
    uint32_t count = 0;
    status result = count_read(database, now_s, &count, note);

    if (result == STATUS_OK)
        result = key_table_create(count, &table);
    if (result == STATUS_TOO_LARGE)
        error_note_set(note, "the state database has more than %u keys", KEY_COUNT_MAX);
    if (result != STATUS_OK)
        return result;
    statement = state_database_prepare(
        database,
        "SELECT " IDENTITY_COLUMNS ", s.sha256, s.expires_s, k.expires_s" LOADED " ORDER BY k.id",
        note);
    result = STATUS_IO;
    if (statement != NULL) {
        bind_number(statement, 1, now_s);
        result = secrets_read(statement, table, note);
        state_statement_close(statement);
    }
    if (result == STATUS_OK)
        *out = table;
    else
        key_table_destroy(table);
    return result;
}

status key_store_load(state_database *database, uint64_t now_s, struct key_table **out,
                      struct error_note *note)
{
    status result = state_database_begin_reading(database, note);

    if (result != STATUS_OK)
        return result;
    result = load(database, now_s, out, note);
    state_database_roll_back(database);
    return result;
}
