/* Integer products with AMX tiles, for many rows: same layout, same sums, same bits as gemm_avx512_vnni.c.
 *
 * A unit is as many columns as share a start: a block, or half of one (S5, U6). One tile product makes the dot
 * products of a unit: sixteen rows' codes (an A tile as they lie in `struct row_tile`) times sixteen outputs'
 * unpacked codes (a B tile: four or eight of the block's vectors). They go through memory to the vector
 * registers, where starts are added and scales applied as there, row by row.
 *
 * Two stages of a span's units take turns, so that tile products of one span run while vectors finish the span
 * before it. Two tiles of rows share the unpacked codes.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; Optimization Reference
 * Manual, chapter 20. */

#include "block_codes.h"
#include "kernel_table.h"
#include "tile_config.h"

gemm_function gemm_codes_amx;

#define UNITS_MAX (2 * SPAN_BLOCKS) /* of a stage */

/* Tile registers. Dot products of even and odd units alternate. */
#define DOTS_FIRST  0 /* + 2 * (unit & 1) + tile of rows */
#define CODES_FIRST 4 /* + unit & 1: the weights' */
#define ROWS_FIRST  6 /* + tile of rows */

/* Assembly, as in tile_config.h. A tile's number is part of the instruction. */
#define TILE_LOAD(number, from, stride)                                                            \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #number ::"r"(from), "r"((size_t)(stride))       \
                     : "memory")
#define TILE_STORE(number, to, stride)                                                             \
    __asm__ volatile("tilestored %%tmm" #number ", (%0,%1,1)" ::"r"(to), "r"((size_t)(stride))     \
                     : "memory")
/* dots += rows (signed) x codes (unsigned). */
#define TILE_DOT(dots, rows, codes)                                                                \
    __asm__ volatile("tilezero %%tmm" #dots "\n"                                                   \
                     "tdpbsud %%tmm" #codes ", %%tmm" #rows ", %%tmm" #dots ::)

/* Vectors' side of a stage. */
struct stage {
    _Alignas(64) uint8_t codes[SPAN_BLOCKS][8 * 64];
    _Alignas(64) int32_t dots[UNITS_MAX][2 * TILE_ROWS][GROUP_OUTPUTS];
};

struct rows_of_call {
    const struct row_tile
        *tiles[2]; /* block 0 of each tile of rows; the second NULL: at most 16 rows */
    uint32_t n_rows;
};

INLINE uint32_t unit_parts(const enum weight_format format)
{
    return format == FORMAT_S5 || format == FORMAT_U6 ? 2 : 1;
}

static void configure_tiles(uint32_t parts, uint32_t n_rows)
{
    struct tile_config config = {.palette = 1};
    const uint16_t unit_bytes = (uint16_t)(BLOCK_COLS / parts);
    for (uint32_t t = 0; t < 2; t++) {
        uint32_t rest = n_rows > t * TILE_ROWS ? n_rows - t * TILE_ROWS : 0;
        uint8_t rows = (uint8_t)(rest < TILE_ROWS ? rest : TILE_ROWS);
        for (uint32_t odd = 0; odd < 2; odd++) {
            config.rows[DOTS_FIRST + 2 * odd + t] = rows;
            config.row_bytes[DOTS_FIRST + 2 * odd + t] = rows > 0 ? 64 : 0;
        }
        config.rows[ROWS_FIRST + t] = rows;
        config.row_bytes[ROWS_FIRST + t] = rows > 0 ? unit_bytes : 0;
        config.rows[CODES_FIRST + t] = (uint8_t)(unit_bytes / 4);
        config.row_bytes[CODES_FIRST + t] = 64;
    }
    tile_config_load(&config);
}

/* One unit's dot products, through the tile registers of even or odd units. */
#define UNIT_DOTS(codes_tile, dots_tile, second_dots_tile)                                         \
    do {                                                                                           \
        TILE_LOAD(codes_tile, codes, 64);                                                          \
        TILE_LOAD(6, rows->tiles[0][block].codes[0] + column, BLOCK_COLS);                         \
        TILE_DOT(dots_tile, 6, codes_tile);                                                        \
        TILE_STORE(dots_tile, stage->dots[unit][0], 64);                                           \
        if (rows->tiles[1] != NULL) {                                                              \
            TILE_LOAD(7, rows->tiles[1][block].codes[0] + column, BLOCK_COLS);                     \
            TILE_DOT(second_dots_tile, 7, codes_tile);                                             \
            TILE_STORE(second_dots_tile, stage->dots[unit][TILE_ROWS], 64);                        \
        }                                                                                          \
    } while (false)

/* Unpacks blocks [block, block + n_blocks) that lie at `at`, and starts their products. */
INLINE void stage_begin(const enum weight_format format, const uint8_t *at, uint32_t first_block,
                        uint32_t n_blocks, const struct rows_of_call *rows, struct stage *stage)
{
    const uint32_t parts = unit_parts(format);
    for (uint32_t b = 0; b < n_blocks; b++, at += BLOCK_BYTES(format)) {
        prefetch_block(format, at);
        __m512i vectors[8];
        unpack_block(format, at, vectors);
        UNROLL for (uint32_t s = 0; s < 8; s++)
            _mm512_store_si512(stage->codes[b] + 64 * s, vectors[s]);
    }
    for (uint32_t unit = 0; unit < n_blocks * parts; unit++) {
        const uint32_t block = first_block + unit / parts;
        const uint32_t column = unit % parts * (BLOCK_COLS / parts);
        const uint8_t *codes = stage->codes[unit / parts] + column * GROUP_OUTPUTS;
        if (unit % 2 == 0)
            UNIT_DOTS(4, 0, 1);
        else
            UNIT_DOTS(5, 2, 3);
    }
}

INLINE const int32_t *starts_of(const enum weight_format format, const struct row_tile *x,
                                uint32_t part)
{
    switch (format) {
    case FORMAT_S4:
        return x->start_s4;
    case FORMAT_S5:
        return x->start_s5[part];
    case FORMAT_U6:
        return x->start_u6[part];
    default:
        return x->start_u8;
    }
}

/* The finished dot products of row `r` of the tile of rows `t` with the sixteen outputs. */
INLINE __m512i started_dots(const enum weight_format format, const struct stage *stage,
                            const struct row_tile *x, uint32_t unit, uint32_t t, uint32_t r)
{
    const uint32_t parts = unit_parts(format);
    const int32_t *starts = starts_of(format, x + unit / parts, unit % parts);
    return _mm512_add_epi32(_mm512_load_si512(stage->dots[unit][t * TILE_ROWS + r]),
                            _mm512_set1_epi32(starts[r]));
}

/* tile (+)= a span of a format scaled by integers; `at`: its blocks, `x`: its first block of rows. */
INLINE void finish_scaled(const enum weight_format format, const uint8_t *at, uint32_t n_blocks,
                          const struct stage *stage, const struct row_tile *x, uint32_t t,
                          uint32_t n_rows, bool is_first, float *tile, size_t tile_stride)
{
    const uint32_t parts = unit_parts(format);
    __m512i scales[SPAN_BLOCKS];
    UNROLL for (uint32_t b = 0; b < n_blocks; b++) scales[b] =
        load(at + b * BLOCK_BYTES(format) + SCALES_AT(format));
    const __m512 scale = _mm512_loadu_ps(at + n_blocks * BLOCK_BYTES(format));
    for (uint32_t r = 0; r < n_rows; r++) {
        __m512i sum = _mm512_setzero_si512();
        UNROLL for (uint32_t unit = 0; unit < n_blocks * parts; unit++) sum =
            dot_halves(sum, started_dots(format, stage, x, unit, t, r), scales[unit / parts]);
        float *out = tile + r * tile_stride;
        __m512 before = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(out);
        _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale),
                                              _mm512_set1_ps(x[n_blocks - 1].scale[r]), before));
    }
}

/* The same for U6 and U8. */
INLINE void finish_plain(const enum weight_format format, const uint8_t *at, uint32_t n_blocks,
                         const struct stage *stage, const struct row_tile *x, uint32_t t,
                         uint32_t n_rows, bool is_first, float *tile, size_t tile_stride)
{
    const uint32_t parts = unit_parts(format), n_units = n_blocks * parts;
    __m512 scales[UNITS_MAX];
    UNROLL for (uint32_t unit = 0; unit < n_units; unit++) scales[unit] = load_scales(
        at + unit / parts * BLOCK_BYTES(format) + SCALES_AT(format) + 32 * (unit % parts));
    for (uint32_t r = 0; r < n_rows; r++) {
        float *out = tile + r * tile_stride;
        __m512 sum = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(out);
        UNROLL for (uint32_t unit = 0; unit < n_units; unit++)
        {
            __m512 dots = _mm512_cvtepi32_ps(started_dots(format, stage, x, unit, t, r));
            __m512 row_scale = _mm512_set1_ps(x[unit / parts].scale[r]);
            sum = _mm512_fmadd_ps(dots, _mm512_mul_ps(scales[unit], row_scale), sum);
        }
        _mm512_storeu_ps(out, sum);
    }
}

INLINE void finish_blocks(const enum weight_format format, const uint8_t *at, uint32_t first_block,
                          const uint32_t n_blocks, const struct rows_of_call *rows,
                          const struct stage *stage, float *tile, size_t tile_stride)
{
    for (uint32_t t = 0; t * TILE_ROWS < rows->n_rows; t++) {
        const uint32_t left = rows->n_rows - t * TILE_ROWS;
        const uint32_t n_rows = left < TILE_ROWS ? left : TILE_ROWS;
        const struct row_tile *x = rows->tiles[t] + first_block;
        float *out = tile + t * TILE_ROWS * tile_stride;
        if (FORMAT_IS_SCALED(format))
            finish_scaled(format, at, n_blocks, stage, x, t, n_rows, first_block == 0, out,
                          tile_stride);
        else
            finish_plain(format, at, n_blocks, stage, x, t, n_rows, first_block == 0, out,
                         tile_stride);
    }
}

_Static_assert(SPAN_BLOCKS == 2, "a stage has all blocks of a span or one");

/* Waits for the products of a stage and finishes them: by constant numbers of blocks, so that loops are unrolled. */
INLINE void stage_finish(const enum weight_format format, const uint8_t *at, uint32_t first_block,
                         uint32_t n_blocks, const struct rows_of_call *rows,
                         const struct stage *stage, float *tile, size_t tile_stride)
{
    if (n_blocks == SPAN_BLOCKS)
        finish_blocks(format, at, first_block, SPAN_BLOCKS, rows, stage, tile, tile_stride);
    else
        finish_blocks(format, at, first_block, 1, rows, stage, tile, tile_stride);
}

/* The rows times the 16 outputs of the group at `group`. */
INLINE void multiply_group(const enum weight_format format, const uint8_t *group, uint32_t n_blocks,
                           const struct rows_of_call *rows, float *tile, size_t tile_stride)
{
    struct stage stages[2];
    const uint8_t *at = group;
    uint32_t current = 0, in_stage = n_blocks < SPAN_BLOCKS ? n_blocks : SPAN_BLOCKS;
    stage_begin(format, at, 0, in_stage, rows, &stages[0]);
    for (uint32_t block = 0; block < n_blocks;) {
        const uint32_t next = block + in_stage, left = n_blocks - next;
        const uint32_t in_next = left < SPAN_BLOCKS ? left : SPAN_BLOCKS;
        const uint8_t *next_at = at + in_stage * BLOCK_BYTES(format) + SPAN_TAIL_BYTES(format);
        if (in_next > 0)
            stage_begin(format, next_at, next, in_next, rows, &stages[current ^ 1]);
        stage_finish(format, at, block, in_stage, rows, &stages[current], tile, tile_stride);
        at = next_at;
        block = next;
        in_stage = in_next;
        current ^= 1;
    }
}

/* A function each, so that the compiler allots registers to one loop at a time. */
#define DEFINE_FORMAT(name, format)                                                                \
    static void name(const uint8_t *group, uint32_t n_blocks, const struct rows_of_call *rows,     \
                     float *tile, size_t tile_stride)                                              \
    {                                                                                              \
        multiply_group(format, group, n_blocks, rows, tile, tile_stride);                          \
    }

DEFINE_FORMAT(multiply_s4, FORMAT_S4)
DEFINE_FORMAT(multiply_s5, FORMAT_S5)
DEFINE_FORMAT(multiply_u6, FORMAT_U6)
DEFINE_FORMAT(multiply_u8, FORMAT_U8)

typedef void format_function(const uint8_t *group, uint32_t n_blocks,
                             const struct rows_of_call *rows, float *tile, size_t tile_stride);

static format_function *const format_functions[] = {
    [FORMAT_S4] = multiply_s4,
    [FORMAT_S5] = multiply_s5,
    [FORMAT_U6] = multiply_u6,
    [FORMAT_U8] = multiply_u8,
};

/* Tiles are given back after each call: while they hold something, every switch of threads saves 8 KiB. */
void gemm_codes_amx(const struct segment *segment, uint32_t group, uint32_t n_groups,
                    const struct activation *a, uint32_t row, uint32_t n_rows, float *tile,
                    size_t tile_stride)
{
    const struct rows_of_call rows = {
        .tiles = {activation_tile(a, row, 0),
                  n_rows > TILE_ROWS ? activation_tile(a, row + TILE_ROWS, 0) : NULL},
        .n_rows = n_rows,
    };
    configure_tiles(unit_parts(segment->format), n_rows);
    for (uint32_t g = 0; g < n_groups; g++)
        format_functions[segment->format](segment->data + (group + g) * segment->group_bytes,
                                          segment->n_cols / BLOCK_COLS, &rows,
                                          tile + g * GROUP_OUTPUTS, tile_stride);
    tile_config_release();
}
