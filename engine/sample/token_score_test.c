#include "unit_test.h"

#include <math.h>

#include "token_score.h"

#define VOCABULARY 6u

static void a_score_is_the_log_of_the_tokens_share_and_its_place(void **state)
{
    (void)state;
    static const float logits[VOCABULARY] = {0.0f, 1.0f, 3.0f, 2.0f, 3.0f, -1.0f};
    double sum = 0.0;
    for (uint32_t i = 0; i < VOCABULARY; i++)
        sum += exp((double)logits[i]);
    static const uint32_t ranks[VOCABULARY] = {5, 4, 1, 3, 1, 6};
    for (int32_t token = 0; token < (int32_t)VOCABULARY; token++) {
        struct token_score score;
        struct token_logprob best[3];
        assert_int_equal(row_score_token(logits, VOCABULARY, token, 3, &score, best), STATUS_OK);
        assert_true(fabs((double)score.logprob - ((double)logits[token] - log(sum))) < 1e-6);
        assert_int_equal(score.rank, ranks[token]);
        assert_int_equal(best[0].token, 2); /* of equal ones the lowest id */
        assert_int_equal(best[1].token, 4);
        assert_int_equal(best[2].token, 3);
        assert_true(fabs((double)best[2].logprob - (2.0 - log(sum))) < 1e-6);
    }
}

static void a_banned_token_has_no_share_and_leaves_a_place_empty(void **state)
{
    (void)state;
    static const float logits[3] = {0.0f, -INFINITY, 0.0f};
    struct token_score score;
    struct token_logprob best[5];
    assert_int_equal(row_score_token(logits, 3, 1, 5, &score, best), STATUS_OK);
    assert_true(isinf(score.logprob) && score.logprob < 0.0f);
    assert_int_equal(score.rank, 3);
    assert_int_equal(best[1].token, 2);
    assert_int_equal(best[2].token, -1);
    assert_int_equal(best[4].token, -1);
}

static void a_broken_row_is_refused_and_nothing_is_written(void **state)
{
    (void)state;
    static const float rows[3][2] = {{NAN, 0.0f}, {INFINITY, 0.0f}, {-INFINITY, -INFINITY}};
    for (int i = 0; i < 3; i++) {
        struct token_score score = {7.0f, 7};
        assert_int_equal(row_score_token(rows[i], 2, 1, 0, &score, NULL), STATUS_INTERNAL);
        assert_true(score.logprob == 7.0f && score.rank == 7);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_score_is_the_log_of_the_tokens_share_and_its_place),
        cmocka_unit_test(a_banned_token_has_no_share_and_leaves_a_place_empty),
        cmocka_unit_test(a_broken_row_is_refused_and_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
