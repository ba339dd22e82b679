#ifndef PENSTOCK_CUDA_DEVICE_TESTING_H
#define PENSTOCK_CUDA_DEVICE_TESTING_H

/* A device for the tests of kernels: whichever runtime the test is linked with, the host's or CUDA's. Memory is exactly as
 * large as what is put there, and what nothing was put into holds NaNs (and large numbers, read as integers). */

#include "runtime/device_runtime.h"
#include "unit_test.h"

#define DEVICE_RIG_BLOCKS_MAX 256u

struct device_rig {
    device *device;
    device_stream *stream;
    void *blocks[DEVICE_RIG_BLOCKS_MAX];
    uint32_t block_count;
};

static inline void device_rig_open(struct device_rig *rig)
{
    struct error_note note;
    *rig = (struct device_rig){0};
    assert_int_equal(device_open(0, &rig->device, &note), STATUS_OK);
    assert_int_equal(device_stream_create(rig->device, &rig->stream), STATUS_OK);
}

/* `bytes` of the device, with NaNs. */
static inline void *device_rig_room(struct device_rig *rig, uint64_t bytes)
{
    assert_true(rig->block_count < DEVICE_RIG_BLOCKS_MAX);
    void *block = device_allocate(rig->device, bytes);
    assert_non_null(block);
    device_fill(rig->stream, block, 0xff, bytes);
    rig->blocks[rig->block_count++] = block;
    return block;
}

static inline void *device_rig_put(struct device_rig *rig, const void *host, uint64_t bytes)
{
    void *block = device_rig_room(rig, bytes);
    device_copy_to_device(rig->stream, block, host, bytes);
    return block;
}

/* Waits for all that is queued, and copies. */
static inline void device_rig_get(struct device_rig *rig, void *host, const void *block,
                                  uint64_t bytes)
{
    device_copy_to_host(rig->stream, host, block, bytes);
    assert_int_equal(device_stream_synchronize(rig->stream), STATUS_OK);
}

/* Gives all memory back; the device stays. */
static inline void device_rig_clear(struct device_rig *rig)
{
    assert_int_equal(device_stream_synchronize(rig->stream), STATUS_OK);
    while (rig->block_count > 0)
        device_release(rig->device, rig->blocks[--rig->block_count]);
}

static inline void device_rig_close(struct device_rig *rig)
{
    device_rig_clear(rig);
    device_stream_destroy(rig->stream);
    device_close(rig->device);
}

#endif
