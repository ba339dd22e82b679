#include "unit_test.h"

#include "check.h"
#include "stored_replica.h"

static void a_number_is_read_back_from_an_id(void **state)
{
    const uint32_t numbers[] = {0, 1, 15, 16, 4095, 65535};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        char digits[STORED_REPLICA_BYTES], id[64];

        stored_replica_write(numbers[i], digits);
        snprintf(id, sizeof(id), "resp_%s0123456789abcdef", digits);
        assert_int_equal(stored_replica_read(text_slice_of(id)), numbers[i]);
    }
}

static void other_ids_name_no_replica(void **state)
{
    const char *const ids[] = {"",
                               "resp_",
                               "resp_0001",
                               "resp_000",
                               "resp_00G10123",
                               "resp_00A10123",
                               "msg_00010123",
                               "resp-00010123",
                               "resp_ 0010123"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++)
        assert_int_equal(stored_replica_read(text_slice_of(ids[i])), STORED_REPLICA_NONE);
    assert_int_equal(stored_replica_read((struct text_slice){NULL, 0}), STORED_REPLICA_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_read_back_from_an_id),
        cmocka_unit_test(other_ids_name_no_replica),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
