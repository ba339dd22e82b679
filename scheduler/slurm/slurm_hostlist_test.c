#include "unit_test.h"

#include <stdio.h>
#include <string.h>

#include "slurm_hostlist.h"

struct heard {
    char text[512];
    uint32_t count, wanted;
};

static bool on_host(void *context, const char *name)
{
    struct heard *heard = context;
    size_t used = strlen(heard->text);

    (void)snprintf(heard->text + used, sizeof(heard->text) - used, "%s ", name);
    return ++heard->count != heard->wanted;
}

static void expect(const char *list, status result, const char *hosts)
{
    struct heard heard = {"", 0, 0};

    assert_int_equal(slurm_hostlist_expand(text_slice_of(list), on_host, &heard), result);
    if (hosts != NULL)
        assert_string_equal(heard.text, hosts);
}

static void ranges_keep_their_width(void **state)
{
    (void)state;
    expect("n[0-2,07-09,100]", STATUS_OK, "n0 n1 n2 n07 n08 n09 n100 ");
    expect("n[8-11]", STATUS_OK, "n8 n9 n10 n11 ");
    expect("n[08-11]-ib", STATUS_OK, "n08-ib n09-ib n10-ib n11-ib ");
}

static void brackets_multiply(void **state)
{
    (void)state;
    expect("r[1-2]n[0-1]", STATUS_OK, "r1n0 r1n1 r2n0 r2n1 ");
    expect("r[1,4]n[0,5-6]", STATUS_OK, "r1n0 r1n5 r1n6 r4n0 r4n5 r4n6 ");
    expect("a[1]b[2]c[3]d[4]", STATUS_OK, "a1b2c3d4 ");
}

static void lists_of_names_are_read(void **state)
{
    (void)state;
    expect("", STATUS_OK, "");
    expect("n0,gpu-a,m[1-2]", STATUS_OK, "n0 gpu-a m1 m2 ");
}

static void what_is_no_list_is_refused(void **state)
{
    static const char *const broken[] = {"n[0-",
                                         "n[]",
                                         "n[2-1]",
                                         "n]",
                                         "n[a]",
                                         "n[1-2",
                                         ",n",
                                         "n,",
                                         "n[1,]",
                                         "n[1234567890]",
                                         "a[1]b[1]c[1]d[1]e[1]"};

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        expect(broken[i], STATUS_INVALID, NULL);
}

static bool count_host(void *context, const char *name)
{
    (void)name;
    ++*(uint32_t *)context;
    return true;
}

static void the_number_of_hosts_is_bounded(void **state)
{
    uint32_t count = 0;

    (void)state;
    assert_int_equal(slurm_hostlist_expand(text_slice_of("n[1-65536]"), count_host, &count),
                     STATUS_OK);
    assert_int_equal(count, SLURM_HOSTS_MAX);
    count = 0;
    assert_int_equal(slurm_hostlist_expand(text_slice_of("n[0-65536]"), count_host, &count),
                     STATUS_TOO_LARGE);
    assert_int_equal(count, SLURM_HOSTS_MAX);
}

static void the_length_of_a_name_is_bounded(void **state)
{
    char text[SLURM_HOST_BYTES_MAX + 2];

    (void)state;
    memset(text, 'n', sizeof(text));
    text[SLURM_HOST_BYTES_MAX] = '\0';
    expect(text, STATUS_OK, NULL);
    text[SLURM_HOST_BYTES_MAX] = 'n';
    text[SLURM_HOST_BYTES_MAX + 1] = '\0';
    expect(text, STATUS_TOO_LARGE, NULL);
}

static void who_has_heard_enough_ends_it(void **state)
{
    struct heard heard = {"", 0, 2};

    (void)state;
    assert_int_equal(slurm_hostlist_expand(text_slice_of("n[0-9],m"), on_host, &heard), STATUS_OK);
    assert_string_equal(heard.text, "n0 n1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_keep_their_width),
        cmocka_unit_test(brackets_multiply),
        cmocka_unit_test(lists_of_names_are_read),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(the_number_of_hosts_is_bounded),
        cmocka_unit_test(the_length_of_a_name_is_bounded),
        cmocka_unit_test(who_has_heard_enough_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
