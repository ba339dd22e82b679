#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_EMULATOR_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs kernels on the host, one CUDA thread a fiber, and reports what a GPU would forgive until it does not: shared memory
 * read or written in a race, before it was written or out of bounds, copies read before they were waited for, barriers and
 * warp operations that not all threads reach, addresses that are not aligned. Blocks run one after another in an order of
 * chance, threads too; kernels that use atomics or fences have two blocks under way at a time. All of it follows from a
 * seed (PENSTOCK_EMULATOR_SEED, 1 when it is not set), so that a report can be had again.
 *
 * A report is written to stderr and ends the process (abort), unless reports are kept.
 * PENSTOCK_EMULATOR_CHECKS=off leaves out what costs time: whole models run then, and only barriers, alignment and launch
 * limits are looked at.
 *
 * Threads: any thread may launch; launches run one at a time. The settings are changed while none runs. */

#ifdef __cplusplus
extern "C" {
#endif

typedef struct device_stream device_stream;

/* A launch as a value. Whoever runs it later copies the struct and the bytes of its arguments, which need 16-byte
 * alignment. */
struct emulated_launch {
    const char *kernel; /* its name, for ever */
    uint32_t grid_x, grid_y, grid_z;
    uint32_t threads;                    /* a block */
    uint32_t shared_bytes;               /* dynamic */
    uint32_t arguments_bytes;            /* at most EMULATED_ARGUMENTS_BYTES_MAX */
    const void *arguments;               /* borrowed (during the call that is given the launch) */
    void (*body)(const void *arguments); /* one thread of it */
};

/* What a CUDA kernel's parameters may come to. */
#define EMULATED_ARGUMENTS_BYTES_MAX 4096

/* Runs all of it now. */
void emulated_launch_run(const struct emulated_launch *launch);

/* Of the host's device runtime: queues a copy on `stream`, which calls emulated_launch_run. */
void device_stream_launch(device_stream *stream, const struct emulated_launch *launch);

void emulator_seed_set(uint64_t seed);
uint64_t emulator_seed(void);
void emulator_checks_set(bool is_checking);

enum emulator_report_kind {
    EMULATOR_RACE,      /* two threads, no barrier between, one writes */
    EMULATOR_UNWRITTEN, /* shared memory read that nobody wrote */
    EMULATOR_BOUNDS,    /* outside of its shared array */
    EMULATOR_COPY_PENDING, /* shared memory touched while an asynchronous copy to it is under way, or never waited for */
    EMULATOR_ALIGNMENT, /* 16-byte access elsewhere */
    EMULATOR_DIVERGENCE, /* threads at different barriers or warp operations, or gone while others wait */
    EMULATOR_PARTIAL_WARP,  /* warp operation in a block that does not end with a whole warp */
    EMULATOR_LAUNCH,        /* a launch that a device would refuse */
    EMULATOR_WAIT_PREVIOUS, /* a block that never called k_wait_previous */
    EMULATOR_REPORT_KIND_COUNT,
};

struct emulator_report {
    enum emulator_report_kind kind;
    uint32_t block_x, block_y, block_z;
    uint32_t thread, other_thread; /* other_thread: UINT32_MAX when there is none */
    uint64_t
        byte; /* of the block's shared memory, or an address; for barriers the line in the source */
    char kernel[128];
};

/* With true, reports are counted and the first is kept, instead of ending the process; forgets those of before. */
void emulator_reports_keep(bool is_kept);
uint64_t emulator_report_count(void);
uint64_t emulator_report_count_of(enum emulator_report_kind kind);
/* The first since emulator_reports_keep(true). */
struct emulator_report emulator_report_first(void);

#ifdef __cplusplus
}
#endif

#endif
