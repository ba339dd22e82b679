/* Attention of a step, cut into tiles.
 *
 * A tile is up to TILE_QUERIES query vectors of one sequence and KV head: the heads of the group
 * for one row in a decode, for several rows in a prefill. They share each load of a key or value.
 * Tiles of a sequence are numbered query run by query run, KV heads innermost, so that a member's
 * contiguous range stays within few sequences.
 *
 * Along the positions a tile is a row of chunks (kernel_table.h) whose partial results are merged
 * in order. Normally one member does them one after the other. When tiles are too few or too
 * unequal to keep the team busy (a long sequence, alone or beside short ones), each chunk is a piece of its own; the member that finishes the
 * last chunk of a tile merges them, in the same order, so the result is the same to the bit. */

#include <string.h>

#include "check.h"
#include "cpu_backend.h"

/* Pieces of the largest tile's size that there have to be for each member. */
#define TILES_PER_MEMBER 4u

struct attention_job {
    struct cpu_backend *cpu;
    const float *qkv;
    const struct attention_shape *shape;
    const struct step_batch *batch;
    const kv_store *kv;
    uint32_t layer;
    const struct kv_kernels *kernels; /* for the cache's type */
    activation *out;
    uint32_t group;        /* query heads of a KV head */
    uint32_t tile_queries; /* queries of a full tile */
    uint32_t n_tiles;
};

/* A tile, and where its results go. */
struct placed_tile {
    struct attention_tile tile;
    uint32_t first_query; /* in the sequence's queries of this KV head: row * group + head */
    uint32_t row_start;
    uint32_t first_chunk, end_chunk;
};

static uint32_t sequence_queries(const struct attention_job *job, uint32_t sequence)
{
    return (job->batch->row_start[sequence + 1] - job->batch->row_start[sequence]) * job->group;
}

static void count_tiles(struct attention_job *job)
{
    uint32_t *start = job->cpu->tile_start;
    uint32_t total = 0;
    for (uint32_t s = 0; s < job->batch->n_sequences; s++) {
        start[s] = total;
        uint32_t runs = (sequence_queries(job, s) + job->tile_queries - 1) / job->tile_queries;
        total += runs * job->shape->n_kv_heads;
    }
    start[job->batch->n_sequences] = total;
    job->n_tiles = total;
}

/* The sequence that tile `index` belongs to: the last whose first tile is not after it. */
static uint32_t find_sequence(const struct attention_job *job, uint32_t index)
{
    const uint32_t *start = job->cpu->tile_start;
    uint32_t low = 0, high = job->batch->n_sequences;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (start[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void place_query(const struct attention_job *job, struct placed_tile *placed, uint32_t q)
{
    const struct attention_shape *shape = job->shape;
    uint32_t query = placed->first_query + q;
    uint32_t row = placed->row_start + query / job->group;
    uint32_t head = placed->tile.kv_head * job->group + query % job->group;
    size_t stride = (size_t)(shape->n_heads + 2 * shape->n_kv_heads) * shape->d_head;
    uint32_t end = job->batch->row_position[row] + 1;
    placed->tile.queries[q] = job->qkv + row * stride + head * shape->d_head;
    placed->tile.end[q] = end;
    placed->tile.first[q] = shape->window != 0 && end > shape->window ? end - shape->window : 0;
}

static void place_tile(const struct attention_job *job, uint32_t index, struct placed_tile *placed)
{
    uint32_t sequence = find_sequence(job, index);
    uint32_t in_sequence = index - job->cpu->tile_start[sequence];
    uint32_t run = in_sequence / job->shape->n_kv_heads;
    struct attention_tile *tile = &placed->tile;
    tile->codes = NULL;
    placed->row_start = job->batch->row_start[sequence];
    placed->first_query = run * job->tile_queries;
    uint32_t left = sequence_queries(job, sequence) - placed->first_query;
    tile->n_queries = left < job->tile_queries ? left : job->tile_queries;
    tile->d_head = job->shape->d_head;
    tile->scale = job->shape->scale;
    tile->soft_cap = job->shape->soft_cap;
    tile->blocks = job->batch->block_tables + (size_t)sequence * job->batch->block_table_stride;
    tile->kv = job->kv;
    tile->layer = job->layer;
    tile->kv_head = in_sequence % job->shape->n_kv_heads;
    uint32_t first = UINT32_MAX, end = 0;
    for (uint32_t q = 0; q < tile->n_queries; q++) {
        place_query(job, placed, q);
        first = tile->first[q] < first ? tile->first[q] : first;
        end = tile->end[q] > end ? tile->end[q] : end;
    }
    placed->first_chunk = first / CHUNK_TOKENS;
    placed->end_chunk = (end + CHUNK_TOKENS - 1) / CHUNK_TOKENS;
}

/* The tile's queries in the form that the cache's type wants. */
static void prepare_queries(const struct attention_job *job, struct attention_tile *tile,
                            struct member_scratch *scratch)
{
    if (job->kernels->quantise_query == NULL)
        return;
    for (uint32_t q = 0; q < tile->n_queries; q++)
        job->kernels->quantise_query(tile->queries[q], tile->d_head, &scratch->queries[q]);
    tile->codes = scratch->queries;
}

/* Divides the sums and stores the heads as columns of the output rows' floats. */
static void finish_tile(const struct attention_job *job, const struct placed_tile *placed,
                        float *totals)
{
    uint32_t d = job->shape->d_head;
    for (uint32_t q = 0; q < placed->tile.n_queries; q++) {
        float *total = totals + q * PARTIAL_FLOATS(d);
        uint32_t query = placed->first_query + q;
        uint32_t head = placed->tile.kv_head * job->group + query % job->group;
        if (job->shape->sinks != NULL)
            job->cpu->kernels->attention_sink(job->shape->sinks[head], d, total);
        job->cpu->kernels->attention_finish(total, d);
        uint32_t row = placed->row_start + query / job->group;
        memcpy(job->out->floats + row * job->out->float_stride + head * d, total + 2,
               d * sizeof(float));
    }
}

static void merge_chunk(const struct attention_job *job, const struct placed_tile *placed,
                        const float *partials, float *totals)
{
    size_t stride = PARTIAL_FLOATS(job->shape->d_head);
    for (uint32_t q = 0; q < placed->tile.n_queries; q++)
        job->cpu->kernels->attention_merge(partials + q * stride, job->shape->d_head,
                                           totals + q * stride);
}

static void whole_tiles(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct attention_job *job = context;
    struct member_scratch *scratch = &job->cpu->scratch[member];
    for (uint32_t index = first; index < first + count; index++) {
        struct placed_tile placed;
        place_tile(job, index, &placed);
        prepare_queries(job, &placed.tile, scratch);
        job->kernels->attention_chunk(&placed.tile, placed.first_chunk, scratch->scores,
                                      scratch->totals);
        for (uint32_t chunk = placed.first_chunk + 1; chunk < placed.end_chunk; chunk++) {
            job->kernels->attention_chunk(&placed.tile, chunk, scratch->scores, scratch->partials);
            merge_chunk(job, &placed, scratch->partials, scratch->totals);
        }
        finish_tile(job, &placed, scratch->totals);
    }
}

/* Partials of chunk number `item` of all tiles. Every tile is given room for a full one. */
static float *split_partials(const struct attention_job *job, uint32_t item)
{
    size_t floats = job->tile_queries * PARTIAL_FLOATS(job->shape->d_head);
    return job->cpu->split_partials + item * floats;
}

static void split_chunks(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct attention_job *job = context;
    struct cpu_backend *cpu = job->cpu;
    for (uint32_t item = first; item < first + count; item++) {
        uint32_t index = 0;
        while (cpu->split_start[index + 1] <= item)
            index++;
        struct placed_tile placed;
        place_tile(job, index, &placed);
        prepare_queries(job, &placed.tile, &cpu->scratch[member]);
        uint32_t base = cpu->split_start[index];
        job->kernels->attention_chunk(&placed.tile, placed.first_chunk + item - base,
                                      cpu->scratch[member].scores, split_partials(job, item));
        /* Release: this chunk's partials; acquire: the other chunks', for the one who comes last.
         */
        if (atomic_fetch_sub_explicit(&cpu->split_left[index], 1, memory_order_acq_rel) != 1)
            continue;
        for (uint32_t other = base + 1; other < cpu->split_start[index + 1]; other++)
            merge_chunk(job, &placed, split_partials(job, other), split_partials(job, base));
        finish_tile(job, &placed, split_partials(job, base));
    }
}

/* Is one tile so large a share of the work that members would wait for it? */
static bool is_uneven(const struct attention_job *job)
{
    const struct step_batch *batch = job->batch;
    uint64_t total = 0, largest = 0;
    for (uint32_t s = 0; s < batch->n_sequences; s++) {
        uint32_t rows = batch->row_start[s + 1] - batch->row_start[s];
        uint32_t positions = rows > 0 ? batch->row_position[batch->row_start[s + 1] - 1] + 1 : 0;
        if (job->shape->window != 0 && positions > job->shape->window + rows)
            positions = job->shape->window + rows;
        uint64_t chunks = (positions + CHUNK_TOKENS - 1) / CHUNK_TOKENS;
        total += chunks * (job->cpu->tile_start[s + 1] - job->cpu->tile_start[s]);
        largest = chunks > largest ? chunks : largest;
    }
    return largest * TILES_PER_MEMBER * team_size(job->cpu->team) > total;
}

/* Lays out the chunks of all tiles as items. 0: not worth it, or no room. */
static uint32_t plan_split(struct attention_job *job)
{
    struct cpu_backend *cpu = job->cpu;
    if (team_size(cpu->team) == 1 || job->n_tiles > SPLIT_TILES_MAX || !is_uneven(job))
        return 0;
    uint32_t items = 0;
    for (uint32_t index = 0; index < job->n_tiles; index++) {
        struct placed_tile placed;
        place_tile(job, index, &placed);
        cpu->split_start[index] = items;
        uint32_t chunks = placed.end_chunk - placed.first_chunk;
        atomic_store_explicit(&cpu->split_left[index], chunks, memory_order_relaxed);
        items += chunks;
    }
    cpu->split_start[job->n_tiles] = items;
    size_t floats = items * job->tile_queries * PARTIAL_FLOATS(job->shape->d_head);
    return items > job->n_tiles && floats <= SPLIT_FLOATS ? items : 0;
}

void cpu_attention(backend *b, const float *qkv, const struct attention_shape *shape,
                   const struct step_batch *batch, const kv_store *kv, uint32_t layer,
                   activation *out)
{
    struct cpu_backend *cpu = cpu_of(b);
    CHECK(shape->d_head == kv->shape.d_head && shape->n_kv_heads == kv->shape.n_kv_heads);
    CHECK(shape->n_heads % shape->n_kv_heads == 0 && layer < kv->shape.n_layers);
    CHECK(out->n_cols == shape->n_heads * shape->d_head && batch->n_rows <= out->rows_max);
    CHECK(batch->n_sequences <= cpu->rows_max);
    struct attention_job job = {.cpu = cpu,
                                .qkv = qkv,
                                .shape = shape,
                                .batch = batch,
                                .kv = kv,
                                .layer = layer,
                                .kernels = &cpu->kernels->kv[kv->shape.type],
                                .out = out,
                                .group = shape->n_heads / shape->n_kv_heads};
    job.tile_queries =
        job.group <= TILE_QUERIES ? TILE_QUERIES / job.group * job.group : TILE_QUERIES;
    count_tiles(&job);
    uint32_t items = plan_split(&job);
    if (items > 0)
        team_run(cpu->team, items, 1, split_chunks, &job);
    else
        team_run(cpu->team, job.n_tiles, 1, whole_tiles, &job);
    cpu_quantise(cpu, out, batch->n_rows);
}
