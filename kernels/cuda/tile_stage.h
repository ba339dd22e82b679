#ifndef PENSTOCK_KERNELS_CUDA_TILE_STAGE_H
#define PENSTOCK_KERNELS_CUDA_TILE_STAGE_H

#include "device.h"
#include "tile_fragment.h"

/* From global memory to a stage: 128 columns of the rows, and of the 64 outputs as they are packed. What is not there (behind
 * the last column, row or band) becomes zeros.
 *
 * A stage: rows [tile_rows] of 256 bytes, then the two halves' weights: two bands each, of two cells or of 16 rows. */

/* Bytes of a band in a stage. */
WEIGHT_FACT uint32_t tile_band_bytes(enum weight_form form)
{
    return weight_form_is_rows(form) ? WEIGHT_BAND_OUTPUTS * TILE_ROW_BYTES
                                     : TILE_COLS / WEIGHT_SPAN_COLS * weight_cell_bytes(form);
}

/* What a thread copies of a half's weights: 64 threads share each of its two bands. Little, because it stays in registers. */
#define TILE_BAND_THREADS (TILE_THREADS / 4)

struct tile_source {
    enum weight_form form;
    uint32_t extent;     /* of the band: cells, or elements of a row; 0: there is no such band */
    uint32_t at;         /* of the half's place in a stage: where this thread's first 16 bytes go */
    const uint8_t *from; /* this thread's first 16 bytes of the band's first stage */
};

/* Of bands band and band + 1 of a part. worker: which of the half's 128 threads. */
K_DEVICE struct tile_source tile_source_of(const struct weight_part &part, uint32_t band,
                                           uint32_t worker)
{
    uint32_t own = worker / TILE_BAND_THREADS;
    worker %= TILE_BAND_THREADS;
    bool is_rows = weight_form_is_rows(part.form);
    struct tile_source source = {part.form, 0, own * tile_band_bytes(part.form), part.data};
    source.at += is_rows ? tile_chunk_at(worker / 16, worker % 16) : 16 * worker;
    if (band + own >= part.n_bands)
        return source;
    source.extent = is_rows ? part.stride : part.n_spans;
    source.from += (band + own) * part.band_bytes;
    if (is_rows)
        source.from += 2 * (uint64_t)(worker / 16) * part.stride + 16 * (worker % 16);
    else
        source.from += weight_band_units_bytes(part.form) + 16 * worker;
    return source;
}

K_DEVICE void tile_stage_cells(const struct tile_source &source, uint32_t stage, k_sptr<uint8_t> to)
{
    uint32_t cell_bytes = weight_cell_bytes(source.form),
             first = 16 * (k_thread() % TILE_BAND_THREADS);
    uint32_t cells = stage * (TILE_COLS / WEIGHT_SPAN_COLS), present = 0;
    if (cells < source.extent)
        present = (source.extent - cells > 1 ? 2 : 1) * cell_bytes;
    const uint8_t *from = source.from + (uint64_t)cells * cell_bytes;
    for (uint32_t done = 0; first + done < 2 * cell_bytes; done += 16 * TILE_BAND_THREADS) {
        bool is_there = first + done < present;
        k_copy_async16_if(to + (source.at + done), is_there ? from + done : source.from, is_there);
    }
}

/* Four rows apart, a chunk's place in them is the same. */
K_DEVICE void tile_stage_weight_rows(const struct tile_source &source, uint32_t stage,
                                     k_sptr<uint8_t> to)
{
    constexpr uint32_t step = TILE_BAND_THREADS / 16;
    bool is_there = stage * TILE_COLS + 8 * (k_thread() % 16) < source.extent;
    const uint8_t *from = source.from + (is_there ? (uint64_t)stage * TILE_ROW_BYTES : 0);
    for (uint32_t row = 0; row < WEIGHT_BAND_OUTPUTS; row += step) {
        k_copy_async16_if(to + (source.at + row * TILE_ROW_BYTES), from, is_there);
        from += is_there ? 2 * (uint64_t)step * source.extent : 0;
    }
}

/* To the half's place in the stage. */
K_DEVICE void tile_stage_weights(const struct tile_source &source, uint32_t stage,
                                 k_sptr<uint8_t> to)
{
    if (weight_form_is_rows(source.form))
        tile_stage_weight_rows(source, stage, to);
    else
        tile_stage_cells(source, stage, to);
}

/* tile_rows rows of n_cols columns, of which the first n_rows are there. By the whole block; `from`: this thread's first 16 bytes
 * of the first stage, in row thread / 16. */
K_DEVICE void tile_stage_rows(const uint16_t *from, uint32_t n_rows, uint32_t tile_rows,
                              uint32_t n_cols, uint32_t stage, k_sptr<uint8_t> to)
{
    constexpr uint32_t step = TILE_THREADS / 16;
    uint32_t first = k_thread() / 16, chunk = k_thread() % 16;
    bool is_column = stage * TILE_COLS + 8 * chunk < n_cols;
    const uint16_t *at = from + (uint64_t)stage * TILE_COLS;
    to = to + tile_chunk_at(first, chunk);
    for (uint32_t row = 0; first + row < tile_rows; row += step) {
        bool is_there = is_column && first + row < n_rows;
        k_copy_async16_if(to + row * TILE_ROW_BYTES, is_there ? at : from, is_there);
        at += (uint64_t)step * n_cols;
    }
}

#endif
