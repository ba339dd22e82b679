/* The tensor formats of GGUF files, defined in plain C.
 *
 * This file is the definition that everything else is compared with: the reference backend computes
 * with it, and the repacked layouts of the fast paths are tested against it. It follows ggml's
 * dequantize_row_* functions (ggml-quants.c) operation by operation, so that values agree to the
 * last bit; tests/data holds vectors made by the `gguf` Python package. It shares no code with the
 * repacking in cpu/, on purpose. */

#include "backend.h"

#include <stddef.h>

#include "check.h"
#include "half.h"

struct type_row {
    enum tensor_type type;
    const char *name;
    uint32_t elements;
    uint32_t bytes;
    void (*dequantise_block)(const uint8_t *block, float *out);
};

static void dequantise_f32(const uint8_t *block, float *out)
{
    memcpy(out, block, sizeof(float));
}

static void dequantise_f16(const uint8_t *block, float *out)
{
    *out = load_f16(block);
}

static void dequantise_bf16(const uint8_t *block, float *out)
{
    *out = bf16_to_f32(load_u16(block));
}

static void dequantise_q4_0(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    const uint8_t *qs = block + 2;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((qs[j] & 15) - 8) * d;
        out[j + 16] = (float)((qs[j] >> 4) - 8) * d;
    }
}

static void dequantise_q4_1(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    float m = load_f16(block + 2);
    const uint8_t *qs = block + 4;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(qs[j] & 15) * d + m;
        out[j + 16] = (float)(qs[j] >> 4) * d + m;
    }
}

static void dequantise_q5_0(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    uint32_t qh = load_u32(block + 2);
    const uint8_t *qs = block + 6;
    for (int j = 0; j < 16; j++) {
        int high_0 = (int)((qh >> j) & 1) << 4;
        int high_1 = (int)((qh >> (j + 16)) & 1) << 4;
        out[j] = (float)(((qs[j] & 15) | high_0) - 16) * d;
        out[j + 16] = (float)(((qs[j] >> 4) | high_1) - 16) * d;
    }
}

static void dequantise_q5_1(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    float m = load_f16(block + 2);
    uint32_t qh = load_u32(block + 4);
    const uint8_t *qs = block + 8;
    for (int j = 0; j < 16; j++) {
        int high_0 = (int)((qh >> j) & 1) << 4;
        int high_1 = (int)((qh >> (j + 16)) & 1) << 4;
        out[j] = (float)((qs[j] & 15) | high_0) * d + m;
        out[j + 16] = (float)((qs[j] >> 4) | high_1) * d + m;
    }
}

static void dequantise_q8_0(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    const int8_t *qs = (const int8_t *)(block + 2);
    for (int j = 0; j < 32; j++)
        out[j] = (float)qs[j] * d;
}

/* Scale and minimum `j` of 8 of a Q4_K or Q5_K block: 6 bits each, packed into 12 bytes. */
static void k_scale_min(const uint8_t *scales, int j, uint8_t *scale, uint8_t *minimum)
{
    if (j < 4) {
        *scale = scales[j] & 63;
        *minimum = scales[j + 4] & 63;
    } else {
        *scale = (uint8_t)((scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4));
        *minimum = (uint8_t)((scales[j + 4] >> 4) | ((scales[j] >> 6) << 4));
    }
}

static void dequantise_q4_k(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    float dmin = load_f16(block + 2);
    const uint8_t *scales = block + 4;
    const uint8_t *qs = block + 16;
    for (int j = 0; j < 8; j++) {
        uint8_t scale, minimum;
        k_scale_min(scales, j, &scale, &minimum);
        float d_sub = d * (float)scale;
        float m_sub = dmin * (float)minimum;
        const uint8_t *bytes = qs + 32 * (j / 2);
        for (int l = 0; l < 32; l++) {
            int q = (j & 1) ? bytes[l] >> 4 : bytes[l] & 15;
            out[32 * j + l] = d_sub * (float)q - m_sub;
        }
    }
}

static void dequantise_q5_k(const uint8_t *block, float *out)
{
    float d = load_f16(block);
    float dmin = load_f16(block + 2);
    const uint8_t *scales = block + 4;
    const uint8_t *qh = block + 16;
    const uint8_t *qs = block + 48;
    for (int j = 0; j < 8; j++) {
        uint8_t scale, minimum;
        k_scale_min(scales, j, &scale, &minimum);
        float d_sub = d * (float)scale;
        float m_sub = dmin * (float)minimum;
        const uint8_t *bytes = qs + 32 * (j / 2);
        for (int l = 0; l < 32; l++) {
            int q = (j & 1) ? bytes[l] >> 4 : bytes[l] & 15;
            q += ((qh[l] >> j) & 1) ? 16 : 0;
            out[32 * j + l] = d_sub * (float)q - m_sub;
        }
    }
}

static void dequantise_q6_k(const uint8_t *block, float *out)
{
    const uint8_t *ql = block;
    const uint8_t *qh = block + 128;
    const int8_t *scales = (const int8_t *)(block + 192);
    float d = load_f16(block + 208);
    for (int n = 0; n < 2; n++) {
        for (int l = 0; l < 32; l++) {
            int q[4] = {(ql[l] & 15) | (((qh[l] >> 0) & 3) << 4),
                        (ql[l + 32] & 15) | (((qh[l] >> 2) & 3) << 4),
                        (ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4),
                        (ql[l + 32] >> 4) | (((qh[l] >> 6) & 3) << 4)};
            for (int k = 0; k < 4; k++)
                out[l + 32 * k] = d * (float)scales[l / 16 + 2 * k] * (float)(q[k] - 32);
        }
        out += 128;
        ql += 64;
        qh += 32;
        scales += 8;
    }
}

/* OCP Microscaling Formats 1.0: 32 elements of 4 bits (E2M1) under a power of two (E8M0). ggml's order of nibbles. */
static void dequantise_mxfp4(const uint8_t *block, float *out)
{
    static const float values[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                     -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    float d = e8m0_to_f32(block[0]);
    for (int j = 0; j < 16; j++) {
        out[j] = values[block[1 + j] & 15] * d;
        out[j + 16] = values[block[1 + j] >> 4] * d;
    }
}

/* Without its scale. */
static void dequantise_f8_e4m3(const uint8_t *block, float *out)
{
    *out = f8_e4m3_to_f32(*block);
}

static const struct type_row type_rows[] = {
    {TENSOR_F32, "F32", 1, 4, dequantise_f32},
    {TENSOR_F16, "F16", 1, 2, dequantise_f16},
    {TENSOR_BF16, "BF16", 1, 2, dequantise_bf16},
    {TENSOR_Q4_0, "Q4_0", 32, 18, dequantise_q4_0},
    {TENSOR_Q4_1, "Q4_1", 32, 20, dequantise_q4_1},
    {TENSOR_Q5_0, "Q5_0", 32, 22, dequantise_q5_0},
    {TENSOR_Q5_1, "Q5_1", 32, 24, dequantise_q5_1},
    {TENSOR_Q8_0, "Q8_0", 32, 34, dequantise_q8_0},
    {TENSOR_Q4_K, "Q4_K", 256, 144, dequantise_q4_k},
    {TENSOR_Q5_K, "Q5_K", 256, 176, dequantise_q5_k},
    {TENSOR_Q6_K, "Q6_K", 256, 210, dequantise_q6_k},
    {TENSOR_MXFP4, "MXFP4", 32, 17, dequantise_mxfp4},
    {TENSOR_F8_E4M3, "F8_E4M3", 1, 1, dequantise_f8_e4m3},
};

static const struct type_row *type_find(enum tensor_type type)
{
    for (size_t i = 0; i < ARRAY_COUNT(type_rows); i++)
        if (type_rows[i].type == type)
            return &type_rows[i];
    return NULL;
}

bool tensor_type_block(enum tensor_type type, uint32_t *elements, uint32_t *bytes)
{
    const struct type_row *row = type_find(type);
    if (row == NULL)
        return false;
    *elements = row->elements;
    *bytes = row->bytes;
    return true;
}

const char *tensor_type_name(enum tensor_type type)
{
    const struct type_row *row = type_find(type);
    return row != NULL ? row->name : "unknown";
}

bool tensor_type_is_float(enum tensor_type type)
{
    return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16 ||
           type == TENSOR_F8_E4M3;
}

void tensor_dequantise(const struct tensor_source *source, uint32_t row, uint32_t first,
                       uint32_t count, float *out)
{
    const struct type_row *type = type_find(source->type);
    CHECK(type != NULL && row < source->n_outputs);
    CHECK(first % type->elements == 0 && count % type->elements == 0);
    CHECK(first <= source->n_cols && count <= source->n_cols - first);
    size_t row_bytes = (size_t)(source->n_cols / type->elements) * type->bytes;
    const uint8_t *block = (const uint8_t *)source->data + row * row_bytes +
                           (size_t)(first / type->elements) * type->bytes;
    for (uint32_t done = 0; done < count; done += type->elements) {
        type->dequantise_block(block, out + done);
        block += type->bytes;
    }
    if (source->type != TENSOR_F8_E4M3)
        return;
    uint64_t parts = ((uint64_t)source->n_cols + source->scale_cols - 1) / source->scale_cols;
    const float *scales = source->scales + row / source->scale_outputs * parts;
    for (uint32_t i = 0; i < count; i++)
        out[i] *= scales[(first + i) / source->scale_cols];
}
