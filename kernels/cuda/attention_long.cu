/* Attention of sequences with many rows in a step: prompts, and whole texts of encoders.
 *
 * A block of four warps takes a tile of packed rows of one head of keys (128 rows, of which a warp has 32; 64 for heads so
 * large that 32 rows of outputs would not fit its registers), and walks over the keys it sees in tiles, whose copies run two
 * ahead of the products: Dao 2023, "FlashAttention-2", over pages. Pages are looked up 128 at a time into shared memory, so
 * that a copy's address waits for nothing in memory.
 *
 *   rows      32 rows a warp, not 16, since each fragment of keys and values that ldmatrix brings then serves two products: of
 *             d_head 128 a tile of 32 keys moves 8 + 8 KiB of keys and values and 8 KiB of queries through 128 bytes a cycle
 *             of shared memory, 192 cycles for 262144 multiply-adds of a warp, which take 256 at the 1024 a cycle that
 *             mma.sync of f16 gives a multiprocessor of sm_90.
 *   memory    d_head 128 of f16: 34 KiB of queries and three tiles of 17 KiB, 87 in all: two blocks fit a multiprocessor, one of
 *             which multiplies while the other waits at its barrier, and one fits those of 100 KiB (sm_86, sm_89, sm_120).
 *             Two tiles are on their way while a third is multiplied, 1000 cycles of it with two blocks.
 *   order     the last rows of a prompt see the most keys: they come first, so that the tail of the grid is short.
 *
 * A row's keys come in tiles that begin at multiples of the tile's size, whatever rows the block has besides: where a prompt is
 * cut into steps changes nothing in any row's sums. */

#include "attention_private.h"
#include "attention_tile.h"
#include "attention_work.h"

#define LONG_WARPS   4u
#define LONG_THREADS (LONG_WARPS * 32)
#define NUMBERS      128u /* page numbers looked up at once */
#define STORE_WARPS  8u

template <uint32_t D, kv_type T> struct long_layout {
    using head = head_layout<D, T>;
    static constexpr uint32_t blocks_of_rows = D <= 128 ? 2 : 1; /* of 16, a warp */
    static constexpr uint32_t warp_rows = 16 * blocks_of_rows;
    static constexpr uint32_t tile_rows = LONG_WARPS * warp_rows;
    static constexpr uint32_t tile_keys = D <= 64 ? 64 : D <= 128 ? 32 : 16;
    /* Keys whose scores a warp has at once: as many as its registers take. */
    static constexpr uint32_t step_keys = T == KV_INT8 && D > 96 && D <= 128 ? 16 : tile_keys;
    static constexpr uint32_t stages = 3;
    static constexpr uint32_t queries = tile_rows * head::query_stride;
    static constexpr uint32_t vectors = tile_keys * head::stride;
    static constexpr uint32_t scales = T == KV_INT8 ? tile_keys * 4 : 0;
    static constexpr uint32_t stage = 2 * (vectors + scales);
    static constexpr uint32_t output_stride = D + 8; /* floats: few lanes in one bank */
    static constexpr uint32_t outputs = LONG_WARPS * 16 * output_stride * 4;
    static constexpr uint32_t tiles = queries + stages * stage;
    static constexpr uint32_t numbers = tiles > outputs ? tiles : outputs;
    static constexpr uint32_t bytes = numbers + NUMBERS * 4;
    static constexpr uint32_t blocks = bytes > 110 * 1024 ? 1 : 2;
};

/* Sequences and where their keys are. */
struct long_source {
    float *qkv;
    kv_layer kv;
    uint32_t n_heads;
    const float *sinks;
    const uint32_t *row_start;
    const uint32_t
        *row_position; /* NULL: each row sees all of its sequence, whose rows are all there */
    const uint32_t *block_tables; /* NULL: pages as attention_full lays them out */
    uint32_t block_table_stride;
    const uint32_t *counts; /* NULL: n_sequences */
    uint32_t n_sequences, rows_min;
    activation_view out;
};

struct long_extent {
    uint32_t first_row, rows, packed; /* packed rows */
    uint32_t tiles;
};

template <uint32_t TILE_ROWS> K_DEVICE long_extent long_extent_of(const long_source &a, uint32_t s)
{
    uint32_t first = a.row_start[s], rows = a.row_start[s + 1] - first;
    uint32_t packed = rows * (a.n_heads / a.kv.n_kv_heads);
    return {first, rows, packed, rows < a.rows_min ? 0 : (packed + TILE_ROWS - 1) / TILE_ROWS};
}

/* Of packed row `packed`, or of the last one. */
K_DEVICE uint32_t packed_position(const long_source &a, const long_extent &e, uint32_t packed)
{
    if (a.row_position == nullptr)
        return e.rows - 1;
    uint32_t row = packed / (a.n_heads / a.kv.n_kv_heads);
    return a.row_position[e.first_row + (row < e.rows ? row : e.rows - 1)];
}

/* The first page of a sequence that has no table: sequences begin at multiples of 16 rows, and no more than 15 rows behind
 * each are nobody's. */
K_DEVICE uint32_t page_base(const uint32_t *row_start, uint32_t s)
{
    return (row_start[s] + (KV_BLOCK_TOKENS - 1) * s) / KV_BLOCK_TOKENS;
}

/* What a block does. */
struct long_item {
    long_extent extent;
    uint32_t sequence, kv_head, first_packed;
    uint32_t begin, end; /* positions that any of its rows sees */
};

template <uint32_t TILE_ROWS>
K_DEVICE long_item long_item_of(const long_source &a, uint32_t sequence, uint32_t index,
                                uint32_t window)
{
    long_item item;
    item.extent = long_extent_of<TILE_ROWS>(a, sequence);
    item.sequence = sequence;
    item.kv_head = index % a.kv.n_kv_heads;
    item.first_packed = (item.extent.tiles - 1 - index / a.kv.n_kv_heads) * TILE_ROWS;
    item.begin = first_visible(packed_position(a, item.extent, item.first_packed), window);
    item.end = packed_position(a, item.extent, item.first_packed + TILE_ROWS - 1) + 1;
    if (a.row_position == nullptr)
        item.begin = 0;
    return item;
}

/* Numbers of the NUMBERS pages that position `first`'s is one of. */
K_DEVICE void numbers_load(const long_source &a, const long_item &item, uint32_t first,
                           k_sptr<uint32_t> numbers)
{
    uint32_t page = first / KV_BLOCK_TOKENS / NUMBERS * NUMBERS + k_thread();
    if (k_thread() >= NUMBERS)
        return;
    bool is_seen = page >= item.begin / KV_BLOCK_TOKENS && page * KV_BLOCK_TOKENS < item.end;
    uint32_t number = 0;
    if (is_seen)
        number = a.block_tables != nullptr
                     ? a.block_tables[(uint64_t)item.sequence * a.block_table_stride + page]
                     : page_base(a.row_start, item.sequence) + page;
    numbers[k_thread()] = number;
}

/* Copies the keys and values of a tile; what no row of the item sees is zeros. */
template <uint32_t D, kv_type T>
K_DEVICE void tile_fetch(const long_source &a, const long_item &item, k_sptr<uint32_t> numbers,
                         uint32_t first, k_sptr<uint8_t> stage)
{
    using layout = long_layout<D, T>;
    using head = head_layout<D, T>;
    const uint8_t *keys = static_cast<const uint8_t *>(a.kv.keys);
    const uint8_t *values = static_cast<const uint8_t *>(a.kv.values);
    for (uint32_t i = k_thread(); i < layout::tile_keys * head::units; i += LONG_THREADS) {
        uint32_t token = i / head::units, at = i % head::units * 16, position = first + token;
        uint32_t page = numbers[position / KV_BLOCK_TOKENS % NUMBERS];
        uint64_t vector = ((uint64_t)page * a.kv.n_kv_heads + item.kv_head) * KV_BLOCK_TOKENS +
                          position % KV_BLOCK_TOKENS;
        bool is_seen = position >= item.begin && position < item.end;
        k_sptr<uint8_t> to = stage + token * head::stride + at;
        k_copy_async16_if(to, keys + vector * head::bytes + at, is_seen);
        k_copy_async16_if(to + layout::vectors, values + vector * head::bytes + at, is_seen);
    }
    if (T == KV_INT8 && k_thread() < layout::tile_keys / 2) {
        uint32_t quads = layout::tile_keys / 4, quad = k_thread() % quads;
        uint32_t position = first + 4 * quad;
        uint32_t page = numbers[position / KV_BLOCK_TOKENS % NUMBERS];
        uint64_t vector = ((uint64_t)page * a.kv.n_kv_heads + item.kv_head) * KV_BLOCK_TOKENS +
                          position % KV_BLOCK_TOKENS;
        const float *from = (k_thread() < quads ? a.kv.key_scales : a.kv.value_scales) + vector;
        k_copy_async16_if(stage + 2 * layout::vectors + k_thread() * 16, from,
                          position + 3 >= item.begin && position < item.end);
    }
}

/* A warp's rows and the positions between which they are. */
template <uint32_t M> struct warp_rows {
    uint32_t position[M][2];
    uint32_t lowest, highest;
    bool is_idle;
};

template <uint32_t M>
K_DEVICE warp_rows<M> warp_rows_of(const long_source &a, const long_item &item, uint32_t first)
{
    warp_rows<M> r;
    K_UNROLL
    for (uint32_t i = 0; i < 2 * M; i++)
        r.position[i / 2][i % 2] = packed_position(a, item.extent, first + 8 * i + k_lane() / 4);
    r.lowest = packed_position(a, item.extent, first);
    r.highest = packed_position(a, item.extent, first + 16 * M - 1);
    r.is_idle = first >= item.extent.packed;
    return r;
}

/* The keys of one stage into a warp's sums, `step_keys` at a time. */
template <uint32_t D, kv_type T, uint32_t M>
K_DEVICE void stage_attend(const warp_rows<M> &rows, const score_rule &rule, uint32_t first,
                           k_sptr<uint8_t> queries, k_sptr<uint8_t> stage, row_sums<D, M> &sums)
{
    using layout = long_layout<D, T>;
    k_sptr<float> scales = k_sptr_cast<float>(stage + 2 * layout::vectors);
    for (uint32_t k = 0; k < layout::tile_keys; k += layout::step_keys) {
        uint32_t from = first + k, to = from + layout::step_keys - 1;
        if (rows.is_idle || from > rows.highest || to < first_visible(rows.lowest, rule.window))
            continue;
        bool is_cut = to > rows.lowest || from < first_visible(rows.highest, rule.window);
        k_sptr<uint8_t> keys = stage + k * head_layout<D, T>::stride;
        tile_attend<D, T, layout::step_keys, M>(sums, queries, keys, keys + layout::vectors,
                                                scales + k, scales + (layout::tile_keys + k), rule,
                                                from, rows.position, is_cut);
    }
}

/* The sums become outputs: divided by what the shares sum to, a sink's included. */
template <uint32_t D, kv_type T, uint32_t M>
K_DEVICE void sums_finish(const long_source &a, const long_item &item, uint32_t first,
                          row_sums<D, M> &sums)
{
    uint32_t group = a.n_heads / a.kv.n_kv_heads;
    rows_close(sums);
    K_UNROLL
    for (uint32_t i = 0; i < 2 * M; i++) {
        uint32_t m = i / 2, h = i % 2, packed = first + 8 * i + k_lane() / 4;
        float highest = sums.highest[m][h], own = 1.0f, total = sums.sum[m][h];
        if (a.sinks != nullptr) {
            float sink = a.sinks[item.kv_head * group + packed % group] * LOG2_E;
            float top = fmaxf(highest, sink);
            own = k_exp2(highest - top);
            total = total * own + k_exp2(sink - top);
        }
        float factor = head_layout<D, T>::output_unit * own / total;
        K_UNROLL
        for (uint32_t j = 0; j < D / 8; j++) {
            sums.o[m][j][2 * h] *= factor;
            sums.o[m][j][2 * h + 1] *= factor;
        }
    }
}

/* Sixteen rows of a warp's outputs, from its part of shared memory to where they are read. Where a head is not whole groups of
 * an activation, which other heads' blocks share, they go to their queries' place, and attention_collect stores them. */
template <uint32_t D, kv_type T>
K_DEVICE void outputs_store(const long_source &a, const long_item &item, uint32_t first,
                            k_sptr<float> outputs)
{
    constexpr uint32_t stride = long_layout<D, T>::output_stride;
    uint32_t group = a.n_heads / a.kv.n_kv_heads;
    for (uint32_t r = 0; r < 16 && first + r < item.extent.packed; r++) {
        uint32_t row = item.extent.first_row + (first + r) / group;
        uint32_t head = item.kv_head * group + (first + r) % group;
        float *query = a.qkv + (uint64_t)row * (a.n_heads + 2 * a.kv.n_kv_heads) * D + head * D;
        for (uint32_t c = 0; c < D; c += 32) {
            uint32_t column = c + k_lane();
            float value = 0.0f;
            if (column < D)
                value = outputs[r * stride + column];
            if (D % 32 == 0)
                activation_store_group(a.out, row, (head * D + c) / 32, k_lane(), value);
            else if (column < D)
                query[column] = value;
        }
    }
}

template <uint32_t D, kv_type T, uint32_t M>
K_DEVICE void sums_store(const long_source &a, const long_item &item, uint32_t first,
                         k_sptr<float> outputs, const row_sums<D, M> &sums)
{
    K_UNROLL
    for (uint32_t m = 0; m < M; m++) {
        K_UNROLL
        for (uint32_t j = 0; j < D / 8; j++)
            K_UNROLL
        for (uint32_t c = 0; c < 4; c++)
            outputs[(k_lane() / 4 + c / 2 * 8) * long_layout<D, T>::output_stride +
                    output_column<T>(j, c)] = sums.o[m][j][c];
        k_sync_warp();
        outputs_store<D, T>(a, item, first + 16 * m, outputs);
        k_sync_warp();
    }
}

/* Asks for the tile that begins at `first`; beyond the item's end there is none. */
template <uint32_t D, kv_type T>
K_DEVICE void tile_request(const long_source &a, const long_item &item, k_sptr<uint8_t> shared,
                           uint32_t first, bool is_first, uint32_t slot)
{
    using layout = long_layout<D, T>;
    k_sptr<uint32_t> numbers = k_sptr_cast<uint32_t>(shared + layout::numbers);
    if (first < item.end) {
        if (is_first || first % (NUMBERS * KV_BLOCK_TOKENS) == 0) {
            k_sync(); /* the numbers of before are not needed any more */
            numbers_load(a, item, first, numbers);
            k_sync();
        }
        tile_fetch<D, T>(a, item, numbers, first, shared + layout::queries + slot * layout::stage);
    }
    k_copy_commit();
}

/* Over all tiles of keys: the copies of the next two run while one is multiplied. */
template <uint32_t D, kv_type T, uint32_t M>
K_DEVICE void tiles_attend(const long_source &a, const score_rule &rule, const long_item &item,
                           const warp_rows<M> &rows, k_sptr<uint8_t> shared, row_sums<D, M> &sums)
{
    using layout = long_layout<D, T>;
    constexpr uint32_t keys = layout::tile_keys;
    k_sptr<uint8_t> queries =
        shared + k_warp() * layout::warp_rows * head_layout<D, T>::query_stride;
    uint32_t first = item.begin / keys * keys;
    tile_request<D, T>(a, item, shared, first, true, 0);
    tile_request<D, T>(a, item, shared, first + keys, false, 1);
    for (uint32_t slot = 0; first < item.end; first += keys) {
        k_copy_wait<1>();
        k_sync(); /* this tile is there for all, and the one before has been read */
        tile_request<D, T>(a, item, shared, first + 2 * keys, false, slot == 0 ? 2 : slot - 1);
        stage_attend<D, T, M>(rows, rule, first, queries,
                              shared + layout::queries + slot * layout::stage, sums);
        slot = slot == 2 ? 0 : slot + 1;
    }
    k_copy_wait<0>();
    k_sync(); /* shared memory is free */
}

template <uint32_t D, kv_type T>
K_KERNEL_BOUNDS(LONG_THREADS, (long_layout<D, T>::blocks))
void attention_long(long_source a, score_rule rule)
{
    using layout = long_layout<D, T>;
    constexpr uint32_t M = layout::blocks_of_rows;
    k_sptr<uint8_t> shared = k_dynamic_shared<uint8_t>();
    k_sptr<uint32_t> starts = k_sptr_cast<uint32_t>(shared + layout::bytes);
    uint32_t n_sequences = a.counts != nullptr ? a.counts[1] : a.n_sequences;
    work_starts(starts, n_sequences, [&](uint32_t s) {
        return long_extent_of<layout::tile_rows>(a, s).tiles * a.kv.n_kv_heads;
    });
    k_wait_previous();
    k_release_next();
    uint32_t index = k_block_x(), count = starts[n_sequences];
    if (index >= count)
        return;
    uint32_t sequence = work_sequence(starts, n_sequences, index), start = starts[sequence];
    long_item item = long_item_of<layout::tile_rows>(a, sequence, index - start, rule.window);
    const long_extent &e = item.extent;
    uint32_t group = a.n_heads / a.kv.n_kv_heads;
    uint64_t row_width = (uint64_t)(a.n_heads + 2 * a.kv.n_kv_heads) * D;
    queries_load<D, T>(shared, a.qkv + e.first_row * row_width + (uint64_t)item.kv_head * group * D,
                       row_width, group, item.first_packed, layout::tile_rows, e.packed);
    uint32_t first = item.first_packed + k_warp() * layout::warp_rows;
    warp_rows<M> rows = warp_rows_of<M>(a, item, first);
    row_sums<D, M> sums;
    rows_open(sums);
    tiles_attend<D, T, M>(a, rule, item, rows, shared, sums);
    sums_finish<D, T, M>(a, item, first, sums);
    k_sptr<float> outputs = k_sptr_cast<float>(shared) + k_warp() * 16 * layout::output_stride;
    sums_store<D, T, M>(a, item, first, outputs, sums);
}

/* Outputs that are in their queries' place, as activations: rows of sequences with at least rows_min rows. row_sequence: NULL
 * where those are all. */
K_KERNEL_BOUNDS(STORE_WARPS * 32, 4)
void attention_collect(long_source a, const uint32_t *row_sequence)
{
    k_wait_previous();
    k_release_next();
    uint32_t row = k_block_x(), part = k_block_y() * STORE_WARPS + k_warp();
    if (32 * part >= a.out.n_cols)
        return;
    if (row_sequence != nullptr) {
        uint32_t s = row_sequence[row];
        if (a.row_start[s + 1] - a.row_start[s] < a.rows_min)
            return;
    }
    uint32_t column = 32 * part + k_lane();
    uint64_t width = (uint64_t)(a.n_heads + 2 * a.kv.n_kv_heads) * a.kv.d_head;
    float value = column < a.out.n_cols ? a.qkv[row * width + column] : 0.0f;
    activation_store_group(a.out, row, part, k_lane(), value);
}

/* --- keys and values of whole sequences, as pages of f16 --- */

/* Blocks: x rows; threads take four elements each. */
K_KERNEL void pages_fill(long_source a)
{
    k_wait_previous();
    k_release_next();
    uint32_t row = k_block_x(), low = 0, high = a.n_sequences;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (a.row_start[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    uint32_t at = row - a.row_start[low], d = a.kv.d_head;
    uint64_t page = page_base(a.row_start, low) + at / KV_BLOCK_TOKENS;
    uint32_t elements = a.kv.n_kv_heads * d;
    const float *keys =
        a.qkv + (uint64_t)row * (a.n_heads + 2 * a.kv.n_kv_heads) * d + (uint64_t)a.n_heads * d;
    for (uint32_t i = 4 * k_thread(); i < 2 * elements; i += 4 * k_threads()) {
        uint32_t element = i % elements, head = element / d;
        float x[4];
        k_u4 raw = k_load16(keys + i);
        memcpy(x, &raw, sizeof x);
        uint64_t vector = (page * a.kv.n_kv_heads + head) * KV_BLOCK_TOKENS + at % KV_BLOCK_TOKENS;
        uint32_t *to = static_cast<uint32_t *>(i < elements ? a.kv.keys : a.kv.values) +
                       (vector * d + element % d) / 2;
        to[0] = k_pack_f16(x[0], x[1]);
        to[1] = k_pack_f16(x[2], x[3]);
    }
}

/* --- launches --- */

template <uint32_t D, kv_type T>
static void long_launch(device_stream *stream, const long_source &source, const score_rule &rule,
                        uint32_t n_rows)
{
    using layout = long_layout<D, T>;
    uint32_t sequences_max = n_rows / source.rows_min;
    if (sequences_max > source.n_sequences)
        sequences_max = source.n_sequences;
    uint64_t packed = (uint64_t)n_rows * (source.n_heads / source.kv.n_kv_heads);
    uint64_t tiles = packed / layout::tile_rows + sequences_max;
    K_LAUNCH(stream, (attention_long<D, T>), k_grid((uint32_t)(tiles * source.kv.n_kv_heads)),
             LONG_THREADS, layout::bytes + work_bytes(source.n_sequences), source, rule);
}

static void source_launch(device_stream *stream, const long_source &source, const score_rule &rule,
                          uint32_t n_rows, const uint32_t *row_sequence)
{
#define LAUNCH(D, T) long_launch<D, T>(stream, source, rule, n_rows)
    ATTENTION_DISPATCH(source.kv.d_head, source.kv.type, LAUNCH);
#undef LAUNCH
    if (source.kv.d_head % 32 == 0)
        return;
    uint32_t slices = (source.out.n_cols + 32 * STORE_WARPS - 1) / (32 * STORE_WARPS);
    K_LAUNCH(stream, attention_collect, k_grid(n_rows, slices), STORE_WARPS * 32, 0, source,
             row_sequence);
}

void attention_long_launch(device_stream *stream, const struct attention_args *args)
{
    long_source source = {};
    source.qkv = args->qkv;
    source.kv = args->kv;
    source.n_heads = args->n_heads;
    source.sinks = args->sinks;
    source.row_start = args->state.row_start;
    source.row_position = args->state.row_position;
    source.block_tables = args->state.block_tables;
    source.block_table_stride = args->state.block_table_stride;
    source.counts = args->state.counts;
    source.n_sequences = args->n_sequences;
    source.rows_min = ATTENTION_SPLIT_ROWS + 1;
    source.out = args->out;
    source_launch(stream, source, score_rule_of(args->scale, args->soft_cap, args->window),
                  args->n_rows, args->state.row_sequence);
}

void attention_full_launch(device_stream *stream, const struct attention_full_args *args)
{
    uint64_t vectors = (args->n_rows + 15ull * args->n_sequences) * args->n_kv_heads * args->d_head;
    long_source source = {};
    source.qkv = args->qkv;
    source.kv.type = KV_F16;
    source.kv.n_kv_heads = args->n_kv_heads;
    source.kv.d_head = args->d_head;
    source.kv.keys = args->scratch;
    source.kv.values = static_cast<uint16_t *>(args->scratch) + vectors;
    source.n_heads = args->n_heads;
    source.row_start = args->row_start;
    source.n_sequences = args->n_sequences;
    source.rows_min = 1;
    source.out = args->out;
    K_LAUNCH(stream, pages_fill, k_grid(args->n_rows), LONG_THREADS, 0, source);
    source_launch(stream, source, score_rule_of(args->scale, 0, 0), args->n_rows, nullptr);
}
