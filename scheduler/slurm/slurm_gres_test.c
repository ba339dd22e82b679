#include "unit_test.h"

#include "slurm_gres.h"

static void expect(struct text_slice *rest, const char *name, const char *type, uint64_t count,
                   const char *indices)
{
    struct slurm_gres gres;

    assert_int_equal(slurm_gres_next(rest, &gres), STATUS_OK);
    assert_true(text_slice_is(gres.name, name));
    assert_true(text_slice_is(gres.type, type));
    assert_int_equal(gres.count, count);
    assert_true(text_slice_is(gres.indices, indices));
}

static void expect_end(struct text_slice rest)
{
    struct slurm_gres gres;

    assert_int_equal(slurm_gres_next(&rest, &gres), STATUS_NOT_FOUND);
}

static void a_nodes_list_is_read(void **state)
{
    struct text_slice rest = text_slice_of("gpu:h100:4,shard:h100:16,gpu:1g.10gb:4(S:0-1)");

    (void)state;
    expect(&rest, "gpu", "h100", 4, "");
    expect(&rest, "shard", "h100", 16, "");
    expect(&rest, "gpu", "1g.10gb", 4, "");
    expect_end(rest);
}

static void commas_in_parentheses_do_not_divide(void **state)
{
    struct text_slice rest = text_slice_of("gpu:h100:3(IDX:0,2-3),shard:0,gpu:a:0(IDX:N/A)");

    (void)state;
    expect(&rest, "gpu", "h100", 3, "0,2-3");
    expect(&rest, "shard", "", 0, "");
    expect(&rest, "gpu", "a", 0, "");
    expect_end(rest);
}

static void the_forms_of_other_places_are_read(void **state)
{
    struct text_slice rest =
        text_slice_of("gres/gpu:h100=2,gres:gpu:h100:1,gpu,gpu:h100,lustre:2K");

    (void)state;
    expect(&rest, "gpu", "h100", 2, "");
    expect(&rest, "gpu", "h100", 1, "");
    expect(&rest, "gpu", "", 1, "");
    expect(&rest, "gpu", "h100", 1, "");
    expect(&rest, "lustre", "", 2048, "");
    expect_end(rest);
}

static void what_stands_for_nothing_is_an_empty_list(void **state)
{
    (void)state;
    expect_end(text_slice_of(""));
    expect_end(text_slice_of("(null)"));
    expect_end(text_slice_of("N/A"));
    expect_end(text_slice_of(",,"));
}

static void a_broken_item_is_refused_and_the_next_is_read(void **state)
{
    static const char *const broken[] = {"gpu:h100:4(IDX:0",     "gpu:a:b:4", "gpu::4", "gpu:a:b",
                                         "gpu:a:99999999999999", "gpu:a:2T2"};

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct text_slice rest = text_slice_of(broken[i]);
        struct slurm_gres gres;

        assert_int_equal(slurm_gres_next(&rest, &gres), STATUS_INVALID);
        expect_end(rest);
    }
    struct text_slice rest = text_slice_of("gpu::4,shard:2");
    struct slurm_gres gres;

    assert_int_equal(slurm_gres_next(&rest, &gres), STATUS_INVALID);
    expect(&rest, "shard", "", 2, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nodes_list_is_read),
        cmocka_unit_test(commas_in_parentheses_do_not_divide),
        cmocka_unit_test(the_forms_of_other_places_are_read),
        cmocka_unit_test(what_stands_for_nothing_is_an_empty_list),
        cmocka_unit_test(a_broken_item_is_refused_and_the_next_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
