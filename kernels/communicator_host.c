/* The host's communicator: ranks are threads of this process.
 *
 * A sum is shared out: each rank has the same part of everybody's buffer to itself, adds the numbers there in the order of
 * ranks, and writes the sum back to everybody. So each number is read and written by one thread only, the order is fixed,
 * and two meetings are enough: one when all buffers hold what they bring, one when all sums are there. Between the second
 * and whatever comes next a rank may write its buffer again.
 *
 * Where the device's memory is not the host's, each rank brings a copy on the host. */

#include <string.h>

#include "backend.h"
#include "check.h"
#include "communicator_group.h"
#include "memory.h"

/* Numbers that one task of the team sums: of 2 ranks 32 KiB, about 3 us. */
#define CHUNK_FLOATS 4096u
#define LINE_FLOATS  (CACHE_LINE_BYTES / sizeof(float))
/* Summed before they are written: they stay in L1. */
#define BLOCK_FLOATS 512u

struct host_communicator {
    communicator base;
    /* Owned; [floats_max]. NULL: the device's memory is the host's. `whole` is rank 0's, for the columns of all. */
    float *copy, *whole;
};

static struct host_communicator *host_of(communicator *c)
{
    return (struct host_communicator *)c;
}

/* --- sums --- */

struct sum_job {
    float *const *buffers;
    uint32_t size;
    uint64_t first, end;
};

static void sum_block(const struct sum_job *job, uint64_t first, uint32_t count)
{
    float sum[BLOCK_FLOATS];
    memcpy(sum, job->buffers[0] + first, count * sizeof *sum);
    for (uint32_t r = 1; r < job->size; r++) {
        const float *other = job->buffers[r] + first;
        for (uint32_t i = 0; i < count; i++)
            sum[i] += other[i];
    }
    for (uint32_t r = 0; r < job->size; r++)
        memcpy(job->buffers[r] + first, sum, count * sizeof *sum);
}

static void sum_chunk(void *context, uint32_t index)
{
    const struct sum_job *job = context;
    uint64_t first = job->first + (uint64_t)index * CHUNK_FLOATS, end = first + CHUNK_FLOATS;
    end = end < job->end ? end : job->end;
    for (; first < end; first += BLOCK_FLOATS)
        sum_block(job, first, (uint32_t)(end - first < BLOCK_FLOATS ? end - first : BLOCK_FLOATS));
}

/* This rank's part, in whole cache lines. */
static void sum_part(communicator *c, uint64_t count)
{
    uint64_t lines = (count + LINE_FLOATS - 1) / LINE_FLOATS;
    struct sum_job job = {c->group->buffers, c->size, lines * c->rank / c->size * LINE_FLOATS,
                          lines * (c->rank + 1) / c->size * LINE_FLOATS};
    job.end = job.end < count ? job.end : count;
    if (job.first >= job.end)
        return;
    uint64_t chunks = (job.end - job.first + CHUNK_FLOATS - 1) / CHUNK_FLOATS;
    CHECK(chunks <= INT32_MAX);
    if (chunks == 1)
        sum_chunk(&job, 0);
    else
        c->b->operations->parallel_for(c->b, (uint32_t)chunks, sum_chunk, &job);
}

/* `device` or a copy of it, complete; NULL: the device has failed. */
static float *bring(communicator *c, const float *device, uint64_t count)
{
    float *copy = host_of(c)->copy;
    if (copy != NULL)
        c->b->operations->download(c->b, copy, device, count * sizeof *copy);
    status s = c->b->operations->synchronize(c->b);
    if (s == STATUS_OK)
        return copy != NULL ? copy : (float *)(uintptr_t)device;
    communicator_group_fail(c->group, s);
    return NULL;
}

static void host_all_reduce_sum(communicator *c, float *x, uint64_t count)
{
    float *mine = bring(c, x, count);
    if (mine == NULL)
        return;
    c->group->buffers[c->rank] = mine;
    if (communicator_group_meet(c->group) != STATUS_OK)
        return;
    sum_part(c, count);
    if (communicator_group_meet(c->group) == STATUS_OK && mine != x)
        c->b->operations->upload(c->b, x, mine, count * sizeof *x);
}

/* --- columns --- */

struct gather_job {
    const float *part;
    float *whole;
    uint32_t first, width, n_cols;
};

static void gather_row(void *context, uint32_t row)
{
    const struct gather_job *job = context;
    memcpy(job->whole + (size_t)row * job->n_cols + job->first,
           job->part + (size_t)row * job->width, job->width * sizeof(float));
}

static void host_gather_columns(communicator *c, const struct column_share *share)
{
    struct gather_job job = {.n_cols = share->n_cols};
    job.first = rank_share_first(share->n_cols, share->unit, c->rank, c->size);
    job.width = rank_share_first(share->n_cols, share->unit, c->rank + 1, c->size) - job.first;
    uint64_t count = (uint64_t)share->n_rows * share->n_cols;
    bool is_root = c->rank == 0, is_copied = host_of(c)->copy != NULL;
    job.part = bring(c, share->part, (uint64_t)share->n_rows * job.width);
    if (job.part == NULL)
        return;
    if (is_root)
        c->group->buffers[0] = is_copied ? host_of(c)->whole : share->whole;
    if (communicator_group_meet(c->group) != STATUS_OK)
        return;
    job.whole = c->group->buffers[0];
    if (share->n_rows == 1)
        gather_row(&job, 0);
    else
        c->b->operations->parallel_for(c->b, share->n_rows, gather_row, &job);
    if (communicator_group_meet(c->group) == STATUS_OK && is_root && is_copied)
        c->b->operations->upload(c->b, share->whole, job.whole, count * sizeof(float));
}

/* --- life --- */

static void host_destroy(communicator *c)
{
    memory_release(host_of(c)->copy);
    memory_release(host_of(c)->whole);
    memory_release(c);
}

static const struct communicator_operations host_operations = {
    .name = "host",
    .all_reduce_sum = host_all_reduce_sum,
    .gather_columns = host_gather_columns,
    .destroy = host_destroy,
};

status host_communicator_create(backend *b, uint32_t rank, uint64_t floats_max, communicator **out)
{
    struct host_communicator *host = memory_allocate_array(1, sizeof *host);
    if (host == NULL)
        return STATUS_NO_MEMORY;
    host->base.operations = &host_operations;
    bool is_copied = !b->operations->memory_is_host, is_whole = true;
    if (is_copied) {
        host->copy = memory_allocate_array(floats_max, sizeof(float));
        host->whole = rank == 0 ? memory_allocate_array(floats_max, sizeof(float)) : NULL;
        is_whole = host->copy != NULL && (rank != 0 || host->whole != NULL);
    }
    if (!is_whole) {
        host_destroy(&host->base);
        return STATUS_NO_MEMORY;
    }
    *out = &host->base;
    return STATUS_OK;
}
