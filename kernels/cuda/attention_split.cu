/* Attention of sequences with few rows in a step: decoding.
 *
 * One row has to read all its keys and values, so what counts is bytes on their way. A sequence's positions are cut into
 * chunks, and an item of work is a tile of 16 packed rows, and a head's chunk of keys and values. A block of four warps takes
 * it (of two, where pages are so large that four warps' would not fit the 100 KiB of sm_86, sm_89 and sm_120), each warp
 * every fourth page, in a pipeline of its own that asks for nothing but its own copies: no barrier of the block
 * between two pages. What a chunk gives is an output and its share of the softmax; attention_join sums a row's chunks
 * in their order.
 *
 *   bytes     d_head 128 of f16: a page of a head is 4 KiB of keys and 4 KiB of values, so a warp has 8 to 16 KiB on the way;
 *             12 warps of the three blocks that fit a multiprocessor (74 KiB each of 227) about 130 KiB. 4.8 TB/s over 132
 *             multiprocessors at 800 ns of latency want 29 KiB.
 *   work      a position costs 512 bytes, 25 cycles of a multiprocessor's share of the memory, in which its four schedulers
 *             issue 98 instructions of a warp. A page of 16 positions takes 8 + 8 ldmatrix of queries and keys, 16 + 16 mma, 8
 *             ldmatrix of values, 16 copies and some 100 others: 11 a position. So queries are read again for each page
 *             (their registers, 32 to 64, are worth more), and one form does for every group: with one query head a key
 *             15 of 16 rows of the tiles are idle, and it is still the memory that is waited for.
 *   balance   a chunk is ATTENTION_CHUNK_TOKENS positions, or so many times 2 of them that the sequence has no more than its
 *             share of `partials`: a rule about the sequence alone, so its outputs are the same in any batch. One sequence
 *             of 8192 positions with 8 heads of keys is 256 items for 132 multiprocessors.
 *
 * The grid is as many blocks as can run, whatever there is to do; items are dealt out in turn. */

#include "attention_private.h"
#include "attention_tile.h"
#include "attention_work.h"

#define TILE_ROWS  16u
#define JOIN_WARPS 8u

/* The shared memory of a block: queries, then each warp's stages; the warps' sums in the same place when all is read. */
template <uint32_t D, kv_type T> struct split_layout {
    using head = head_layout<D, T>;
    static constexpr uint32_t queries = TILE_ROWS * head::query_stride;
    static constexpr uint32_t vectors = KV_BLOCK_TOKENS * head::stride; /* keys of a page */
    static constexpr uint32_t scales = T == KV_INT8 ? KV_BLOCK_TOKENS * 4 : 0;
    static constexpr uint32_t stage = 2 * (vectors + scales);
    static constexpr uint32_t stages = stage > 6 * 1024 ? 2 : 3;
    static constexpr uint32_t warps = stage > 10 * 1024 ? 2 : 4;
    static constexpr uint32_t threads = 32 * warps;
    static constexpr uint32_t pipelines = warps * stages * stage;
    static constexpr uint32_t sums = warps * TILE_ROWS * (D + 2) * 4;
    static constexpr uint32_t bytes = queries + (pipelines > sums ? pipelines : sums);
    /* Of the 228 KiB of a multiprocessor's, with the starts of 255 sequences and what the system takes. */
    static constexpr uint32_t fitting = 228 * 1024 / (bytes + work_bytes(255) + 1024);
    static constexpr uint32_t blocks = fitting > 4 ? 4 : fitting < 1 ? 1 : fitting;
};

/* What a sequence's rows need; no chunks where it is not for this kernel. */
struct split_extent {
    uint32_t first_row, rows;
    uint32_t first_key, end; /* positions that any of its rows sees */
    uint32_t chunk_tokens, first_chunk, chunks;
    uint32_t tiles;
};

K_DEVICE split_extent split_extent_of(const attention_args &a, uint32_t s)
{
    split_extent e = {};
    e.first_row = a.state.row_start[s];
    e.rows = a.state.row_start[s + 1] - e.first_row;
    if (e.rows == 0 || e.rows > ATTENTION_SPLIT_ROWS)
        return e;
    uint32_t last = a.state.row_position[e.first_row + e.rows - 1];
    e.first_key = first_visible(a.state.row_position[e.first_row], a.window);
    e.end = last + 1;
    e.chunk_tokens = ATTENTION_CHUNK_TOKENS;
    while (last / e.chunk_tokens - e.first_key / e.chunk_tokens + 1 > a.chunks / e.rows)
        e.chunk_tokens *= 2;
    e.first_chunk = e.first_key / e.chunk_tokens;
    e.chunks = last / e.chunk_tokens - e.first_chunk + 1;
    e.tiles = (e.rows * (a.n_heads / a.kv.n_kv_heads) + TILE_ROWS - 1) / TILE_ROWS;
    return e;
}

/* One chunk of a tile of a head. */
struct split_item {
    split_extent extent;
    uint32_t sequence, chunk, kv_head;
    uint32_t first_packed;           /* of the tile's rows */
    uint32_t first_page, page_count; /* of the sequence's table */
};

K_DEVICE split_item split_item_of(const attention_args &a, uint32_t sequence, uint32_t index)
{
    split_item item;
    item.extent = split_extent_of(a, sequence);
    const split_extent &e = item.extent;
    item.sequence = sequence;
    item.kv_head = index % a.kv.n_kv_heads;
    item.chunk = index / a.kv.n_kv_heads % e.chunks;
    item.first_packed = index / a.kv.n_kv_heads / e.chunks * TILE_ROWS;
    uint32_t begin = (e.first_chunk + item.chunk) * e.chunk_tokens, end = begin + e.chunk_tokens;
    begin = begin > e.first_key ? begin : e.first_key;
    end = end < e.end ? end : e.end;
    item.first_page = begin / KV_BLOCK_TOKENS;
    item.page_count = (end + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS - item.first_page;
    return item;
}

/* Where a partial result is: each sequence has a.chunks of them for each head, which its rows divide. */
K_DEVICE uint64_t partial_index(const attention_args &a, const split_extent &e, uint32_t sequence,
                                uint32_t row, uint32_t chunk, uint32_t head)
{
    uint64_t slot = (uint64_t)sequence * a.chunks + row * (a.chunks / e.rows) + chunk;
    return slot * a.n_heads + head;
}

K_DEVICE float *partial_shares(const attention_args &a)
{
    return a.partials + (uint64_t)a.n_sequences * a.chunks * a.n_heads * a.kv.d_head;
}

/* Copies a head's part of a page into a stage; tokens from `count` on are zeros. */
template <uint32_t D, kv_type T>
K_DEVICE void page_fetch(const kv_layer &kv, uint32_t page, uint32_t kv_head, uint32_t count,
                         k_sptr<uint8_t> stage)
{
    using layout = split_layout<D, T>;
    using head = head_layout<D, T>;
    uint64_t vector = ((uint64_t)page * kv.n_kv_heads + kv_head) * KV_BLOCK_TOKENS;
    const uint8_t *keys = static_cast<const uint8_t *>(kv.keys) + vector * head::bytes;
    const uint8_t *values = static_cast<const uint8_t *>(kv.values) + vector * head::bytes;
    K_UNROLL
    for (uint32_t i = 0; i < KV_BLOCK_TOKENS * head::units; i += 32) {
        uint32_t unit = i + k_lane(), token = unit / head::units, at = unit % head::units * 16;
        if (unit >= KV_BLOCK_TOKENS * head::units)
            continue;
        k_sptr<uint8_t> to = stage + token * head::stride + at;
        k_copy_async16_if(to, keys + token * head::bytes + at, token < count);
        k_copy_async16_if(to + layout::vectors, values + token * head::bytes + at, token < count);
    }
    if (T == KV_INT8 && k_lane() < 8) {
        const float *from = (k_lane() < 4 ? kv.key_scales : kv.value_scales) + vector;
        k_copy_async16(stage + 2 * layout::vectors + k_lane() * 16, from + k_lane() % 4 * 4);
    }
}

/* A warp's share of an item's pages: every fourth, or second, of them. The numbers of the next 32 are looked up at once, one a
 * lane. */
template <uint32_t D, kv_type T>
K_DEVICE void pages_attend(const attention_args &a, const score_rule &rule, const split_item &item,
                           k_sptr<uint8_t> queries, k_sptr<uint8_t> pipeline,
                           const uint32_t (&position)[1][2], row_sums<D, 1> &sums)
{
    using layout = split_layout<D, T>;
    const split_extent &e = item.extent;
    const uint32_t *table = a.state.block_tables +
                            (uint64_t)item.sequence * a.state.block_table_stride + item.first_page;
    uint32_t steps = (item.page_count + layout::warps - 1 - k_warp()) / layout::warps;
    uint32_t lowest = a.state.row_position[e.first_row], number = 0;
    for (uint32_t ahead = 0, step = 0; step < steps; ahead++) {
        if (ahead < steps) {
            uint32_t own = ahead + k_lane();
            if (ahead % 32 == 0)
                number = own < steps ? table[own * layout::warps + k_warp()] : 0;
            uint32_t page = k_shfl(number, ahead % 32);
            uint32_t first = (item.first_page + ahead * layout::warps + k_warp()) * KV_BLOCK_TOKENS;
            page_fetch<D, T>(a.kv, page, item.kv_head, e.end - first,
                             pipeline + ahead % layout::stages * layout::stage);
        }
        k_copy_commit();
        if (ahead + 1 < layout::stages)
            continue;
        k_copy_wait<layout::stages - 1>();
        k_sync_warp();
        k_sptr<uint8_t> stage = pipeline + step % layout::stages * layout::stage;
        k_sptr<float> scales = k_sptr_cast<float>(stage + 2 * layout::vectors);
        uint32_t first = (item.first_page + step * layout::warps + k_warp()) * KV_BLOCK_TOKENS;
        bool is_cut =
            first + KV_BLOCK_TOKENS - 1 > lowest || first < first_visible(e.end - 1, a.window);
        tile_attend<D, T, KV_BLOCK_TOKENS, 1>(sums, queries, stage, stage + layout::vectors, scales,
                                              scales + KV_BLOCK_TOKENS, rule, first, position,
                                              is_cut);
        k_sync_warp(); /* all lanes have read what the next copies overwrite */
        step++;
    }
}

/* A warp's sums into shared memory: [TILE_ROWS][D] outputs, [TILE_ROWS][2] highest exponents and their sums. */
template <uint32_t D, kv_type T>
K_DEVICE void sums_put(const row_sums<D, 1> &sums, k_sptr<float> to)
{
    uint32_t g = k_lane() / 4;
    K_UNROLL
    for (uint32_t j = 0; j < D / 8; j++)
        K_UNROLL
    for (uint32_t c = 0; c < 4; c++)
        to[(g + c / 2 * 8) * D + output_column<T>(j, c)] = sums.o[0][j][c];
    if (k_lane() % 4 != 0)
        return;
    K_UNROLL
    for (uint32_t h = 0; h < 2; h++) {
        to[TILE_ROWS * D + 2 * (g + 8 * h)] = sums.highest[0][h];
        to[TILE_ROWS * D + 2 * (g + 8 * h) + 1] = sums.sum[0][h];
    }
}

/* The warps' sums, joined, as the item's partial results. */
template <uint32_t D, kv_type T>
K_DEVICE void partials_store(const attention_args &a, const split_item &item, k_sptr<float> sums)
{
    using layout = split_layout<D, T>;
    constexpr uint32_t each = TILE_ROWS * (D + 2);
    uint32_t group = a.n_heads / a.kv.n_kv_heads, end = item.extent.rows * group;
    for (uint32_t i = k_thread(); i < TILE_ROWS * D; i += layout::threads) {
        uint32_t row = i / D, column = i % D, packed = item.first_packed + row;
        if (packed >= end)
            break;
        float highest = -INFINITY, sum = 0, o = 0;
        for (uint32_t w = 0; w < layout::warps; w++) {
            float own = sums[w * each + TILE_ROWS * D + 2 * row];
            highest = fmaxf(highest, own);
        }
        float base = highest > -INFINITY ? highest : 0.0f;
        for (uint32_t w = 0; w < layout::warps; w++) {
            float own = sums[w * each + TILE_ROWS * D + 2 * row];
            float part = sums[w * each + TILE_ROWS * D + 2 * row + 1];
            float value = sums[w * each + i], factor = k_exp2(own - base);
            sum += factor * part;
            o += factor * value;
        }
        uint64_t index = partial_index(a, item.extent, item.sequence, packed / group, item.chunk,
                                       item.kv_head * group + packed % group);
        float unit = head_layout<D, T>::output_unit;
        a.partials[index * D + column] = sum == 0 ? 0.0f : o / sum * unit;
        if (column == 0)
            partial_shares(a)[index] = sum == 0 ? -INFINITY : base + k_log(sum) * LOG2_E;
    }
}

template <uint32_t D, kv_type T>
K_KERNEL_BOUNDS((split_layout<D, T>::threads), (split_layout<D, T>::blocks))
void attention_split(attention_args a, score_rule rule)
{
    using layout = split_layout<D, T>;
    k_sptr<uint8_t> shared = k_dynamic_shared<uint8_t>();
    k_sptr<uint32_t> starts = k_sptr_cast<uint32_t>(shared + layout::bytes);
    uint32_t n_sequences = a.state.counts[1], group = a.n_heads / a.kv.n_kv_heads;
    work_starts(starts, n_sequences, [&](uint32_t s) {
        split_extent e = split_extent_of(a, s);
        return e.tiles * e.chunks * a.kv.n_kv_heads;
    });
    k_wait_previous();
    k_release_next();
    uint64_t row_width = (uint64_t)(a.n_heads + 2 * a.kv.n_kv_heads) * D;
    uint32_t count = starts[n_sequences];
    for (uint32_t i = k_block_x(); i < count; i += k_grid_x()) {
        uint32_t sequence = work_sequence(starts, n_sequences, i), start = starts[sequence];
        split_item item = split_item_of(a, sequence, i - start);
        const split_extent &e = item.extent;
        queries_load<D, T>(shared,
                           a.qkv + e.first_row * row_width + (uint64_t)item.kv_head * group * D,
                           row_width, group, item.first_packed, TILE_ROWS, e.rows * group);
        uint32_t position[1][2];
        K_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            uint32_t row = (item.first_packed + k_lane() / 4 + 8 * h) / group;
            position[0][h] = a.state.row_position[e.first_row + (row < e.rows ? row : e.rows - 1)];
        }
        row_sums<D, 1> sums;
        rows_open(sums);
        k_sync();
        pages_attend<D, T>(a, rule, item, shared,
                           shared + layout::queries + k_warp() * (layout::stages * layout::stage),
                           position, sums);
        rows_close(sums);
        k_copy_wait<0>();
        k_sync();
        k_sptr<float> joined = k_sptr_cast<float>(shared + layout::queries);
        sums_put<D, T>(sums, joined + k_warp() * (TILE_ROWS * (D + 2)));
        k_sync();
        partials_store<D, T>(a, item, joined);
        k_sync();
    }
}

/* --- chunks joined --- */

/* One element of a row: the sum over the chunks, in their order, and the sink's share of nothing. */
K_DEVICE float chunks_join(const attention_args &a, const split_extent &e, uint32_t sequence,
                           uint32_t row, uint32_t column)
{
    uint32_t d = a.kv.d_head, head = column / d;
    uint64_t index = partial_index(a, e, sequence, row, 0, head);
    const float *share = partial_shares(a) + index, *o = a.partials + index * d + column % d;
    float sink = a.sinks != nullptr ? a.sinks[head] * LOG2_E : -INFINITY, highest = sink;
    for (uint32_t c = 0; c < e.chunks; c++)
        highest = fmaxf(highest, share[(uint64_t)c * a.n_heads]);
    float sum = k_exp2(sink - highest), total = 0;
    for (uint32_t c = 0; c < e.chunks; c++) {
        float factor = k_exp2(share[(uint64_t)c * a.n_heads] - highest);
        sum += factor;
        total += factor * o[(uint64_t)c * a.n_heads * d];
    }
    return total / sum;
}

/* A warp joins 32 columns of a row, and stores them. */
K_KERNEL_BOUNDS(JOIN_WARPS * 32, 4) void attention_join(attention_args a)
{
    k_sptr<uint32_t> starts = k_dynamic_shared<uint32_t>();
    uint32_t n_sequences = a.state.counts[1];
    uint32_t slices = (a.out.n_cols + 32 * JOIN_WARPS - 1) / (32 * JOIN_WARPS);
    work_starts(starts, n_sequences, [&](uint32_t s) {
        uint32_t rows = a.state.row_start[s + 1] - a.state.row_start[s];
        return rows <= ATTENTION_SPLIT_ROWS ? rows * slices : 0;
    });
    k_wait_previous();
    k_release_next();
    uint32_t count = starts[n_sequences];
    for (uint32_t i = k_block_x(); i < count; i += k_grid_x()) {
        uint32_t sequence = work_sequence(starts, n_sequences, i), start = starts[sequence];
        split_extent e = split_extent_of(a, sequence);
        uint32_t row = (i - start) / slices;
        uint32_t part = (i - start) % slices * JOIN_WARPS + k_warp();
        uint32_t column = 32 * part + k_lane();
        if (32 * part >= a.out.n_cols)
            continue;
        float value = column < a.out.n_cols ? chunks_join(a, e, sequence, row, column) : 0.0f;
        activation_store_group(a.out, e.first_row + row, part, k_lane(), value);
    }
}

/* --- launches --- */

template <uint32_t D, kv_type T>
static void split_launch(device_stream *stream, const struct attention_args *args)
{
    using layout = split_layout<D, T>;
    K_LAUNCH(stream, (attention_split<D, T>), k_grid(args->multiprocessors * layout::blocks),
             layout::threads, layout::bytes + work_bytes(args->n_sequences), *args,
             score_rule_of(args->scale, args->soft_cap, args->window));
}

void attention_split_launch(device_stream *stream, const struct attention_args *args)
{
#define LAUNCH(D, T) split_launch<D, T>(stream, args)
    ATTENTION_DISPATCH(args->kv.d_head, args->kv.type, LAUNCH);
#undef LAUNCH
    uint64_t items =
        (uint64_t)args->n_rows * ((args->out.n_cols + 32 * JOIN_WARPS - 1) / (32 * JOIN_WARPS));
    uint32_t blocks = args->multiprocessors * 8;
    K_LAUNCH(stream, attention_join, k_grid(items < blocks ? (uint32_t)items : blocks),
             JOIN_WARPS * 32, work_bytes(args->n_sequences), *args);
}
