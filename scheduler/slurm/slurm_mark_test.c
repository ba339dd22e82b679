/* The comment of a job: which slices it has, in the 1024 bytes that Slurm allows. */
#include "unit_test.h"

#include <stdio.h>
#include <string.h>

#include "slurm_parts.h"

static struct slurm_parts parts;

static bool has_part(const struct member_part *part)
{
    for (uint32_t i = 0; i < parts.count; i++)
        if (strcmp(parts.list[i].slice_id, part->slice_id) == 0)
            return parts.list[i].compute_milli == part->compute_milli &&
                   parts.list[i].memory_bytes == part->memory_bytes;
    return false;
}

/* Writes an order's comment, and reads all of its parts again. */
static void round_trip(const struct member_part *list, uint32_t count, const char *wanted)
{
    const struct member_order order = {.uid = 255, .parts = list, .part_count = count};
    struct slurm_mark mark;
    struct buffer out;

    buffer_init(&out, SLURM_MARK_BYTES_MAX);
    slurm_mark_write(&out, "p", &order);
    buffer_append_byte(&out, '\0');
    assert_int_equal(out.failed, STATUS_OK);
    assert_string_equal(out.data, wanted);
    assert_true(slurm_mark_read(out.data, "p", &mark));
    assert_int_equal(slurm_parts_read(&parts, &mark), STATUS_OK);
    assert_int_equal(parts.count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_true(has_part(&list[i]));
    buffer_deinit(&out);
}

static void one_slice_is_one_place_on_one_node(void **state)
{
    const struct member_part gpu[] = {{"n0/gpu:h100/2", (80ull << 30) + 1, 1000}};
    const struct member_part untyped[] = {{"n0/gpu/0", 5, 250}};
    const struct member_part cores[] = {{"login-1.example/cpu", 1 << 20, 3000}};

    (void)state;
    round_trip(gpu, 1, "penstock=p;uid=00000000000000ff;at=gpu:h100*1000*85899345921;2@n0");
    round_trip(untyped, 1, "penstock=p;uid=00000000000000ff;at=gpu*250*5;0@n0");
    round_trip(cores, 1, "penstock=p;uid=00000000000000ff;at=cpu*3000*1048576;0@login-1.example");
}

static void nodes_with_the_same_places_are_one_list(void **state)
{
    const struct member_part list[] = {
        {"n10/gpu/1", 7, 1000}, {"n9/gpu/1", 7, 1000},  {"n11/gpu/3", 7, 1000},
        {"n9/gpu/0", 7, 1000},  {"n10/gpu/0", 7, 1000}, {"n11/gpu/5", 7, 1000},
        {"n11/gpu/4", 7, 1000}, {"m08/gpu/0", 7, 1000}, {"m08/gpu/1", 7, 1000},
        {"n12/gpu/0", 7, 1000}, {"n12/gpu/1", 7, 1000}, {"n11/gpu/0", 7, 1000},
        {"m09/gpu/0", 7, 1000}, {"m09/gpu/1", 7, 1000}, {"m10/gpu/0", 7, 1000},
        {"m10/gpu/1", 7, 1000}};

    (void)state;
    round_trip(list, 16,
               "penstock=p;uid=00000000000000ff;at=gpu*1000*7;0-1@n9,m[08-10],n10,n12;0+3-5@n11");
}

static void the_largest_gang_fits(void **state)
{
    static char ids[POOL_GANG_MAX][64];
    struct member_part list[POOL_GANG_MAX];

    (void)state;
    for (uint32_t i = 0; i < POOL_GANG_MAX; i++) {
        (void)snprintf(ids[i], sizeof(ids[i]), "gpu-node-%04u/gpu:nvidia_h100_80gb_hbm3/%u",
                       100 + i / 8, i % 8);
        list[i] = (struct member_part){ids[i], 85899345920, 1000};
    }
    round_trip(list, POOL_GANG_MAX,
               "penstock=p;uid=00000000000000ff;at=gpu:nvidia_h100_80gb_hbm3*1000*85899345920;"
               "0-7@gpu-node-[0100-0131]");
}

static void what_is_not_of_the_form_has_no_parts(void **state)
{
    static const char *const comments[] = {"",
                                           ";at=",
                                           ";at=;",
                                           ";at=gpu",
                                           ";at=gpu*x*1;0@n0",
                                           ";at=gpu*1",
                                           ";at=gpu*1*",
                                           ";at=gpu*1*1;",
                                           ";at=gpu*1*1;0",
                                           ";at=gpu*1*1;@n0",
                                           ";at=*1*1",
                                           ";at=gpu*1*1",
                                           ";at=gpu*1*1;0-99999@n0",
                                           ";at=gpu*1*1;0@n[0-400]",
                                           ";at=gpu*1*1;0-300@n0",
                                           ";at=gpu*1*1;x@n0",
                                           ";at=gpu*1*1;0@n[0"};
    char text[128];
    struct slurm_mark mark;

    (void)state;
    for (size_t i = 0; i < sizeof(comments) / sizeof(comments[0]); i++) {
        (void)snprintf(text, sizeof(text), "penstock=p;uid=00000000000000ff%s", comments[i]);
        assert_true(slurm_mark_read(text, "p", &mark));
        assert_int_equal(slurm_parts_read(&parts, &mark), STATUS_OK);
        assert_int_equal(parts.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_slice_is_one_place_on_one_node),
        cmocka_unit_test(nodes_with_the_same_places_are_one_list),
        cmocka_unit_test(the_largest_gang_fits),
        cmocka_unit_test(what_is_not_of_the_form_has_no_parts),
    };
    int failed;

    slurm_parts_init(&parts);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    slurm_parts_deinit(&parts);
    return failed;
}
