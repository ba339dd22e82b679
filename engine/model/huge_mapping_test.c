#include "huge_mapping.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit_test.h"

static void mappings_begin_at_a_huge_page_and_end_where_they_should(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t lengths[] = {
        1, page, page + 1, HUGE_PAGE_BYTES - 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 5};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t *data = huge_mapping_create(-1, lengths[i]);
        assert_non_null(data);
        assert_int_equal((uintptr_t)data % HUGE_PAGE_BYTES, 0);
        for (size_t at = 0; at < lengths[i]; at += page)
            assert_int_equal(data[at], 0);
        data[lengths[i] - 1] = 7;
        /* Nothing is left behind it: only our own pages can be synchronised. */
        size_t used = (lengths[i] + page - 1) / page * page;
        assert_int_equal(msync(data, used, MS_ASYNC), 0);
        assert_int_equal(munmap(data, lengths[i]), 0);
        assert_int_equal(msync(data, used, MS_ASYNC), -1);
    }
}

static void a_file_is_mapped_as_it_is(void **state)
{
    (void)state;
    char path[] = "/tmp/penstock-mapping-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    size_t bytes = 2 * HUGE_PAGE_BYTES + 100;
    assert_int_equal(ftruncate(descriptor, (off_t)bytes), 0);
    assert_int_equal(pwrite(descriptor, "end", 3, (off_t)bytes - 3), 3);
    uint8_t *data = huge_mapping_create(descriptor, bytes);
    assert_non_null(data);
    assert_int_equal((uintptr_t)data % HUGE_PAGE_BYTES, 0);
    assert_memory_equal(data + bytes - 3, "end", 3);
    (void)huge_mapping_is_huge(data, bytes); /* either answer, by the file system */
    assert_false(huge_mapping_is_huge(data, HUGE_PAGE_BYTES - 1));
    assert_int_equal(munmap(data, bytes), 0);
    assert_null(huge_mapping_create(descriptor, SIZE_MAX / 4)); /* no such room */
    close(descriptor);
    assert_null(huge_mapping_create(descriptor, bytes));
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mappings_begin_at_a_huge_page_and_end_where_they_should),
        cmocka_unit_test(a_file_is_mapped_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
