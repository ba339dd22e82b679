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

/* 32 columns of one output. */
struct plain_block {
    uint8_t codes[32];
    float d[2];    /* the second only for U6 */
    float minimum; /* element = d * code + minimum; unused by U6 and U8, whose minimum is
                      -offset * d */
};

static void split_nibbles(const uint8_t *qs, uint8_t *codes)
{
    for (int j = 0; j < 16; j++) {
        codes[j] = qs[j] & 15;
        codes[j + 16] = qs[j] >> 4;
    }
}

static void add_fifth_bits(uint32_t qh, uint8_t *codes)
{
    for (int j = 0; j < 32; j++)
        codes[j] |= (uint8_t)(((qh >> j) & 1) << 4);
}

static void read_simple(enum tensor_type type, const uint8_t *block, struct plain_block *out)
{
    out->d[0] = load_f16(block);
    switch (type) {
    case TENSOR_Q4_0:
        out->minimum = -8 * out->d[0];
        split_nibbles(block + 2, out->codes);
        break;
    case TENSOR_Q4_1:
        out->minimum = load_f16(block + 2);
        split_nibbles(block + 4, out->codes);
        break;
    case TENSOR_Q5_0:
        out->minimum = -16 * out->d[0];
        split_nibbles(block + 6, out->codes);
        add_fifth_bits(load_u32(block + 2), out->codes);
        break;
    case TENSOR_Q5_1:
        out->minimum = load_f16(block + 2);
        split_nibbles(block + 8, out->codes);
        add_fifth_bits(load_u32(block + 4), out->codes);
        break;
    default: /* Q8_0 */
        for (int j = 0; j < 32; j++)
            out->codes[j] = block[2 + j] ^ 0x80; /* signed to offset 128 */
        break;
    }
}

/* Part `j` of 8 of a Q4_K or Q5_K block; `qs` are the low nibbles. */
static void read_k4(const uint8_t *block, const uint8_t *qs, uint32_t j, struct plain_block *out)
{
    const uint8_t *scales = block + 4;
    uint32_t scale, minimum;
    if (j < 4) {
        scale = scales[j] & 63;
        minimum = scales[j + 4] & 63;
    } else {
        scale = (uint32_t)(scales[j + 4] & 15) | (uint32_t)(scales[j - 4] >> 6) << 4;
        minimum = (uint32_t)(scales[j + 4] >> 4) | (uint32_t)(scales[j] >> 6) << 4;
    }
    out->d[0] = load_f16(block) * (float)scale;
    out->minimum = -load_f16(block + 2) * (float)minimum;
    const uint8_t *bytes = qs + 32 * (size_t)(j / 2);
    for (int l = 0; l < 32; l++)
        out->codes[l] = (j & 1) != 0 ? bytes[l] >> 4 : bytes[l] & 15;
}

static void read_q6_k(const uint8_t *block, uint32_t j, struct plain_block *out)
{
    const uint8_t *ql = block + 64 * (size_t)(j / 4) + 32 * (size_t)(j & 1);
    const uint8_t *qh = block + 128 + 32 * (size_t)(j / 4);
    const int8_t *scales =
        (const int8_t *)(block + 192 + 8 * (size_t)(j / 4) + 2 * (size_t)(j & 3));
    float d = load_f16(block + 208);
    for (int half = 0; half < 2; half++)
        out->d[half] = d * (float)scales[half];
    for (int l = 0; l < 32; l++) {
        uint32_t low = (j & 2) != 0 ? ql[l] >> 4 : ql[l] & 15u;
        uint32_t high = (uint32_t)(qh[l] >> (2 * (j & 3))) & 3u;
        out->codes[l] = (uint8_t)(low | high << 4);
    }
}

/* Twice an element is a whole number from -12 to 12, which fits the five bits of S5. */
static void read_mxfp4(const uint8_t *block, struct plain_block *out)
{
    static const uint8_t codes[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                      16, 15, 14, 13, 12, 10, 8,  4}; /* 16 + 2 * element */
    out->d[0] = e8m0_to_f32(block[0]) / 2;
    out->minimum = -16 * out->d[0];
    split_nibbles(block + 1, out->codes);
    for (int j = 0; j < 32; j++)
        out->codes[j] = codes[out->codes[j]];
}

/* Block `b` (of 32 columns) of a row that begins at `row`. */
static void read_block(enum tensor_type type, const uint8_t *row, uint32_t b,
                       struct plain_block *out)
{
    uint32_t elements, bytes;
    tensor_type_block(type, &elements, &bytes);
    uint32_t parts = elements / BLOCK_COLS;
    const uint8_t *block = row + (size_t)(b / parts) * bytes;
    if (type == TENSOR_Q4_K) {
        read_k4(block, block + 16, b % parts, out);
    } else if (type == TENSOR_Q5_K) {
        read_k4(block, block + 48, b % parts, out);
        for (int l = 0; l < 32; l++)
            out->codes[l] |= (uint8_t)(((block[16 + l] >> (b % parts)) & 1) << 4);
    } else if (type == TENSOR_Q6_K) {
        read_q6_k(block, b % parts, out);
    } else if (type == TENSOR_MXFP4) {
        read_mxfp4(block, out);
    } else {
        read_simple(type, block, out);
    }
}

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
            read_block(source->type, row, first + b, &blocks[b]);
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
