#ifndef PENSTOCK_KERNELS_CUDA_TILE_FRAGMENT_H
#define PENSTOCK_KERNELS_CUDA_TILE_FRAGMENT_H

#include "device.h"
#include "tile_task.h"
#include "weight_unpack.h"

/* From a stage in shared memory to the registers of tensor cores.
 *
 * The weight is the operand of 16 rows (a band's outputs), the activation that of 8: rows come in eights then, not in
 * sixteens, and what was dequantised serves all of them. Lane 4 g + t has outputs g and g + 8 and the eight columns from 8 t
 * on of a group of 32, as four pairs of each: two products of 16 by 8 by 16, the first of pairs 0 and 1, the second of pairs 2
 * and 3. Which of a product's columns a pair stands for does not matter as long as the activation's lanes say the same:
 * lane 4 g + t has the same eight columns of row g, which are 16 bytes.
 *
 * Weights become f32 and are rounded to bf16 once. Codes become f32 without a conversion (which has a quarter of the rate): a
 * byte put below an exponent is a number with a constant added, which the fused multiplication by the scale takes away
 * again, exactly but for a minimum's last bits.
 *
 * Multiplying codes by the activation's int8 codes instead (m16n8k32) would need 16 operations on each 16 x 8 result a group
 * to apply scales and offsets: 34 issue slots for eight rows of a warp's 32 outputs. Dequantising costs 92 however many rows
 * there are, and 5 for eight rows. So int8 would be fewer slots below 20 rows, but there memory decides: a group of 32 outputs of
 * four bits is 576 bytes, which an H200's 18 bytes a clock and multiprocessor bring in 128 slots. One way serves all
 * numbers of rows, with the precision of bf16. (Counted in the source, not measured.) */

/* Where a stage has 16-byte chunk `chunk` of row `row`. Eight lanes that read together have chunks 4 i .. 4 i + 3 of an even row
 * and of the next: turning odd rows by 64 bytes spreads these over all 32 banks. */
K_DEVICE uint32_t tile_chunk_at(uint32_t row, uint32_t chunk)
{
    return row * TILE_ROW_BYTES + 16 * (chunk ^ (row & 1) << 2);
}

/* A lane's share of one group (0 or 1) of a cell in shared memory, as if the group were the cell's first. */
template <enum weight_form FORM>
K_DEVICE cell_share<FORM> tile_cell_share(k_sptr<const uint8_t> cell, uint32_t lane, uint32_t group)
{
    cell_share<FORM> share;
    if constexpr (weight_form_is_bytes(FORM)) {
        share.codes[0] = k_sload16(cell + (512 * group + 16 * lane));
    } else {
        k_u4 both = k_sload16(cell + 16 * lane);
        share.codes[0].x = group == 0 ? both.x : both.z;
        share.codes[0].y = group == 0 ? both.y : both.w;
    }
    constexpr uint32_t plane_bytes = weight_plane_bytes(FORM);
    k_sptr<const uint32_t> plane = k_sptr_cast<const uint32_t>(
        cell + (weight_plane_at(FORM) + plane_bytes * lane + (plane_bytes == 8 ? 4 * group : 0)));
    if constexpr (plane_bytes > 0) {
        uint32_t word = plane[0];
        share.plane[0] = plane_bytes == 4 ? word >> 4 * group : word;
    }
    constexpr uint32_t scale_bytes = weight_scale_bytes(FORM);
    k_sptr<const uint32_t> scales = k_sptr_cast<const uint32_t>(
        cell + (weight_scales_at(FORM) + scale_bytes * (lane / 4) + scale_bytes / 2 * group));
    if constexpr (scale_bytes > 0)
        share.scales[0] = scales[0];
    if constexpr (scale_bytes == 16)
        share.scales[1] = scales[1];
    return share;
}

template <enum weight_form FORM> K_DEVICE constexpr bool tile_codes_are_signed()
{
    return FORM == WEIGHT_S8 || FORM == WEIGHT_E2M1;
}

/* The bits of an E4M3 number below a sign are those of a float that is 2^120 times smaller. Compute capability 8.0 has no
 * instruction for it, and what stands in for that takes too many registers here. */
K_DEVICE float tile_e4m3(uint32_t code)
{
    uint32_t magnitude = code & 0x7fu;
    float value = k_bits_float((code & 0x80u) << 24 | magnitude << 20) * 0x1p120f;
    return magnitude == 0x7fu ? NAN : value;
}

/* Byte i of a register of codes, plus tile_code_excess. Codes below 128 go below the exponent of 128; bytes with a sign, which is
 * turned so that they are 0 .. 255, below that of 32768, into bits 8 .. 15. */
template <enum weight_form FORM> K_DEVICE float tile_code(uint32_t codes, uint32_t i)
{
    if constexpr (FORM == WEIGHT_F8)
        return tile_e4m3(codes >> 8 * i & 0xffu);
    if constexpr (tile_codes_are_signed<FORM>())
        return k_bits_float(k_byte_permute(codes, 0x47000000u, 0x7404u | i << 4));
    return k_bits_float(k_byte_permute(codes, 0x43000000u, 0x7044u | i << 8));
}

template <enum weight_form FORM> K_DEVICE constexpr float tile_code_excess()
{
    return FORM == WEIGHT_F8               ? 0.0f
           : tile_codes_are_signed<FORM>() ? 32768.0f + 128.0f
                                           : 128.0f - (float)weight_form_offset(FORM);
}

/* Four columns of one output, as two pairs. */
template <enum weight_form FORM>
K_DEVICE void tile_pack_codes(uint32_t codes, float scale, float minimum, uint32_t pairs[2])
{
    if constexpr (tile_codes_are_signed<FORM>())
        codes ^= 0x80808080u;
    float base = fmaf(-tile_code_excess<FORM>(), scale, minimum);
    float values[4];
    K_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        values[i] = fmaf(tile_code<FORM>(codes, i), scale, base);
    pairs[0] = k_pack_bf16(values[0], values[1]);
    pairs[1] = k_pack_bf16(values[2], values[3]);
}

/* The lane's columns of group `group` of a cell: pairs[0 .. 3] of output g, [4 .. 7] of output g + 8. factors: F8's, of the two. */
template <enum weight_form FORM>
K_DEVICE void tile_cell_pairs(k_sptr<const uint8_t> cell, uint32_t lane, uint32_t group,
                              const float factors[2], uint32_t pairs[8])
{
    cell_share<FORM> share = tile_cell_share<FORM>(cell, lane, group);
    uint32_t a[4];
    cell_codes<FORM>(share, 0, a);
    group_scales scales = {{factors[0], factors[1]}, {0.0f, 0.0f}};
    if constexpr (FORM != WEIGHT_F8)
        scales = cell_scales<FORM>(share, 0);
    if constexpr (FORM == WEIGHT_U6) {
        bool is_second = (lane & 2) != 0; /* columns 16 .. 31 */
        scales = {{is_second ? scales.second[0] : scales.scale[0],
                   is_second ? scales.second[1] : scales.scale[1]},
                  {0.0f, 0.0f}};
    }
    K_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
        tile_pack_codes<FORM>(a[half], scales.scale[half], scales.second[half], pairs + 4 * half);
        tile_pack_codes<FORM>(a[half + 2], scales.scale[half], scales.second[half],
                              pairs + 4 * half + 2);
    }
}

/* The same of 16-bit rows: bits as they are. */
K_DEVICE void tile_row_pairs(k_sptr<const uint8_t> band, uint32_t lane, uint32_t group,
                             uint32_t pairs[8])
{
    uint32_t g = lane / 4, chunk = 4 * group + lane % 4;
    k_u4 lower = k_sload16(band + tile_chunk_at(g, chunk));
    k_u4 upper = k_sload16(band + tile_chunk_at(g + 8, chunk));
    memcpy(pairs, &lower, sizeof lower);
    memcpy(pairs + 4, &upper, sizeof upper);
}

/* F8's factors of outputs g and g + 8 of a band, for group `group` of the row. What is filled up has none. */
K_DEVICE void tile_f8_factors(const struct weight_part &part, uint32_t band, uint32_t group,
                              float factors[2])
{
    K_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t output = band * WEIGHT_BAND_OUTPUTS + k_lane() / 4 + 8 * half;
        bool is_there = output < part.n_outputs && group * WEIGHT_GROUP_COLS < part.n_cols;
        factors[half] = is_there ? part_f8_scale(part, output, group) : 0.0f;
    }
}

/* Of quarter `quarter` of a stage's columns of a band, which is at `at` in shared memory. factors: F8's. */
K_DEVICE void tile_pairs(enum weight_form form, k_sptr<const uint8_t> at, uint32_t quarter,
                         const float factors[2], uint32_t pairs[8])
{
    uint32_t lane = k_lane();
    if (weight_form_is_rows(form)) {
        tile_row_pairs(at, lane, quarter, pairs);
        return;
    }
    k_sptr<const uint8_t> cell = at + quarter / 2 * weight_cell_bytes(form);
#define TILE_CELL_PAIRS(FORM) tile_cell_pairs<FORM>(cell, lane, quarter % 2, factors, pairs)
    switch (form) {
        WEIGHT_CELL_CASES(TILE_CELL_PAIRS)
    default:
        break;
    }
#undef TILE_CELL_PAIRS
}

#endif
