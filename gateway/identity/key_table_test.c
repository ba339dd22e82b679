#include "unit_test.h"

#include "config.h"
#include "key_table.h"
#include "scope.h"
#include "static_keys.h"

/* printf %s alpha | sha256sum, and so on. */
#define HASH_ALPHA "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
#define HASH_BETA  "F44E64E75F3948E9F73F8DFA94721C4CE8CBB4F265C4790C702B2D41CFBF2753"

static const struct key_identity someone = {
    .id = "key_1", .organisation = "acme", .team = "", .name = "one", .models = "llama-*"};

static struct key_table *table_of(const char *digits, uint64_t expires_s)
{
    struct key_table *table;
    uint8_t hash[KEY_HASH_BYTES];

    key_hash_read(digits, hash);
    assert_int_equal(key_table_create(1, &table), STATUS_OK);
    assert_int_equal(key_table_add(table, hash, &someone, expires_s), STATUS_OK);
    return table;
}

static const struct key_identity *find(const struct key_table *table, const char *shown,
                                       uint64_t now_s)
{
    uint8_t hash[KEY_HASH_BYTES];

    return key_hash(text_slice_of(shown), hash) ? key_table_find(table, hash, now_s) : NULL;
}

static void a_key_is_found_by_its_hash_in_either_case(void **state)
{
    struct key_table *alpha = table_of(HASH_ALPHA, 0), *beta = table_of(HASH_BETA, 0);

    (void)state;
    assert_string_equal(find(alpha, "alpha", 1)->name, "one");
    assert_string_equal(find(beta, "beta", 1)->models, "llama-*");
    assert_null(find(alpha, "beta", 1));
    key_table_destroy(alpha);
    key_table_destroy(beta);
}

static void anything_else_is_not_found(void **state)
{
    static char text[KEY_SHOWN_BYTES_MAX + 2];
    struct key_table *table = table_of(HASH_ALPHA, 0);
    uint8_t hash[KEY_HASH_BYTES];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    assert_null(find(table, "Alpha", 1));
    assert_null(find(table, "alph", 1));
    assert_null(find(table, HASH_ALPHA, 1));
    assert_null(find(NULL, "alpha", 1));
    assert_false(key_hash(text_slice_of(""), hash));
    assert_false(key_hash((struct text_slice){NULL, 0}, hash));
    assert_false(key_hash(text_slice_of(text), hash));
    assert_true(key_hash((struct text_slice){text, KEY_SHOWN_BYTES_MAX}, hash));
    key_table_destroy(table);
}

static void a_key_ends_at_its_time(void **state)
{
    struct key_table *table = table_of(HASH_ALPHA, 100);

    (void)state;
    assert_non_null(find(table, "alpha", 99));
    assert_null(find(table, "alpha", 100));
    key_table_destroy(table);
}

static void a_full_table_takes_no_more_and_finds_all(void **state)
{
    struct key_table *table;
    uint8_t hash[KEY_HASH_BYTES];
    char text[16];

    (void)state;
    assert_int_equal(key_table_create(500, &table), STATUS_OK);
    for (unsigned i = 0; i < 501; i++) {
        (void)snprintf(text, sizeof(text), "key-%u", i);
        assert_true(key_hash(text_slice_of(text), hash));
        assert_int_equal(key_table_add(table, hash, &someone, 0),
                         i < 500 ? STATUS_OK : STATUS_FULL);
    }
    for (unsigned i = 0; i < 501; i++) {
        (void)snprintf(text, sizeof(text), "key-%u", i);
        assert_int_equal(find(table, text, 1) != NULL, i < 500);
    }
    assert_int_equal(key_table_count(table), 500);
    key_table_destroy(table);
    assert_int_equal(key_table_create(KEY_COUNT_MAX + 1, &table), STATUS_TOO_LARGE);
}

static void the_configs_keys_have_what_it_says_of_them(void **state)
{
    const char *scopes[] = {"embeddings", "admin"}, *models[] = {"a*", "b"};
    struct config_key rows[] = {
        {.name = "a",
         .sha256 = HASH_ALPHA,
         .organisation = "acme",
         .team = "red",
         .weight = 7,
         .scopes = {scopes, 2},
         .models = {models, 2}},
        {.name = "b", .sha256 = HASH_BETA, .organisation = "", .team = "", .weight = 100}};
    struct config config = {.auth.keys = {rows, 2}};
    const struct key_identity *found;
    struct key_table *table;

    (void)state;
    assert_int_equal(static_keys_create(&config, &table), STATUS_OK);
    found = find(table, "alpha", 1);
    assert_string_equal(found->id, "a");
    assert_string_equal(found->organisation, "acme");
    assert_string_equal(found->team, "red");
    assert_string_equal(found->models, "a* b");
    assert_int_equal(found->scopes, SCOPE_EMBEDDINGS | SCOPE_ADMIN);
    assert_int_equal(found->weight, 7);
    found = find(table, "beta", 1);
    assert_int_equal(found->scopes, SCOPE_DEFAULT);
    assert_string_equal(found->models, "");
    key_table_destroy(table);
}

static void assert_bearer(const char *value, const char *key)
{
    struct text_slice found = key_of_bearer(text_slice_of(value));

    if (key == NULL)
        assert_null(found.data);
    else
        assert_true(text_slice_is(found, key));
}

static void the_bearer_scheme_is_read_in_either_case(void **state)
{
    (void)state;
    assert_bearer("Bearer k", "k");
    assert_bearer("bearer k", "k");
    assert_bearer("BEARER   k", "k");
    assert_bearer("Bearer", NULL);
    assert_bearer("Bearer ", NULL);
    assert_bearer("Basic k", NULL);
    assert_bearer("k", NULL);
    assert_bearer("", NULL);
}

static void scopes_are_read_by_name(void **state)
{
    struct text_slice unknown;
    uint32_t scopes = 99;

    (void)state;
    assert_int_equal(scopes_parse("inference, admin", &scopes, &unknown), STATUS_OK);
    assert_int_equal(scopes, SCOPE_INFERENCE | SCOPE_ADMIN);
    assert_int_equal(scopes_parse("", &scopes, &unknown), STATUS_OK);
    assert_int_equal(scopes, 0);
    scopes = 99;
    assert_int_equal(scopes_parse("inference infer", &scopes, &unknown), STATUS_NOT_FOUND);
    assert_true(text_slice_is(unknown, "infer"));
    assert_int_equal(scopes, 99);
}

static void a_pattern_matches_as_in_a_shell(void **state)
{
    static char endless[512];

    (void)state;
    memset(endless, '*', sizeof(endless) - 1);
    assert_true(patterns_match("", "anything"));
    assert_true(patterns_match("llama-*", "llama-3"));
    assert_false(patterns_match("llama-*", "qwen"));
    assert_true(patterns_match("llama-*, org/*", "org/qwen"));
    assert_true(patterns_match("qwe?", "qwen"));
    assert_false(patterns_match("qwen", "qwen2"));
    assert_false(patterns_match(endless, "qwen"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_by_its_hash_in_either_case),
        cmocka_unit_test(anything_else_is_not_found),
        cmocka_unit_test(a_key_ends_at_its_time),
        cmocka_unit_test(a_full_table_takes_no_more_and_finds_all),
        cmocka_unit_test(the_configs_keys_have_what_it_says_of_them),
        cmocka_unit_test(the_bearer_scheme_is_read_in_either_case),
        cmocka_unit_test(scopes_are_read_by_name),
        cmocka_unit_test(a_pattern_matches_as_in_a_shell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
