#include "unit_test.h"

#include "auth.h"

/* printf %s alpha | sha256sum, and so on. */
#define HASH_ALPHA "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
#define HASH_BETA  "F44E64E75F3948E9F73F8DFA94721C4CE8CBB4F265C4790C702B2D41CFBF2753"

static int make_config(void **state)
{
    static struct config config;

    if (arena_create(1u << 20, &config.memory) != STATUS_OK)
        return -1;
    *state = &config;
    return 0;
}

static int free_config(void **state)
{
    arena_destroy(((struct config *)*state)->memory);
    return 0;
}

static struct auth_keys keys_of(struct config *config, struct config_key *rows, uint32_t count)
{
    struct auth_keys keys;

    config->auth.keys = (struct setting_list){rows, count};
    assert_int_equal(auth_keys_init(&keys, config), STATUS_OK);
    return keys;
}

static void a_key_is_found_by_its_hash_in_either_case(void **state)
{
    struct config_key rows[] = {{"a", HASH_ALPHA}, {"b", HASH_BETA}};
    struct auth_keys keys = keys_of(*state, rows, 2);

    assert_int_equal(auth_find(&keys, text_slice_of("alpha")), 0);
    assert_int_equal(auth_find(&keys, text_slice_of("beta")), 1);
}

static void anything_else_is_not_found(void **state)
{
    static char text[AUTH_KEY_BYTES_MAX + 1];
    struct config_key rows[] = {{"a", HASH_ALPHA}};
    struct auth_keys keys = keys_of(*state, rows, 1);
    struct auth_keys none = keys_of(*state, rows, 0);

    memset(text, 'x', sizeof(text));
    assert_int_equal(auth_find(&keys, text_slice_of("Alpha")), AUTH_NONE);
    assert_int_equal(auth_find(&keys, text_slice_of("alph")), AUTH_NONE);
    assert_int_equal(auth_find(&keys, text_slice_of(HASH_ALPHA)), AUTH_NONE);
    assert_int_equal(auth_find(&keys, text_slice_of("")), AUTH_NONE);
    assert_int_equal(auth_find(&keys, (struct text_slice){NULL, 0}), AUTH_NONE);
    assert_int_equal(auth_find(&keys, (struct text_slice){"alpha\0", 6}), AUTH_NONE);
    assert_int_equal(auth_find(&keys, (struct text_slice){text, sizeof(text)}), AUTH_NONE);
    assert_int_equal(auth_find(&none, text_slice_of("alpha")), AUTH_NONE);
}

static void the_bearer_scheme_is_read_in_either_case(void **state)
{
    (void)state;
    assert_true(text_slice_is(auth_bearer(text_slice_of("Bearer k")), "k"));
    assert_true(text_slice_is(auth_bearer(text_slice_of("bearer   k")), "k"));
    assert_null(auth_bearer(text_slice_of("Basic k")).data);
    assert_null(auth_bearer(text_slice_of("Bearer")).data);
    assert_null(auth_bearer(text_slice_of("")).data);
    assert_int_equal(auth_bearer(text_slice_of("Bearer    ")).bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_is_found_by_its_hash_in_either_case, make_config,
                                        free_config),
        cmocka_unit_test_setup_teardown(anything_else_is_not_found, make_config, free_config),
        cmocka_unit_test(the_bearer_scheme_is_read_in_either_case),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
