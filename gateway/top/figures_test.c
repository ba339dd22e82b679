#include "unit_test.h"

#include <math.h>

#include "bar.h"
#include "figures.h"

#define DASH "\xE2\x80\x93"

static void numbers_have_three_digits_and_a_unit(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0, "0"},         {5, "5"},        {0.15, "0.15"},     {0.0183, "0.018"},
                {12.34, "12.3"},  {999.6, "1000"}, {9999, "9999"},     {12345, "12.3k"},
                {4.5e6, "4.5M"},  {2e9, "2G"},     {-3, "-3"},         {NAN, DASH},
                {INFINITY, DASH}, {1e300, DASH},   {123456789, "123M"}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(figure_short(rows[i].value).text, rows[i].text);
}

static void times_and_shares_read_well(void **state)
{
    (void)state;
    assert_string_equal(figure_seconds(0.0182).text, "18.2 ms");
    assert_string_equal(figure_seconds(2.5).text, "2.5 s");
    assert_string_equal(figure_seconds(119).text, "119 s");
    assert_string_equal(figure_seconds(180).text, "3 min");
    assert_string_equal(figure_seconds(9000).text, "2.5 h");
    assert_string_equal(figure_seconds(864000).text, "10 d");
    assert_string_equal(figure_seconds(NAN).text, DASH);
    assert_string_equal(figure_percent(0).text, "0%");
    assert_string_equal(figure_percent(0.0004).text, "0%");
    assert_string_equal(figure_percent(0.004).text, "0.4%");
    assert_string_equal(figure_percent(0.995).text, "100%");
    assert_string_equal(figure_percent(1).text, "100%");
    assert_string_equal(figure_percent(NAN).text, DASH);
}

static void a_bar_has_exactly_its_cells(void **state)
{
    static const double rows[][TIME_STATES] = {{1},
                                               {1, 1, 1},
                                               {0.001, 0.999},
                                               {1, 1, 1, 1, 1, 1, 1, 1},
                                               {0, 0, 0, 0, 0, 0, 0, 7},
                                               {0.2, 0.5, 0.1, 0, 0, 0, 0, 0.2}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t cells = 0; cells < 200; cells++) {
            uint32_t out[TIME_STATES], sum = 0;
            double whole = 0;

            for (int j = 0; j < TIME_STATES; j++)
                whole += rows[i][j];
            bar_cells(rows[i], cells, out);
            for (int j = 0; j < TIME_STATES; j++) {
                sum += out[j];
                assert_true(fabs(out[j] - rows[i][j] / whole * cells) < 1);
            }
            assert_int_equal(sum, cells);
        }
    }
}

static void no_time_is_no_bar(void **state)
{
    const double none[TIME_STATES] = {0};
    uint32_t out[TIME_STATES];

    (void)state;
    bar_cells(none, 10, out);
    for (int i = 0; i < TIME_STATES; i++)
        assert_int_equal(out[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_three_digits_and_a_unit),
        cmocka_unit_test(times_and_shares_read_well),
        cmocka_unit_test(a_bar_has_exactly_its_cells),
        cmocka_unit_test(no_time_is_no_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
