/* Blocks of GGUF's coded formats as 32 codes and their scale. */
#include "plain_block.h"

#include "half.h"

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

void plain_block_read(enum tensor_type type, const uint8_t *row, uint32_t index,
                      struct plain_block *out)
{
    uint32_t elements, bytes;
    tensor_type_block(type, &elements, &bytes);
    uint32_t parts = elements / PLAIN_BLOCK_COLS;
    const uint8_t *block = row + (size_t)(index / parts) * bytes;
    if (type == TENSOR_Q4_K) {
        read_k4(block, block + 16, index % parts, out);
    } else if (type == TENSOR_Q5_K) {
        read_k4(block, block + 48, index % parts, out);
        for (int l = 0; l < 32; l++)
            out->codes[l] |= (uint8_t)(((block[16 + l] >> (index % parts)) & 1) << 4);
    } else if (type == TENSOR_Q6_K) {
        read_q6_k(block, index % parts, out);
    } else if (type == TENSOR_MXFP4) {
        read_mxfp4(block, out);
    } else {
        read_simple(type, block, out);
    }
}
