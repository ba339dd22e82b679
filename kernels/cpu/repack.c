/* From GGUF's blocks to the layout of layout.h, and back for embedding rows.
 *
 * Packing goes output by output and span by span: unpack to plain codes with a scale and a minimum,
 * then place them. Formats scaled by integers get their span's scale D from its largest blocks; their
 * own scales and minima become multiples of it, to 2^-15 of the largest. */

#include "repack.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "half.h"
#include "plain_block.h"

static void place_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void place_codes(enum weight_format format, const struct plain_block *in, uint32_t o,
                        uint8_t *block)
{
    if (format == FORMAT_U8) {
        for (int s = 0; s < 8; s++)
            memcpy(block + 64 * s + 4 * o, in->codes + 4 * s, 4);
        return;
    }
    for (int l = 0; l < 4; l++) {
        uint32_t low = load_u32(in->codes + 4 * l) & 0x0f0f0f0fu;
        uint32_t high = load_u32(in->codes + 16 + 4 * l) & 0x0f0f0f0fu;
        uint32_t word = low | high << 4;
        memcpy(block + 64 * l + 4 * o, &word, 4);
    }
    uint8_t *bits = block + NIBBLE_BYTES;
    if (format == FORMAT_S5) {
        uint32_t word = 0;
        for (int s = 0; s < 8; s++)
            word |= (load_u32(in->codes + 4 * s) >> 4 & 0x01010101u) << s;
        memcpy(bits + 4 * o, &word, 4);
    } else if (format == FORMAT_U6) {
        for (int h = 0; h < 2; h++) {
            uint32_t word = 0;
            for (int t = 0; t < 4; t++)
                word |= (load_u32(in->codes + 16 * h + 4 * t) >> 4 & 0x03030303u) << (2 * t);
            memcpy(bits + 64 * h + 4 * o, &word, 4);
        }
    }
}

/* Scales of U6 and U8. Those of Q6_K are products (d * 8-bit scale) and are rounded to f16 once:
 * 2^-12 relative, far below the step of the codes themselves. */
static void place_plain_scales(enum weight_format format, const struct plain_block *in, uint32_t o,
                               uint8_t *block)
{
    uint8_t *scales = block + SCALES_AT(format) + 2 * (size_t)o;
    place_u16(scales, f32_to_f16(in->d[0]));
    if (format == FORMAT_U6)
        place_u16(scales + 32, f32_to_f16(in->d[1]));
}

/* A block's scale, and its minimum behind the offset, in units of the span's D. */
static int16_t whole_units(float value, float unit)
{
    return unit > 0 ? (int16_t)lrintf(value / unit) : 0;
}

static float centred_minimum(enum weight_format format, const struct plain_block *in)
{
    return (in->minimum + (float)FORMAT_OFFSET(format) * in->d[0]) / 8;
}

/* The smallest D with which the span's sum stays within 32 bits, rounding of the units included. */
static float span_unit(enum weight_format format, const struct plain_block *blocks,
                       uint32_t n_blocks)
{
    float parts = format == FORMAT_S5 ? 2 : 1, highest = 0;
    for (uint32_t b = 0; b < n_blocks; b++)
        highest = fmaxf(highest,
                        parts * fabsf(blocks[b].d[0]) + fabsf(centred_minimum(format, &blocks[b])));
    return highest / (float)(SPAN_SCALE_MAX - 2);
}

static void place_span_scales(enum weight_format format, const struct plain_block *blocks,
                              uint32_t n_blocks, uint32_t o, uint8_t *span)
{
    float unit = span_unit(format, blocks, n_blocks);
    for (uint32_t b = 0; b < n_blocks; b++) {
        uint8_t *scales =
            span + (size_t)b * BLOCK_BYTES(format) + SCALES_AT(format) + 4 * (size_t)o;
        place_u16(scales, (uint16_t)whole_units(blocks[b].d[0], unit));
        place_u16(scales + 2, (uint16_t)whole_units(centred_minimum(format, &blocks[b]), unit));
    }
    memcpy(span + (size_t)n_blocks * BLOCK_BYTES(format) + 4 * (size_t)o, &unit, sizeof(unit));
}

struct repack_job {
    const struct tensor_source *source;
    struct segment *segment;
};

static void pack_quantised_output(const struct repack_job *job, uint32_t output, uint8_t *group)
{
    const struct tensor_source *source = job->source;
    uint32_t elements, bytes;
    tensor_type_block(source->type, &elements, &bytes);
    size_t row_bytes = (size_t)(source->n_cols / elements) * bytes;
    const uint8_t *row = (const uint8_t *)source->data + output * row_bytes;
    enum weight_format format = job->segment->format;
    uint32_t n_blocks = source->n_cols / BLOCK_COLS, o = output % GROUP_OUTPUTS;
    for (uint32_t first = 0; first < n_blocks; first += SPAN_BLOCKS) {
        struct plain_block blocks[SPAN_BLOCKS];
        uint32_t count = n_blocks - first < SPAN_BLOCKS ? n_blocks - first : SPAN_BLOCKS;
        uint8_t *span = group + block_offset(format, first);
        for (uint32_t b = 0; b < count; b++) {
            plain_block_read(source->type, row, first + b, &blocks[b]);
            uint8_t *block = span + (size_t)b * BLOCK_BYTES(format);
            place_codes(format, &blocks[b], o, block);
            if (!FORMAT_IS_SCALED(format))
                place_plain_scales(format, &blocks[b], o, block);
        }
        if (FORMAT_IS_SCALED(format))
            place_span_scales(format, blocks, count, o, span);
    }
}

static void pack_f8_output(const struct repack_job *job, uint32_t output, uint8_t *group)
{
    const struct tensor_source *source = job->source;
    uint32_t n_cols = source->n_cols, part_cols = job->segment->part_cols;
    uint32_t o = output % GROUP_OUTPUTS;
    uint64_t parts = ((uint64_t)n_cols + part_cols - 1) / part_cols;
    const uint8_t *row = (const uint8_t *)source->data + (size_t)output * n_cols;
    const float *scales = source->scales + output / source->scale_outputs * parts;
    for (uint32_t first = 0; first < n_cols; first += part_cols) {
        uint8_t *part = group + f8_part_offset(part_cols, first);
        float scale = scales[first / part_cols] * F8_AS_HALF;
        memcpy(part + o * sizeof scale, &scale, sizeof scale);
        for (uint32_t c = first; c < n_cols && c < first + part_cols; c++)
            part[F8_SCALE_BYTES + (size_t)(c - first) * GROUP_OUTPUTS + o] = row[c];
    }
}

static void pack_float_output(const struct repack_job *job, uint32_t output, uint8_t *group)
{
    size_t bytes = job->segment->format == FORMAT_F32 ? 4 : 2;
    uint32_t n_cols = job->source->n_cols;
    const uint8_t *row = (const uint8_t *)job->source->data + (size_t)output * n_cols * bytes;
    uint8_t *lane = group + output % GROUP_OUTPUTS * bytes;
    for (uint32_t c = 0; c < n_cols; c++)
        memcpy(lane + c * GROUP_OUTPUTS * bytes, row + c * bytes, bytes);
}

static void repack_groups(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct repack_job *job = context;
    const struct segment *segment = job->segment;
    for (uint32_t g = first; g < first + count; g++) {
        uint8_t *group = segment->data + g * segment->group_bytes;
        memset(group, 0, segment->group_bytes);
        for (uint32_t o = g * GROUP_OUTPUTS; o < (g + 1) * GROUP_OUTPUTS && o < segment->n_outputs;
             o++) {
            if (segment->format == FORMAT_F8)
                pack_f8_output(job, o, group);
            else if (FORMAT_IS_FLOAT(segment->format))
                pack_float_output(job, o, group);
            else
                pack_quantised_output(job, o, group);
        }
    }
}

bool repack_format(enum tensor_type type, enum weight_format *out)
{
    switch (type) {
    case TENSOR_F32:
        *out = FORMAT_F32;
        return true;
    case TENSOR_F16:
        *out = FORMAT_F16;
        return true;
    case TENSOR_BF16:
        *out = FORMAT_BF16;
        return true;
    case TENSOR_Q4_0:
    case TENSOR_Q4_1:
    case TENSOR_Q4_K:
        *out = FORMAT_S4;
        return true;
    case TENSOR_Q5_0:
    case TENSOR_Q5_1:
    case TENSOR_Q5_K:
    case TENSOR_MXFP4:
        *out = FORMAT_S5;
        return true;
    case TENSOR_Q6_K:
        *out = FORMAT_U6;
        return true;
    case TENSOR_Q8_0:
        *out = FORMAT_U8;
        return true;
    case TENSOR_F8_E4M3:
        *out = FORMAT_F8;
        return true;
    }
    return false;
}

void repack_segment(struct team *team, const struct tensor_source *source, struct segment *segment)
{
    struct repack_job job = {source, segment};
    team_run(team, segment->n_groups, 1, repack_groups, &job);
}

/* Column `column` of 32 of output `o` in a block. */
static uint32_t block_code(enum weight_format format, const uint8_t *block, uint32_t o,
                           uint32_t column)
{
    uint32_t step = column / 4;
    uint32_t byte = 4 * o + column % 4;
    if (format == FORMAT_U8)
        return block[64 * step + byte];
    uint32_t pair = block[64 * (step % 4) + byte];
    uint32_t code = step < 4 ? pair & 15 : pair >> 4;
    const uint8_t *bits = block + NIBBLE_BYTES;
    if (format == FORMAT_S5)
        code |= (uint32_t)(bits[byte] >> step & 1) << 4;
    else if (format == FORMAT_U6)
        code |= (uint32_t)(bits[64 * (step / 4) + byte] >> (2 * (step % 4)) & 3) << 4;
    return code;
}

/* d and minimum of columns 0..15 and 16..31 of output `o` in block `b` of a group. */
static void read_scales(const struct segment *segment, const uint8_t *group, uint32_t b, uint32_t o,
                        float d[2], float minimum[2])
{
    enum weight_format format = segment->format;
    const uint8_t *scales = group + block_offset(format, b) + SCALES_AT(format);
    float offset = (float)FORMAT_OFFSET(format), second = 0;
    if (FORMAT_IS_SCALED(format)) {
        uint32_t end = b / SPAN_BLOCKS * SPAN_BLOCKS + SPAN_BLOCKS;
        uint32_t n_blocks = segment->n_cols / BLOCK_COLS;
        const uint8_t *tail = group + block_offset(format, end <= n_blocks ? end : n_blocks) -
                              (end <= n_blocks ? SPAN_TAIL_BYTES(format) : 0);
        float unit = bits_to_f32(load_u32(tail + 4 * (size_t)o));
        d[0] = d[1] = unit * (float)(int16_t)load_u16(scales + 4 * (size_t)o);
        second = unit * 8 * (float)(int16_t)load_u16(scales + 4 * (size_t)o + 2);
    } else {
        d[0] = load_f16(scales + 2 * (size_t)o);
        d[1] = format == FORMAT_U6 ? load_f16(scales + 32 + 2 * (size_t)o) : d[0];
    }
    minimum[0] = second - offset * d[0];
    minimum[1] = second - offset * d[1];
}

static void read_quantised_block(const struct segment *segment, const uint8_t *group, uint32_t b,
                                 uint32_t o, float scale, float *out)
{
    float d[2], minimum[2];
    read_scales(segment, group, b, o, d, minimum);
    const uint8_t *block = group + block_offset(segment->format, b);
    for (uint32_t c = 0; c < BLOCK_COLS; c++)
        out[c] =
            scale * (d[c / 16] * (float)block_code(segment->format, block, o, c) + minimum[c / 16]);
}

static void read_f8_row(const struct segment *segment, const uint8_t *group, uint32_t o,
                        float scale, float *out)
{
    uint32_t part_cols = segment->part_cols;
    for (uint32_t c = 0; c < segment->n_cols; c++) {
        const uint8_t *part = group + f8_part_offset(part_cols, c - c % part_cols);
        float factor = bits_to_f32(load_u32(part + 4 * (size_t)o)) / F8_AS_HALF;
        uint8_t bits = part[F8_SCALE_BYTES + (size_t)(c % part_cols) * GROUP_OUTPUTS + o];
        out[c] = scale * factor * f8_e4m3_to_f32(bits);
    }
}

void segment_read_row(const struct segment *segment, uint32_t output, float scale, float *out)
{
    CHECK(output < segment->n_outputs);
    const uint8_t *group = segment->data + output / GROUP_OUTPUTS * segment->group_bytes;
    uint32_t o = output % GROUP_OUTPUTS;
    enum weight_format format = segment->format;
    if (!FORMAT_IS_FLOAT(format)) {
        for (uint32_t b = 0; b < segment->n_cols / BLOCK_COLS; b++)
            read_quantised_block(segment, group, b, o, scale, out + (size_t)b * BLOCK_COLS);
        return;
    }
    if (format == FORMAT_F8) {
        read_f8_row(segment, group, o, scale, out);
        return;
    }
    size_t bytes = format == FORMAT_F32 ? 4 : 2;
    for (uint32_t c = 0; c < segment->n_cols; c++) {
        const uint8_t *at = group + ((size_t)c * GROUP_OUTPUTS + o) * bytes;
        float value = format == FORMAT_F32   ? bits_to_f32(load_u32(at))
                      : format == FORMAT_F16 ? load_f16(at)
                                             : bf16_to_f32(load_u16(at));
        out[c] = scale * value;
    }
}
