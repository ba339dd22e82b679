/* Ranks as threads: sums in one order whatever is late, columns put together, and failures that end every wait. Meant to run
 * under TSan too. */

#include "communicator.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "backend.h"
#include "check.h"
#include "thread.h"
#include "unit_test.h"

#define RANKS_MAX  5u
#define FLOATS_MAX 70000u

/* One rank of a test: a backend of its own, and what it does with its communicator. */
struct rank {
    pthread_t thread;
    communicator_group *group;
    uint32_t index, size;
    bool is_copied; /* as if its device had memory of its own */
    void (*work)(struct rank *rank, communicator *c);
    status opened, checked;
    float *numbers; /* owned; [FLOATS_MAX], device */
    float *whole;   /* owned; as numbers */
};

/* A backend whose memory nobody but its operations may touch; it happens to be the host's. */
struct distant {
    struct backend base;
    struct backend_operations operations;
    backend *b;
};

static void distant_upload(backend *b, void *device, const void *host, uint64_t bytes)
{
    (void)b;
    assert_ptr_not_equal(device, host);
    memcpy(device, host, bytes);
}

static void distant_download(backend *b, void *host, const void *device, uint64_t bytes)
{
    (void)b;
    assert_ptr_not_equal(device, host);
    memcpy(host, device, bytes);
}

static void distant_parallel_for(backend *b, uint32_t count,
                                 void (*body)(void *context, uint32_t index), void *context)
{
    backend *own = ((struct distant *)b)->b;
    own->operations->parallel_for(own, count, body, context);
}

static void make_distant(struct distant *distant, backend *b)
{
    distant->operations = *b->operations;
    distant->operations.memory_is_host = false;
    distant->operations.upload = distant_upload;
    distant->operations.download = distant_download;
    distant->operations.parallel_for = distant_parallel_for;
    distant->base.operations = &distant->operations;
    distant->b = b;
}

static void *rank_run(void *context)
{
    struct rank *rank = context;
    struct error_note note;
    struct distant distant;
    struct backend_options options = {
        .path = rank->index % 2 == 0 ? BACKEND_AUTO : BACKEND_REFERENCE, .threads = 2};
    backend *own;
    communicator *c;
    assert_int_equal(backend_open(&options, &own, &note), STATUS_OK);
    make_distant(&distant, own);
    rank->numbers = calloc(FLOATS_MAX, sizeof *rank->numbers);
    rank->whole = calloc(FLOATS_MAX, sizeof *rank->whole);
    rank->opened = communicator_open(rank->group, rank->is_copied ? &distant.base : own,
                                     rank->index, FLOATS_MAX, &c, &note);
    if (rank->opened == STATUS_OK) {
        rank->work(rank, c);
        rank->checked = communicator_check(c);
        communicator_close(c);
    }
    backend_close(own);
    return NULL;
}

static void run_ranks(struct rank *ranks, uint32_t size, bool is_copied,
                      void (*work)(struct rank *rank, communicator *c))
{
    communicator_group *group;
    assert_int_equal(communicator_group_create(size, &group), STATUS_OK);
    for (uint32_t r = 0; r < size; r++) {
        ranks[r] = (struct rank){
            .group = group, .index = r, .size = size, .is_copied = is_copied, .work = work};
        assert_int_equal(thread_start(&ranks[r].thread, "rank", rank_run, &ranks[r]), STATUS_OK);
    }
    for (uint32_t r = 0; r < size; r++)
        assert_int_equal(pthread_join(ranks[r].thread, NULL), 0);
    communicator_group_destroy(group);
}

static void free_ranks(struct rank *ranks, uint32_t size)
{
    for (uint32_t r = 0; r < size; r++) {
        free(ranks[r].numbers);
        free(ranks[r].whole);
    }
}

/* Numbers whose sum depends on the order. */
static float number_of(uint32_t rank, uint32_t round, uint64_t i)
{
    uint32_t bits = (uint32_t)(i * 2654435761u) ^ (rank * 40503u + round * 9973u);
    return (float)(int32_t)(bits * 2246822519u) * 1e-3f;
}

static const uint32_t counts[] = {1, 15, 16, 17, 0, 511, 513, 4096, 8193, FLOATS_MAX};

static void sum_all(struct rank *rank, communicator *c)
{
    for (uint32_t round = 0; round < 3 * ARRAY_COUNT(counts); round++) {
        uint32_t count = counts[round % ARRAY_COUNT(counts)];
        for (uint32_t i = 0; i < count; i++)
            rank->numbers[i] = number_of(rank->index, round, i);
        communicator_all_reduce_sum(c, rank->numbers, count);
        for (uint32_t i = 0; i < count; i++) {
            float want = number_of(0, round, i);
            for (uint32_t r = 1; r < rank->size; r++)
                want += number_of(r, round, i);
            if (memcmp(&want, &rank->numbers[i], sizeof want) != 0)
                fail_msg("rank %u, round %u: number %u is %g, not %g", rank->index, round, i,
                         (double)rank->numbers[i], (double)want);
        }
    }
}

static void sums_are_the_same_to_the_bit_everywhere(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= RANKS_MAX; size++) {
        for (int is_copied = 0; is_copied <= 1; is_copied++) {
            struct rank ranks[RANKS_MAX];
            run_ranks(ranks, size, is_copied, sum_all);
            for (uint32_t r = 0; r < size; r++)
                assert_int_equal(ranks[r].checked, STATUS_OK);
            free_ranks(ranks, size);
        }
    }
}

static const struct column_share shares[] = {
    {.n_rows = 1, .n_cols = 1000, .unit = 16},  {.n_rows = 7, .n_cols = 33, .unit = 16},
    {.n_rows = 3, .n_cols = 5, .unit = 4},      {.n_rows = 64, .n_cols = 1000, .unit = 1},
    {.n_rows = 2, .n_cols = 35000, .unit = 32},
};

static void gather_all(struct rank *rank, communicator *c)
{
    for (size_t i = 0; i < ARRAY_COUNT(shares); i++) {
        struct column_share share = shares[i];
        uint32_t n_cols = share.n_cols,
                 first = rank_share_first(n_cols, share.unit, rank->index, rank->size),
                 end = rank_share_first(n_cols, share.unit, rank->index + 1, rank->size), at = 0;
        for (uint32_t row = 0; row < share.n_rows; row++)
            for (uint32_t col = first; col < end; col++)
                rank->numbers[at++] = number_of(0, (uint32_t)i, (uint64_t)row * n_cols + col);
        share.part = rank->numbers;
        share.whole = rank->index == 0 ? rank->whole : NULL;
        communicator_gather_columns(c, &share);
        for (uint32_t k = 0; rank->index == 0 && k < share.n_rows * n_cols; k++)
            assert_true(rank->whole[k] == number_of(0, (uint32_t)i, k));
    }
}

static void columns_come_together_at_rank_0(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= RANKS_MAX; size++) {
        for (int is_copied = 0; is_copied <= 1; is_copied++) {
            struct rank ranks[RANKS_MAX];
            run_ranks(ranks, size, is_copied, gather_all);
            for (uint32_t r = 0; r < size; r++)
                assert_int_equal(ranks[r].checked, STATUS_OK);
            free_ranks(ranks, size);
        }
    }
}

static void shares_are_whole_units_and_cover_everything(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= COMMUNICATOR_RANKS_MAX; size++) {
        for (uint32_t total = 0; total < 200; total += 7) {
            uint32_t last = 0, least = UINT32_MAX, most = 0;
            assert_int_equal(rank_share_first(total, 4, 0, size), 0);
            for (uint32_t r = 0; r < size; r++) {
                uint32_t end = rank_share_first(total, 4, r + 1, size);
                assert_true(end >= last && (end % 4 == 0 || end == total));
                uint32_t units = (end - last + 3) / 4;
                least = units < least ? units : least;
                most = units > most ? units : most;
                last = end;
            }
            assert_int_equal(last, total);
            assert_true(most - least <= 1);
        }
    }
    assert_int_equal(rank_share_first(UINT32_MAX, 32, 64, 64), UINT32_MAX);
}

/* --- failures --- */

/* The last rank never comes; it says that it has failed. */
static void wait_for_nobody(struct rank *rank, communicator *c)
{
    if (rank->index + 1 == rank->size) {
        communicator_group_fail(rank->group, STATUS_IO);
        communicator_group_fail(rank->group, STATUS_TIMEOUT); /* the first reason stays */
        return;
    }
    communicator_all_reduce_sum(c, rank->numbers, 100);
    communicator_gather_columns(c, &(struct column_share){rank->numbers, rank->whole, 1, 8, 4});
    assert_int_equal(communicator_barrier(c), STATUS_IO);
}

static void a_failure_ends_every_wait(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= RANKS_MAX; size++) {
        for (int is_copied = 0; is_copied <= 1; is_copied++) {
            struct rank ranks[RANKS_MAX];
            run_ranks(ranks, size, is_copied, wait_for_nobody);
            for (uint32_t r = 0; r < size; r++) /* who was slow to join may learn it there */
                assert_true(ranks[r].opened == STATUS_CLOSED || ranks[r].checked == STATUS_IO);
            free_ranks(ranks, size);
        }
    }
}

static status broken_synchronize(backend *b)
{
    (void)b;
    return STATUS_INTERNAL;
}

/* The device of rank 1 fails behind its third sum. */
static void break_a_device(struct rank *rank, communicator *c)
{
    struct backend_operations broken = *c->b->operations;
    const struct backend_operations *whole = c->b->operations;
    broken.synchronize = broken_synchronize;
    for (uint32_t i = 0; i < 6; i++) {
        if (rank->index == 1 && i == 3)
            c->b->operations = &broken;
        communicator_all_reduce_sum(c, rank->numbers, 100);
    }
    c->b->operations = whole;
}

static void a_failed_device_fails_the_group(void **state)
{
    (void)state;
    struct rank ranks[3];
    run_ranks(ranks, 3, true, break_a_device);
    for (uint32_t r = 0; r < 3; r++)
        assert_int_equal(ranks[r].checked, STATUS_INTERNAL);
    free_ranks(ranks, 3);
}

static void never(struct rank *rank, communicator *c)
{
    (void)rank, (void)c;
    fail();
}

/* A rank that could not even open its backend. */
static void who_waits_for_a_rank_to_join_is_told(void **state)
{
    (void)state;
    communicator_group *group;
    assert_int_equal(communicator_group_create(2, &group), STATUS_OK);
    struct rank rank = {.group = group, .size = 2, .work = never};
    assert_int_equal(thread_start(&rank.thread, "rank", rank_run, &rank), STATUS_OK);
    communicator_group_fail(group, STATUS_NO_MEMORY);
    assert_int_equal(pthread_join(rank.thread, NULL), 0);
    assert_int_equal(rank.opened, STATUS_CLOSED);
    assert_int_equal(communicator_group_status(group), STATUS_NO_MEMORY);
    free_ranks(&rank, 1);
    communicator_group_destroy(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_same_to_the_bit_everywhere),
        cmocka_unit_test(columns_come_together_at_rank_0),
        cmocka_unit_test(shares_are_whole_units_and_cover_everything),
        cmocka_unit_test(a_failure_ends_every_wait),
        cmocka_unit_test(a_failed_device_fails_the_group),
        cmocka_unit_test(who_waits_for_a_rank_to_join_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
