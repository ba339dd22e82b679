#include "unit_test.h"

#include <stdlib.h>

#include "runtime/device_runtime.h"

/* The runtime gives a device's memory back and finds the same at the same addresses again: the host one and, with tools/gpu-check,
 * CUDA's. */

enum { BLOCKS = 4, FORGOTTEN = 2 };
#define MIB ((uint64_t)1 << 20)

/* The last one is small: a device may leave it where it is. */
static const uint64_t sizes[BLOCKS] = {5 * MIB + 16, 8 * MIB, 3 * MIB, 1000};

struct world {
    device *d;
    device_stream *stream;
    uint8_t *blocks[BLOCKS];
};

static uint8_t byte_of(uint32_t block, uint64_t at)
{
    return (uint8_t)(at * 7 + at / 1000 + block * 31);
}

static uint64_t available(struct world *w)
{
    uint64_t total, left;
    assert_int_equal(device_memory_info(w->d, &total, &left), STATUS_OK);
    return left;
}

static void open_world(struct world *w)
{
    struct error_note note = {""};
    assert_int_equal(device_open(0, &w->d, &note), STATUS_OK);
    assert_int_equal(device_stream_create(w->d, &w->stream), STATUS_OK);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint8_t *host = malloc(sizes[i]);
        w->blocks[i] = device_allocate(w->d, sizes[i]);
        assert_true(host != NULL && w->blocks[i] != NULL);
        for (uint64_t at = 0; at < sizes[i]; at++)
            host[at] = byte_of(i, at);
        device_copy_to_device(w->stream, w->blocks[i], host, sizes[i]);
        free(host);
    }
}

static void close_world(struct world *w)
{
    assert_int_equal(device_stream_synchronize(w->stream), STATUS_OK);
    for (uint32_t i = 0; i < BLOCKS; i++)
        device_release(w->d, w->blocks[i]);
    device_stream_destroy(w->stream);
    device_close(w->d);
}

static void assert_content(struct world *w)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint8_t *host = malloc(sizes[i]);
        assert_non_null(host);
        device_copy_to_host(w->stream, host, w->blocks[i], sizes[i]);
        assert_int_equal(device_stream_synchronize(w->stream), STATUS_OK);
        for (uint64_t at = 0; at < sizes[i] && i != FORGOTTEN; at++)
            assert_int_equal(host[at], byte_of(i, at));
        free(host);
    }
}

static void memory_goes_and_comes_back(void **state)
{
    (void)state;
    struct world w;
    open_world(&w);
    uint64_t before = available(&w);
    assert_int_equal(device_wake(w.d), STATUS_OK); /* it does not sleep */
    for (uint32_t round = 0; round < 2; round++) {
        device_forget(w.d, w.blocks[FORGOTTEN]);
        device_sleep(w.d);
        device_sleep(w.d);
        assert_true(available(&w) >= before + sizes[0] + sizes[1] + sizes[2]);
        assert_int_equal(device_wake(w.d), STATUS_OK);
        assert_true(available(&w) <= before);
        assert_content(&w);
    }
    device_sleep(w.d);
    device_release(w.d, w.blocks[1]); /* asleep */
    w.blocks[1] = NULL;
    assert_int_equal(device_wake(w.d), STATUS_OK);
    close_world(&w);
}

static void without_memory_it_sleeps_on(void **state)
{
    (void)state;
    struct world w;
    open_world(&w);
    device_forget(w.d, w.blocks[FORGOTTEN]);
    device_sleep(w.d);
    uint64_t left = available(&w);
    uint8_t *others = device_allocate(w.d, left - 10 * MIB); /* room for some of them */
    assert_non_null(others);
    assert_int_equal(device_wake(w.d), STATUS_NO_MEMORY);
    assert_true(available(&w) >= 8 * MIB);
    device_release(w.d, others);
    assert_int_equal(device_wake(w.d), STATUS_OK);
    assert_content(&w);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_goes_and_comes_back),
        cmocka_unit_test(without_memory_it_sleeps_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
