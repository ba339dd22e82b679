#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_EMULATED_THREAD_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_EMULATED_THREAD_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "emulator.h"

/* What a kernel on the host sees of the emulator: the thread that runs now, its block and its warp. Global, not local to the
 * operating system's thread: launches run one at a time. */

#define EMULATED_WARP        32u
#define EMULATED_THREADS_MAX 1024u
#define EMULATED_SHARED_MAX                                                                        \
    (227u * 1024) /* dynamic and static, a block: compute capability 9.0 and 10.0 */
#define EMULATED_SHARED_UNASKED (48u * 1024) /* static: what nvcc allows */
#define EMULATED_WORDS_MAX      8u /* what a lane brings to a warp operation: an mma's a and b */

enum emulated_wait { WAIT_NONE, WAIT_BARRIER, WAIT_WARP };

enum warp_operation {
    WARP_SYNC,
    WARP_EXCHANGE, /* shuffles */
    WARP_GATHER,   /* sums and maxima */
    WARP_VOTE,
    WARP_MATRIX, /* ldmatrix */
    WARP_SUM_FLOAT,
    WARP_SUM_DOUBLE,
    WARP_MMA_BF16,
    WARP_MMA_F16,
    WARP_MMA_S8,
};

/* A copy that was asked for and not yet made. from NULL: zeros. */
struct pending_copy {
    uint32_t to;
    uint32_t group;
    const void *from;
};

/* One round of a warp operation. Two are used in turn: a lane can be one round ahead of those that have not read yet. */
struct warp_round {
    uint32_t words[EMULATED_WARP][EMULATED_WORDS_MAX]; /* a lane's words, or its result */
    union {
        double floats[16][8];
        int32_t ints[16][8];
    } product; /* of an mma */
};

struct emulated_warp {
    struct warp_round rounds[2];
    uint32_t arrived;    /* lanes, in the round under way */
    uint32_t generation; /* rounds done */
    uint32_t line;       /* of who came first */
    enum warp_operation operation;
    uint8_t epoch; /* barriers of this warp so far, the last bits: no byte waits for 256 of them */
};

struct emulated_thread;

struct shared_array {
    const void *key; /* its declaration */
    uint32_t begin, end;
};

/* A block under way. Shared memory begins at `shared`; dynamic memory first. */
struct emulated_block {
    uint32_t x, y, z;
    char *shared;               /* owned: EMULATED_SHARED_MAX and a margin */
    struct byte_shadow *shadow; /* owned: a record for each byte */
    uint32_t shared_bytes;
    std::vector<shared_array> arrays;
    uint32_t thread_count, live_count;
    uint32_t at_barrier, barrier_line;
    uint32_t epoch;       /* of barriers; never the same in two blocks */
    uint32_t first_epoch; /* bytes last written before it are unwritten */
    bool waited_previous;
    struct emulated_thread *threads;
    struct emulated_warp *warps;
};

struct emulated_thread {
    struct emulated_block *block;
    struct emulated_warp *warp;
    struct fiber *carrier; /* its stack, once it runs */
    uint32_t index;
    uint16_t lane;
    bool is_started;
    enum emulated_wait wait;
    uint32_t line;       /* of what it waits at */
    uint32_t copy_group; /* the open one */
    std::vector<pending_copy> copies;
};

extern struct emulated_thread *emulated_current;
extern struct emulated_launch emulated_current_launch;
extern bool emulated_is_checking;

/* Reports for the thread that runs (NULL: for the launch). Ends the process, or counts. */
void emulated_report(enum emulator_report_kind kind, uint32_t other_thread, uint64_t byte,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* --- waiting (launch.cpp) --- */
void emulated_barrier(uint32_t line);
/* Lets another thread run. For what other blocks may see: atomics, fences. */
void emulated_order_point(void);
/* Lets others run until somebody releases this thread. */
void emulated_suspend(enum emulated_wait wait, uint32_t line);
/* The other lanes of this thread's warp, which all wait, may go on. */
void emulated_release_warp(struct emulated_thread *thread);

/* --- warp operations (warp.cpp) --- */
/* Brings `count` words, waits for the other lanes, and gives what all brought (or the operation's result). Valid until
 * this lane's next but one operation. */
const struct warp_round *emulated_warp_round(enum warp_operation operation, uint32_t line,
                                             const uint32_t *words, uint32_t count);

/* --- shared memory (shared_memory.cpp) --- */
enum shared_access { SHARED_READ, SHARED_WRITE, SHARED_ATOMIC };
/* The block's array of this declaration. */
struct shared_array emulated_shared_array(const void *key, uint64_t bytes);
/* Looks at an access by the thread that runs; where it must not be made, gives an address that may be used instead. */
void *emulated_shared_touch(void *p, uint32_t begin, uint32_t end, uint32_t bytes,
                            uint32_t alignment, enum shared_access access);

/* --- asynchronous copies (async_copy.cpp) --- */
void emulated_copy_async(void *to, uint32_t begin, uint32_t end, const void *from, bool is_wanted);
void emulated_copy_commit(void);
void emulated_copy_wait(uint32_t newest_left);

void emulated_misaligned(const void *p, const char *what);

static inline void emulated_check_alignment(const void *p, const char *what)
{
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0)
        emulated_misaligned(p, what);
}

#endif
