#ifndef PENSTOCK_KERNELS_CUDA_WEIGHT_UNPACK_H
#define PENSTOCK_KERNELS_CUDA_WEIGHT_UNPACK_H

#include "device.h"
#include "weights.h"

/* From the bytes of weights.h to codes and values, for kernels. A lane is 4 g + t of its warp; its outputs are g and g + 8 of
 * the band and its columns 8 t .. 8 t + 7 of each group. */

/* Facts of a form as constants: device code may use those, but call no function that is not its own. */
template <enum weight_form FORM> inline constexpr bool IS_ROWS = weight_form_is_rows(FORM);
template <enum weight_form FORM> inline constexpr bool IS_CODED = weight_form_is_coded(FORM);
template <enum weight_form FORM> inline constexpr bool IS_BYTES = weight_form_is_bytes(FORM);
template <enum weight_form FORM>
inline constexpr bool HAS_MINIMUMS = weight_form_has_minimums(FORM);
template <enum weight_form FORM> inline constexpr uint32_t CELL_BYTES = weight_cell_bytes(FORM);
template <enum weight_form FORM> inline constexpr uint32_t PLANE_AT = weight_plane_at(FORM);
template <enum weight_form FORM> inline constexpr uint32_t PLANE_BYTES = weight_plane_bytes(FORM);
template <enum weight_form FORM> inline constexpr uint32_t SCALES_AT = weight_scales_at(FORM);
template <enum weight_form FORM> inline constexpr uint32_t SCALE_BYTES = weight_scale_bytes(FORM);
template <enum weight_form FORM>
inline constexpr uint32_t UNITS_BYTES = weight_band_units_bytes(FORM);
template <enum weight_form FORM>
inline constexpr uint32_t ELEMENT_BYTES = weight_element_bytes(FORM);
template <enum weight_form FORM> inline constexpr int CODE_OFFSET = weight_form_offset(FORM);

/* What a lane has of a cell. */
template <enum weight_form FORM> struct cell_share {
    k_u4 codes[IS_BYTES<FORM> ? 2 : 1];
    uint32_t plane[FORM == WEIGHT_U6 ? 2 : 1];
    uint32_t scales[SCALE_BYTES<FORM> == 16 ? 4 : 2];
};

K_DEVICE void load_words(const uint8_t *from, uint32_t to[2])
{
    uint64_t both = *(const uint64_t *)(const void *)from;
    to[0] = (uint32_t)both;
    to[1] = (uint32_t)(both >> 32);
}

/* Of a cell in global memory. Codes are read past L1: nobody reads them again, and the activation stays in it. */
template <enum weight_form FORM>
K_DEVICE cell_share<FORM> cell_load(const uint8_t *cell, uint32_t lane)
{
    cell_share<FORM> share;
    share.codes[0] = k_load16_stream(cell + 16 * lane);
    if constexpr (IS_BYTES<FORM>)
        share.codes[1] = k_load16_stream(cell + 512 + 16 * lane);
    const uint8_t *plane = cell + PLANE_AT<FORM> + PLANE_BYTES<FORM> * lane;
    if constexpr (PLANE_BYTES<FORM> == 4)
        share.plane[0] = *(const uint32_t *)(const void *)plane;
    if constexpr (PLANE_BYTES<FORM> == 8)
        load_words(plane, share.plane);
    const uint8_t *scales = cell + SCALES_AT<FORM> + SCALE_BYTES<FORM> * (lane / 4);
    if constexpr (SCALE_BYTES<FORM> == 8)
        load_words(scales, share.scales);
    if constexpr (SCALE_BYTES<FORM> == 16) {
        k_u4 words = k_load16(scales);
        share.scales[0] = words.x;
        share.scales[1] = words.y;
        share.scales[2] = words.z;
        share.scales[3] = words.w;
    }
    return share;
}

/* Four E2M1 elements, the lowest first, as four signed bytes of twice their value. */
K_DEVICE uint32_t e2m1_codes(uint32_t elements)
{
    uint32_t magnitudes = elements & 0x7777u;
    uint32_t positive = k_byte_permute(0x03020100u, 0x0c080604u, magnitudes);
    uint32_t negative = k_byte_permute(0xfdfeff00u, 0xf4f8fafcu, magnitudes);
    return k_byte_permute(positive, negative, 0x3210u + (elements >> 1 & 0x4444u));
}

/* The codes of a group (0 or 1 of the cell), without their offset, as the four registers of a tensor core's operand of int8:
 * (g, first four columns), (g + 8, first four), (g, last four), (g + 8, last four). F8's bytes likewise. */
template <enum weight_form FORM>
K_DEVICE void cell_codes(const cell_share<FORM> &share, uint32_t group, uint32_t a[4])
{
    if constexpr (IS_BYTES<FORM>) {
        k_u4 words = share.codes[group];
        a[0] = words.x;
        a[1] = words.y;
        a[2] = words.z;
        a[3] = words.w;
        return;
    }
    uint32_t lower = group == 0 ? share.codes[0].x : share.codes[0].z;
    uint32_t upper = group == 0 ? share.codes[0].y : share.codes[0].w;
    if constexpr (FORM == WEIGHT_E2M1) {
        a[0] = e2m1_codes(lower & 0xffffu);
        a[1] = e2m1_codes(upper & 0xffffu);
        a[2] = e2m1_codes(lower >> 16);
        a[3] = e2m1_codes(upper >> 16);
        return;
    }
    a[0] = lower & 0x0f0f0f0fu;
    a[1] = upper & 0x0f0f0f0fu;
    a[2] = lower >> 4 & 0x0f0f0f0fu;
    a[3] = upper >> 4 & 0x0f0f0f0fu;
    K_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        if constexpr (PLANE_BYTES<FORM> == 4)
            a[r] |= (share.plane[0] >> (4 * group + r) & 0x01010101u) << 4;
        if constexpr (PLANE_BYTES<FORM> == 8)
            a[r] |= (share.plane[group] >> (2 * r) & 0x03030303u) << 4;
    }
}

/* What a group's codes are multiplied with, in units: outputs g and g + 8. */
struct group_scales {
    float scale[2];
    float second[2]; /* U6: of columns 16 .. 31; forms with minimums: the minimum */
};

template <enum weight_form FORM>
K_DEVICE group_scales cell_scales(const cell_share<FORM> &share, uint32_t group)
{
    constexpr uint32_t words = SCALE_BYTES<FORM> / 8;
    uint32_t pair = share.scales[words * group];
    group_scales scales = {{k_f16_to_float((uint16_t)pair), k_f16_to_float((uint16_t)(pair >> 16))},
                           {0.0f, 0.0f}};
    if constexpr (words == 2) {
        pair = share.scales[2 * group + 1];
        scales.second[0] = k_f16_to_float((uint16_t)pair);
        scales.second[1] = k_f16_to_float((uint16_t)(pair >> 16));
    }
    return scales;
}

/* F8: the factor of an output and a group of 32 columns, counted over the row. */
K_DEVICE float part_f8_scale(const struct weight_part &part, uint32_t output, uint32_t group)
{
    uint32_t column = (uint32_t)((uint64_t)group * part.scale_inverse >> 31);
    return part.scales[(uint64_t)(output / part.scale_outputs) * part.scale_stride + column];
}

/* Byte b of a register of codes, as a number. */
template <enum weight_form FORM> K_DEVICE float code_value(uint32_t codes, uint32_t b)
{
    uint8_t byte = (uint8_t)(codes >> 8 * b);
    if constexpr (FORM == WEIGHT_F8)
        return k_e4m3_to_float(byte);
    return (float)((int)(int8_t)byte + CODE_OFFSET<FORM>);
}

/* A group's eight elements of output g (lower) and of g + 8 (upper), in units of their outputs (of F8: without its factors). */
template <enum weight_form FORM>
K_DEVICE void cell_values(const cell_share<FORM> &share, uint32_t group, uint32_t lane,
                          float lower[8], float upper[8])
{
    uint32_t a[4];
    cell_codes<FORM>(share, group, a);
    group_scales scales = {{1.0f, 1.0f}, {0.0f, 0.0f}};
    if constexpr (FORM != WEIGHT_F8)
        scales = cell_scales<FORM>(share, group);
    bool is_second = FORM == WEIGHT_U6 && (lane & 2) != 0;
    float minimum[2] = {0.0f, 0.0f};
    if constexpr (HAS_MINIMUMS<FORM>) {
        minimum[0] = scales.second[0];
        minimum[1] = scales.second[1];
    }
    float scale[2] = {is_second ? scales.second[0] : scales.scale[0],
                      is_second ? scales.second[1] : scales.scale[1]};
    K_UNROLL
    for (uint32_t b = 0; b < 4; b++) {
        lower[b] = fmaf(scale[0], code_value<FORM>(a[0], b), minimum[0]);
        upper[b] = fmaf(scale[1], code_value<FORM>(a[1], b), minimum[1]);
        lower[b + 4] = fmaf(scale[0], code_value<FORM>(a[2], b), minimum[0]);
        upper[b + 4] = fmaf(scale[1], code_value<FORM>(a[3], b), minimum[1]);
    }
}

K_DEVICE const uint8_t *part_band(const struct weight_part &part, uint32_t band)
{
    return part.data + (uint64_t)band * part.band_bytes;
}

/* What the sum of output o (0 .. 15) of a band is multiplied with. */
template <enum weight_form FORM> K_DEVICE float band_unit(const uint8_t *band, uint32_t o)
{
    if constexpr (IS_CODED<FORM>)
        return ((const float *)(const void *)band)[o];
    return 1.0f;
}

/* Eight whole elements of one output, from a column that is a multiple of 8: unit, scales and factors in. */
template <enum weight_form FORM>
K_DEVICE void part_read(const struct weight_part &part, uint32_t output, uint32_t column,
                        float out[8])
{
    const uint8_t *band = part_band(part, output / WEIGHT_BAND_OUTPUTS);
    uint32_t o = output % WEIGHT_BAND_OUTPUTS;
    if constexpr (IS_ROWS<FORM>) {
        const uint8_t *at = band + ((uint64_t)o * part.stride + column) * ELEMENT_BYTES<FORM>;
        for (uint32_t i = 0; i < 8; i++)
            out[i] = FORM == WEIGHT_F32 ? ((const float *)(const void *)at)[i]
                     : FORM == WEIGHT_F16
                         ? k_f16_to_float(((const uint16_t *)(const void *)at)[i])
                         : k_bf16_to_float(((const uint16_t *)(const void *)at)[i]);
        return;
    }
    const uint8_t *cell =
        band + UNITS_BYTES<FORM> + (uint64_t)(column / WEIGHT_SPAN_COLS) * CELL_BYTES<FORM>;
    uint32_t lane = 4 * (o % 8) + column % WEIGHT_GROUP_COLS / 8;
    uint32_t group = column / WEIGHT_GROUP_COLS;
    float values[2][8];
    cell_values<FORM>(cell_load<FORM>(cell, lane), group % 2, lane, values[0], values[1]);
    float factor = band_unit<FORM>(band, o);
    if constexpr (FORM == WEIGHT_F8)
        factor = part_f8_scale(part, output, group);
    for (uint32_t i = 0; i < 8; i++)
        out[i] = factor * (o < 8 ? values[0][i] : values[1][i]);
}

/* Calls BODY(form) with the part's form as a constant, for kernels and launches that have an instance for each. */
#define WEIGHT_FORM_SWITCH(form, BODY)                                                             \
    switch (form) {                                                                                \
    case WEIGHT_F32:                                                                               \
        BODY(WEIGHT_F32);                                                                          \
        break;                                                                                     \
    case WEIGHT_F16:                                                                               \
        BODY(WEIGHT_F16);                                                                          \
        break;                                                                                     \
    case WEIGHT_BF16:                                                                              \
        BODY(WEIGHT_BF16);                                                                         \
        break;                                                                                     \
        WEIGHT_CELL_CASES(BODY)                                                                    \
    default:                                                                                       \
        break;                                                                                     \
    }

#define WEIGHT_CELL_CASES(BODY)                                                                    \
    case WEIGHT_F8:                                                                                \
        BODY(WEIGHT_F8);                                                                           \
        break;                                                                                     \
    case WEIGHT_U4:                                                                                \
        BODY(WEIGHT_U4);                                                                           \
        break;                                                                                     \
    case WEIGHT_U4M:                                                                               \
        BODY(WEIGHT_U4M);                                                                          \
        break;                                                                                     \
    case WEIGHT_U5:                                                                                \
        BODY(WEIGHT_U5);                                                                           \
        break;                                                                                     \
    case WEIGHT_U5M:                                                                               \
        BODY(WEIGHT_U5M);                                                                          \
        break;                                                                                     \
    case WEIGHT_U6:                                                                                \
        BODY(WEIGHT_U6);                                                                           \
        break;                                                                                     \
    case WEIGHT_S8:                                                                                \
        BODY(WEIGHT_S8);                                                                           \
        break;                                                                                     \
    case WEIGHT_E2M1:                                                                              \
        BODY(WEIGHT_E2M1);                                                                         \
        break;

#endif
