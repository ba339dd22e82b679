#include "response_store.h"

#include <stdio.h>

#include "unit_test.h"

static const struct hash_key key = {1, 2};
static const struct hash128 ours = {3, 4}, theirs = {5, 6};

static response_store *store_of(uint64_t bytes_max, uint32_t count_max)
{
    struct response_store_limits limits = {bytes_max, count_max, 100};
    response_store *store = NULL;
    assert_int_equal(response_store_create(&limits, &key, &store), STATUS_OK);
    return store;
}

static status put(response_store *store, const char *id, const char *text, uint64_t now_ns)
{
    struct response_record record = {text_slice_of(text), text_slice_of(""),
                                     text_slice_of("{\"i\":1}"), text_slice_of("o")};
    return response_store_put(store, id, ours, &record, now_ns);
}

static bool has(response_store *store, const char *id, uint64_t now_ns)
{
    const struct response_record *record =
        response_store_get(store, text_slice_of(id), ours, now_ns);
    if (record != NULL)
        response_store_release(store, record);
    return record != NULL;
}

static void what_is_put_is_found_by_its_tenant_alone(void **state)
{
    (void)state;
    response_store *store = store_of(1 << 20, 8);
    char text[] = "{\"id\":1}";
    assert_int_equal(put(store, "resp_1", text, 1), STATUS_OK);
    text[0] = 'x'; /* it has been copied */
    const struct response_record *record =
        response_store_get(store, text_slice_of("resp_1"), ours, 1);
    assert_non_null(record);
    assert_true(text_slice_is(record->response, "{\"id\":1}"));
    assert_true(text_slice_is(record->input, "{\"i\":1}"));
    assert_true(text_slice_is(record->output, "o"));
    assert_int_equal(record->context.bytes, 0);
    response_store_release(store, record);
    assert_null(response_store_get(store, text_slice_of("resp_1"), theirs, 1));
    assert_null(response_store_get(store, text_slice_of("resp_2"), ours, 1));
    assert_false(response_store_delete(store, text_slice_of("resp_1"), theirs, 1));
    assert_true(has(store, "resp_1", 1));
    response_store_destroy(store);
}

static void a_deleted_record_stays_for_who_holds_it(void **state)
{
    (void)state;
    response_store *store = store_of(1 << 20, 8);
    assert_int_equal(put(store, "a", "text", 1), STATUS_OK);
    const struct response_record *record = response_store_get(store, text_slice_of("a"), ours, 1);
    assert_true(response_store_delete(store, text_slice_of("a"), ours, 1));
    assert_false(response_store_delete(store, text_slice_of("a"), ours, 1));
    assert_false(has(store, "a", 1));
    assert_int_equal(response_store_count(store), 0);
    assert_int_equal(response_store_bytes(store), 0);
    assert_true(text_slice_is(record->response, "text"));
    response_store_release(store, record);
    response_store_destroy(store);
}

static void a_record_ends_with_its_time(void **state)
{
    (void)state;
    response_store *store = store_of(1 << 20, 8);
    assert_int_equal(put(store, "a", "1", 10), STATUS_OK);
    assert_int_equal(put(store, "b", "2", 20), STATUS_OK);
    assert_true(has(store, "a", 109));
    assert_false(has(store, "a", 110));
    assert_true(has(store, "b", 119));
    assert_int_equal(response_store_count(store), 1);
    assert_false(response_store_delete(store, text_slice_of("b"), ours, 120));
    assert_int_equal(response_store_bytes(store), 0);
    response_store_destroy(store);
}

static void the_oldest_makes_room_at_the_count(void **state)
{
    (void)state;
    response_store *store = store_of(1 << 20, 3);
    const char *const ids[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(put(store, ids[i], "x", (uint64_t)i), STATUS_OK);
    assert_int_equal(response_store_count(store), 3);
    assert_false(has(store, "a", 4));
    for (int i = 1; i < 4; i++)
        assert_true(has(store, ids[i], 4));
    response_store_destroy(store);
}

static void the_oldest_make_room_for_bytes_and_no_record_is_larger_than_all(void **state)
{
    (void)state;
    char large[2048];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    response_store *store = store_of(5000, 100);
    assert_int_equal(put(store, "a", large, 1), STATUS_OK);
    assert_int_equal(put(store, "b", large, 2), STATUS_OK);
    assert_int_equal(response_store_count(store), 2);
    assert_int_equal(put(store, "c", large, 3), STATUS_OK);
    assert_int_equal(response_store_count(store), 2);
    assert_false(has(store, "a", 3));
    assert_true(response_store_bytes(store) <= 5000);
    response_store_destroy(store);

    store = store_of(1024, 100);
    assert_int_equal(put(store, "a", "small", 1), STATUS_OK);
    assert_int_equal(put(store, "b", large, 1), STATUS_TOO_LARGE);
    assert_true(has(store, "a", 1));
    response_store_destroy(store);

    store = store_of(1 << 20, 0);
    assert_int_equal(put(store, "a", "x", 1), STATUS_TOO_LARGE);
    response_store_destroy(store);
}

static void many_records_in_any_order_leave_nothing(void **state)
{
    (void)state;
    response_store *store = store_of(1 << 20, 64);
    uint32_t seed = 7;
    for (int i = 0; i < 5000; i++) {
        char id[16];
        seed = seed * 1664525u + 1013904223u;
        snprintf(id, sizeof id, "r%u", seed >> 16 & 127u);
        if ((seed >> 8 & 3u) == 0)
            response_store_delete(store, text_slice_of(id), ours, 1);
        else if (!has(store, id, 1))
            assert_int_equal(put(store, id, "text", 1), STATUS_OK);
        assert_true(response_store_count(store) <= 64);
    }
    for (unsigned i = 0; i < 128; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%u", i);
        bool was_there = has(store, id, 1);
        assert_int_equal(response_store_delete(store, text_slice_of(id), ours, 1), was_there);
    }
    assert_int_equal(response_store_count(store), 0);
    assert_int_equal(response_store_bytes(store), 0);
    response_store_destroy(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_found_by_its_tenant_alone),
        cmocka_unit_test(a_deleted_record_stays_for_who_holds_it),
        cmocka_unit_test(a_record_ends_with_its_time),
        cmocka_unit_test(the_oldest_makes_room_at_the_count),
        cmocka_unit_test(the_oldest_make_room_for_bytes_and_no_record_is_larger_than_all),
        cmocka_unit_test(many_records_in_any_order_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
