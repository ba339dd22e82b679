#include "unit_test.h"

#include "philox.h"

/* Known answers of the authors' library Random123 (kat_vectors, philox4x32 10). */
static void it_gives_the_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct philox_counter counter;
        memcpy(counter.word, rows[i].counter, sizeof counter.word);
        struct philox_counter got = philox4x32(counter, rows[i].key[0], rows[i].key[1]);
        assert_memory_equal(got.word, rows[i].answer, sizeof got.word);
    }
}

static void numbers_are_uniform_and_depend_on_seed_index_and_position(void **state)
{
    (void)state;
    double sum = 0.0;
    for (uint32_t position = 0; position < 10000; position++) {
        double u = philox_uniform(7, 0, position, PHILOX_TOKEN);
        assert_true(u >= 0.0 && u < 1.0);
        sum += u;
    }
    assert_true(sum > 4900.0 && sum < 5100.0); /* 3.4 standard deviations */
    double base = philox_uniform(7, 0, 5, PHILOX_TOKEN);
    assert_true(base == philox_uniform(7, 0, 5, PHILOX_TOKEN));
    assert_true(base != philox_uniform(8, 0, 5, PHILOX_TOKEN));
    assert_true(base != philox_uniform(7 + (1ull << 40), 0, 5, PHILOX_TOKEN));
    assert_true(base != philox_uniform(7, 1, 5, PHILOX_TOKEN));
    assert_true(base != philox_uniform(7, 0, 6, PHILOX_TOKEN));
    assert_true(base != philox_uniform(7, 0, 5, PHILOX_EXCLUSION));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_gives_the_known_answers),
        cmocka_unit_test(numbers_are_uniform_and_depend_on_seed_index_and_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
