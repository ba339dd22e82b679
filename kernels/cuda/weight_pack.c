/* The layout of weights.h, made from a file's tensors.
 *
 * Packing goes output by output and group by group: a block of the file becomes 32 plain codes with a scale and a minimum
 * (plain_block.h), whose bits are then placed where the lanes read them. An output's unit is known only when its scales are,
 * so that its scales are read twice; that is nothing beside the file's own reading. */

#include "weight_pack.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "half.h"
#include "plain_block.h"

/* So that groups of columns divide by a multiplication (weights.h, scale_inverse). */
#define COLS_MAX (1u << 20)

static uint64_t round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

static enum weight_form form_of(enum tensor_type type)
{
    switch (type) {
    case TENSOR_F32:
        return WEIGHT_F32;
    case TENSOR_F16:
        return WEIGHT_F16;
    case TENSOR_BF16:
        return WEIGHT_BF16;
    case TENSOR_F8_E4M3:
        return WEIGHT_F8;
    case TENSOR_Q4_0:
        return WEIGHT_U4;
    case TENSOR_Q4_1:
    case TENSOR_Q4_K:
        return WEIGHT_U4M;
    case TENSOR_Q5_0:
        return WEIGHT_U5;
    case TENSOR_Q5_1:
    case TENSOR_Q5_K:
        return WEIGHT_U5M;
    case TENSOR_Q6_K:
        return WEIGHT_U6;
    case TENSOR_Q8_0:
        return WEIGHT_S8;
    case TENSOR_MXFP4:
        return WEIGHT_E2M1;
    }
    check_failed("a tensor type", __FILE__, __LINE__);
}

static bool source_is_valid(const struct tensor_source *source, uint32_t n_cols)
{
    uint32_t elements, bytes;
    if (!tensor_type_block(source->type, &elements, &bytes) || source->n_outputs == 0 ||
        source->n_cols != n_cols || n_cols == 0 || n_cols % elements != 0)
        return false;
    return source->type != TENSOR_F8_E4M3 ||
           (source->scale_outputs > 0 && source->scale_cols > 0 &&
            (source->scale_cols % WEIGHT_GROUP_COLS == 0 || source->scale_cols >= n_cols));
}

/* --- the plan --- */

static void plan_scales(const struct tensor_source *source, struct weight_layout_part *part)
{
    struct weight_part *p = &part->part;
    p->scale_outputs = source->scale_outputs;
    p->scale_stride = (p->n_cols + source->scale_cols - 1) / source->scale_cols;
    /* One factor for all columns: every quotient is 0. */
    p->scale_groups = p->scale_stride == 1 ? COLS_MAX / WEIGHT_GROUP_COLS + 1
                                           : source->scale_cols / WEIGHT_GROUP_COLS;
    /* 2^31 / scale_groups, rounded up: exact, as dividends and divisors are below 2^15 + 2. */
    p->scale_inverse = ((1u << 31) + p->scale_groups - 1) / p->scale_groups;
    part->scales_bytes = round_up(tensor_scale_count(source) * sizeof(float), 64);
}

/* Lays out the part whose sources are known behind what `layout` has already. */
static void plan_part(struct weight_layout *layout, const struct tensor_source *first,
                      struct weight_layout_part *part)
{
    struct weight_part *p = &part->part;
    p->n_cols = layout->n_cols;
    p->n_bands = (p->n_outputs + WEIGHT_BAND_OUTPUTS - 1) / WEIGHT_BAND_OUTPUTS;
    p->n_spans = (p->n_cols + WEIGHT_SPAN_COLS - 1) / WEIGHT_SPAN_COLS;
    if (weight_form_is_rows(p->form)) {
        p->stride = p->n_spans * WEIGHT_SPAN_COLS;
        p->band_bytes = (uint64_t)WEIGHT_BAND_OUTPUTS * p->stride * weight_element_bytes(p->form);
    } else {
        p->band_bytes =
            weight_band_units_bytes(p->form) + (uint64_t)p->n_spans * weight_cell_bytes(p->form);
    }
    if (p->form == WEIGHT_F8)
        plan_scales(first, part);
    uint64_t bands = WEIGHT_PIECE_BYTES / p->band_bytes;
    part->piece_bands = bands < 1 ? 1 : bands < p->n_bands ? (uint32_t)bands : p->n_bands;
    part->first_piece = layout->piece_count;
    part->data_offset = layout->bytes;
    part->scales_offset = layout->bytes + p->n_bands * p->band_bytes;
    layout->bytes = part->scales_offset + part->scales_bytes;
    layout->piece_count +=
        (p->n_bands + part->piece_bands - 1) / part->piece_bands +
        (uint32_t)((part->scales_bytes + WEIGHT_PIECE_BYTES - 1) / WEIGHT_PIECE_BYTES);
    uint64_t piece_bytes = part->piece_bands * p->band_bytes;
    if (part->scales_bytes > piece_bytes)
        piece_bytes =
            part->scales_bytes < WEIGHT_PIECE_BYTES ? part->scales_bytes : WEIGHT_PIECE_BYTES;
    if (piece_bytes > layout->piece_bytes_max)
        layout->piece_bytes_max = piece_bytes;
}

/* Whether source `index` goes on with the part of the one before it. F8 sources have their own scales; the two of a gated
 * weight are multiplied side by side. */
static bool source_continues(const struct tensor_source *sources, uint32_t index, bool is_gated)
{
    return !is_gated && sources[index].type != TENSOR_F8_E4M3 &&
           form_of(sources[index].type) == form_of(sources[index - 1].type);
}

status weight_layout_plan(const struct tensor_source *sources, uint32_t count, bool is_gated,
                          struct weight_layout *out)
{
    if (count < 1 || count > WEIGHT_PART_MAX)
        return STATUS_INVALID;
    for (uint32_t i = 0; i < count; i++)
        if (!source_is_valid(&sources[i], sources[0].n_cols))
            return STATUS_INVALID;
    if (is_gated && (count != 2 || sources[0].n_outputs != sources[1].n_outputs))
        return STATUS_INVALID;
    if (sources[0].n_cols > COLS_MAX)
        return STATUS_UNSUPPORTED;
    struct weight_layout layout = {.n_cols = sources[0].n_cols, .is_gated = is_gated};
    for (uint32_t i = 0; i < count;) {
        struct weight_layout_part *part = &layout.parts[layout.part_count++];
        part->first_source = i;
        part->part.form = form_of(sources[i].type);
        part->part.first_output = layout.n_outputs;
        do {
            part->part.n_outputs += sources[i].n_outputs;
            part->source_count++;
        } while (++i < count && source_continues(sources, i, is_gated));
        layout.n_outputs += part->part.n_outputs;
        plan_part(&layout, &sources[part->first_source], part);
    }
    *out = layout;
    return STATUS_OK;
}

/* --- placing --- */

static void place_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof value);
}

/* The eight codes that a lane has of output `o` in `group`, as two words. */
struct lane_codes {
    uint32_t first, last;
};

static void place_low_bits(enum weight_form form, struct lane_codes codes, uint32_t group,
                           uint32_t half, uint8_t *lane)
{
    uint32_t word = 0;
    if (form == WEIGHT_E2M1) {
        for (uint32_t b = 0; b < 4; b++) {
            word |= (codes.first >> (8 * b) & 15) << (4 * b);
            word |= (codes.last >> (8 * b) & 15) << (4 * b + 16);
        }
    } else {
        word = (codes.first & 0x0f0f0f0fu) | (codes.last & 0x0f0f0f0fu) << 4;
    }
    memcpy(lane + (size_t)4 * (2 * group + half), &word, sizeof word);
}

static void or_word(uint8_t *at, uint32_t bits)
{
    bits |= load_u32(at);
    memcpy(at, &bits, sizeof bits);
}

/* `codes` of output `o` of a band, and `group` of the cell, to where the lanes read them. */
static void place_codes(enum weight_form form, const uint8_t codes[32], uint32_t o, uint32_t group,
                        uint8_t *cell)
{
    uint32_t half = o / 8;
    uint8_t *plane = cell + weight_plane_at(form);
    for (uint32_t t = 0; t < 4; t++) {
        uint32_t lane = 4 * (o % 8) + t;
        struct lane_codes own = {load_u32(codes + 8 * t), load_u32(codes + 8 * t + 4)};
        if (weight_form_is_bytes(form)) {
            uint8_t *at = cell + (size_t)512 * group + (size_t)16 * lane + (size_t)4 * half;
            memcpy(at, &own.first, sizeof own.first);
            memcpy(at + 8, &own.last, sizeof own.last);
            continue;
        }
        place_low_bits(form, own, group, half, cell + (size_t)16 * lane);
        if (form == WEIGHT_U5 || form == WEIGHT_U5M) {
            or_word(plane + (size_t)4 * lane, (own.first >> 4 & 0x01010101u) << (4 * group + half) |
                                                  (own.last >> 4 & 0x01010101u)
                                                      << (4 * group + half + 2));
        } else if (form == WEIGHT_U6) {
            or_word(plane + (size_t)8 * lane + (size_t)4 * group,
                    (own.first >> 4 & 0x03030303u) << (2 * half) | (own.last >> 4 & 0x03030303u)
                                                                       << (2 * half + 4));
        }
    }
}

/* A file's block in the form's codes; elements = d * (code + offset) + minimum. */
static void read_block(enum weight_form form, enum tensor_type type, const uint8_t *row,
                       uint32_t index, struct plain_block *out)
{
    plain_block_read(type, row, index, out);
    if (form != WEIGHT_S8 && form != WEIGHT_E2M1)
        return;
    static const uint8_t magnitude_codes[13] = {0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7};
    for (int c = 0; c < 32; c++) {
        int value = out->codes[c] - 16;
        out->codes[c] =
            form == WEIGHT_S8
                ? out->codes[c] ^ 0x80
                : (uint8_t)(magnitude_codes[value < 0 ? -value : value] | (value < 0 ? 8 : 0));
    }
}

/* The power of two that brings an output's largest scale or minimum to 2^14 .. 2^15, inside of f16 with all below it. */
static float output_unit(enum weight_form form, enum tensor_type type, const uint8_t *row,
                         uint32_t n_groups)
{
    float highest = 0;
    for (uint32_t i = 0; i < n_groups; i++) {
        struct plain_block block;
        plain_block_read(type, row, i, &block);
        highest = fmaxf(highest, fabsf(block.d[0]));
        if (form == WEIGHT_U6)
            highest = fmaxf(highest, fabsf(block.d[1]));
        if (weight_form_has_minimums(form))
            highest = fmaxf(highest, fabsf(block.minimum));
    }
    if (!(highest > 0) || isinf(highest))
        return 1;
    int exponent;
    (void)frexpf(highest, &exponent);
    return ldexpf(1, exponent - 15);
}

static void place_scales(enum weight_form form, const struct plain_block *block, float unit,
                         uint32_t o, uint32_t group, uint8_t *cell)
{
    uint32_t bytes = weight_scale_bytes(form);
    uint8_t *at = cell + weight_scales_at(form) + (size_t)bytes * (o % 8) +
                  (size_t)bytes / 2 * group + (size_t)2 * (o / 8);
    place_u16(at, f32_to_f16(block->d[0] / unit));
    if (form == WEIGHT_U6)
        place_u16(at + 4, f32_to_f16(block->d[1] / unit));
    else if (weight_form_has_minimums(form))
        place_u16(at + 4, f32_to_f16(block->minimum / unit));
}

/* --- outputs, bands, pieces --- */

static void pack_coded_output(const struct weight_part *part, enum tensor_type type,
                              const uint8_t *row, uint32_t o, uint8_t *band)
{
    uint32_t n_groups = part->n_cols / WEIGHT_GROUP_COLS;
    float unit = output_unit(part->form, type, row, n_groups);
    memcpy(band + (size_t)4 * o, &unit, sizeof unit);
    for (uint32_t i = 0; i < n_groups; i++) {
        uint8_t *cell = band + WEIGHT_UNITS_BYTES + (size_t)(i / 2) * weight_cell_bytes(part->form);
        struct plain_block block;
        read_block(part->form, type, row, i, &block);
        place_codes(part->form, block.codes, o, i % 2, cell);
        place_scales(part->form, &block, unit, o, i % 2, cell);
    }
}

static void pack_f8_output(const struct weight_part *part, const uint8_t *row, uint32_t o,
                           uint8_t *band)
{
    for (uint32_t c = 0; c < part->n_cols; c += WEIGHT_GROUP_COLS) {
        uint8_t codes[WEIGHT_GROUP_COLS] = {0};
        uint32_t count =
            part->n_cols - c < WEIGHT_GROUP_COLS ? part->n_cols - c : WEIGHT_GROUP_COLS;
        memcpy(codes, row + c, count);
        place_codes(WEIGHT_F8, codes, o, c / WEIGHT_GROUP_COLS % 2,
                    band + (size_t)(c / WEIGHT_SPAN_COLS) * weight_cell_bytes(WEIGHT_F8));
    }
}

/* Output `output` of the part, into its band. */
static void pack_output(const struct weight_layout_part *part, const struct tensor_source *sources,
                        uint32_t output, uint8_t *band)
{
    const struct tensor_source *source = &sources[part->first_source];
    uint32_t row_index = output, o = output % WEIGHT_BAND_OUTPUTS;
    for (; row_index >= source->n_outputs; source++)
        row_index -= source->n_outputs;
    uint32_t elements, bytes;
    CHECK(tensor_type_block(source->type, &elements, &bytes));
    size_t row_bytes = (size_t)(source->n_cols / elements) * bytes;
    const uint8_t *row = (const uint8_t *)source->data + row_index * row_bytes;
    if (weight_form_is_rows(part->part.form))
        memcpy(band + (size_t)o * part->part.stride * bytes, row, row_bytes);
    else if (part->part.form == WEIGHT_F8)
        pack_f8_output(&part->part, row, o, band);
    else
        pack_coded_output(&part->part, source->type, row, o, band);
}

static const struct weight_layout_part *piece_part(const struct weight_layout *layout,
                                                   uint32_t index)
{
    CHECK(index < layout->piece_count);
    const struct weight_layout_part *part = &layout->parts[layout->part_count - 1];
    while (index < part->first_piece)
        part--;
    return part;
}

/* Piece `index` of a part (counted in it) as bands; false: it is a piece of its scales, counted from the first of those. */
static bool piece_bands(const struct weight_layout_part *part, uint32_t *index, uint32_t *first,
                        uint32_t *count)
{
    uint32_t pieces = (part->part.n_bands + part->piece_bands - 1) / part->piece_bands;
    if (*index >= pieces) {
        *index -= pieces;
        return false;
    }
    *first = *index * part->piece_bands;
    uint32_t left = part->part.n_bands - *first;
    *count = left < part->piece_bands ? left : part->piece_bands;
    return true;
}

struct weight_piece weight_layout_piece(const struct weight_layout *layout, uint32_t index)
{
    const struct weight_layout_part *part = piece_part(layout, index);
    uint32_t first, count;
    index -= part->first_piece;
    if (piece_bands(part, &index, &first, &count))
        return (struct weight_piece){part->data_offset + first * part->part.band_bytes,
                                     count * part->part.band_bytes};
    uint64_t offset = (uint64_t)index * WEIGHT_PIECE_BYTES, left = part->scales_bytes - offset;
    return (struct weight_piece){part->scales_offset + offset,
                                 left < WEIGHT_PIECE_BYTES ? left : WEIGHT_PIECE_BYTES};
}

void weight_piece_pack(const struct weight_layout *layout, const struct tensor_source *sources,
                       uint32_t index, uint8_t *out)
{
    struct weight_piece piece = weight_layout_piece(layout, index);
    const struct weight_layout_part *part = piece_part(layout, index);
    memset(out, 0, piece.bytes);
    if (piece.offset >= part->scales_offset) {
        const struct tensor_source *source = &sources[part->first_source];
        uint64_t first = piece.offset - part->scales_offset;
        uint64_t bytes = tensor_scale_count(source) * sizeof(float) - first;
        memcpy(out, (const uint8_t *)source->scales + first,
               bytes < piece.bytes ? bytes : piece.bytes);
        return;
    }
    uint64_t band_bytes = part->part.band_bytes;
    uint32_t first = (uint32_t)((piece.offset - part->data_offset) / band_bytes);
    uint32_t end = (first + (uint32_t)(piece.bytes / band_bytes)) * WEIGHT_BAND_OUTPUTS;
    for (uint32_t o = first * WEIGHT_BAND_OUTPUTS; o < end && o < part->part.n_outputs; o++)
        pack_output(part, sources, o, out + (o / WEIGHT_BAND_OUTPUTS - first) * band_bytes);
}

struct weight_view weight_layout_view(const struct weight_layout *layout, const void *base)
{
    struct weight_view view = {.n_outputs = layout->n_outputs,
                               .n_cols = layout->n_cols,
                               .part_count = layout->part_count,
                               .is_gated = layout->is_gated};
    for (uint32_t i = 0; i < layout->part_count; i++) {
        const struct weight_layout_part *from = &layout->parts[i];
        view.parts[i] = from->part;
        view.parts[i].data = (const uint8_t *)base + from->data_offset;
        if (from->scales_bytes > 0)
            view.parts[i].scales =
                (const float *)(const void *)((const uint8_t *)base + from->scales_offset);
    }
    return view;
}
