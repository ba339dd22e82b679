/* Operations of a whole warp: lanes bring their words to a round, the last one to come computes what is computed once, and
 * all read the result. Fragments of matrices: PTX ISA, section 9.7.14 (mma.m16n8k16, mma.m16n8k32, ldmatrix). */

#include <string.h>

#include "device.h"

/* The sum as a butterfly of shuffles gives it, in its order, bit by bit. */
template <class T> static void round_sum(struct warp_round *round)
{
    T values[EMULATED_WARP], sums[EMULATED_WARP];
    for (uint32_t lane = 0; lane < EMULATED_WARP; lane++)
        memcpy(&values[lane], round->words[lane], sizeof(T));
    for (uint32_t mask = EMULATED_WARP / 2; mask > 0; mask /= 2) {
        for (uint32_t lane = 0; lane < EMULATED_WARP; lane++)
            sums[lane] = values[lane] + values[lane ^ mask];
        memcpy(values, sums, sizeof(values));
    }
    for (uint32_t lane = 0; lane < EMULATED_WARP; lane++)
        memcpy(round->words[lane], &values[lane], sizeof(T));
}

/* words: a[0..3], b[0..1]. Products are exact; their sum is rounded once, with c (by the lanes). */
template <float convert(uint16_t)> static void round_mma_float(struct warp_round *round)
{
    double a[16][16], b[16][8];
    for (uint32_t lane = 0; lane < EMULATED_WARP; lane++) {
        uint32_t group = lane / 4, first = lane % 4 * 2;
        const uint32_t *words = round->words[lane];
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t r = i / 2, half = i % 2;
            a[group + r % 2 * 8][first + half + r / 2 * 8] =
                convert(static_cast<uint16_t>(words[r] >> 16 * half));
        }
        for (uint32_t i = 0; i < 4; i++)
            b[first + i % 2 + i / 2 * 8][group] =
                convert(static_cast<uint16_t>(words[4 + i / 2] >> 16 * (i % 2)));
    }
    for (uint32_t m = 0; m < 16; m++) {
        double sums[8] = {};
        for (uint32_t k = 0; k < 16; k++)
            for (uint32_t n = 0; n < 8; n++)
                sums[n] += a[m][k] * b[k][n];
        memcpy(round->product.floats[m], sums, sizeof(sums));
    }
}

static void round_mma_int(struct warp_round *round)
{
    int16_t a[16][32], b[32][8];
    for (uint32_t lane = 0; lane < EMULATED_WARP; lane++) {
        uint32_t group = lane / 4, first = lane % 4 * 4;
        const uint32_t *words = round->words[lane];
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t r = i / 4, byte = i % 4;
            a[group + r % 2 * 8][first + byte + r / 2 * 16] =
                static_cast<int8_t>(words[r] >> 8 * byte);
        }
        for (uint32_t i = 0; i < 8; i++)
            b[first + i % 4 + i / 4 * 16][group] =
                static_cast<int8_t>(words[4 + i / 4] >> 8 * (i % 4));
    }
    for (uint32_t m = 0; m < 16; m++) {
        int32_t sums[8] = {};
        for (uint32_t k = 0; k < 32; k++)
            for (uint32_t n = 0; n < 8; n++)
                sums[n] += a[m][k] * b[k][n];
        memcpy(round->product.ints[m], sums, sizeof(sums));
    }
}

static void round_finish(struct emulated_warp *warp, struct warp_round *round)
{
    switch (warp->operation) {
    case WARP_SYNC:
        warp->epoch++;
        break;
    case WARP_EXCHANGE:
    case WARP_GATHER:
    case WARP_VOTE:
    case WARP_MATRIX:
        break;
    case WARP_SUM_FLOAT:
        round_sum<float>(round);
        break;
    case WARP_SUM_DOUBLE:
        round_sum<double>(round);
        break;
    case WARP_MMA_BF16:
        round_mma_float<k_bf16_to_float>(round);
        break;
    case WARP_MMA_F16:
        round_mma_float<k_f16_to_float>(round);
        break;
    case WARP_MMA_S8:
        round_mma_int(round);
        break;
    }
}

const struct warp_round *emulated_warp_round(enum warp_operation operation, uint32_t line,
                                             const uint32_t *words, uint32_t count)
{
    struct emulated_thread *thread = emulated_current;
    struct emulated_warp *warp = thread->warp;
    struct warp_round *round = &warp->rounds[warp->generation % 2];
    if (warp->arrived == 0) {
        warp->operation = operation;
        warp->line = line;
    }
    if (warp->operation != operation || warp->line != line)
        emulated_report(
            EMULATOR_DIVERGENCE, UINT32_MAX, line,
            "this lane is at line %u, another lane of its warp at the operation of line %u", line,
            warp->line);
    if (thread->index / EMULATED_WARP * EMULATED_WARP + EMULATED_WARP > thread->block->thread_count)
        emulated_report(EMULATOR_PARTIAL_WARP, UINT32_MAX, line,
                        "the operation of line %u is for whole warps; the block has %u threads",
                        line, thread->block->thread_count);
    for (uint32_t i = 0; i < count; i++)
        round->words[thread->lane][i] = words[i];
    if (++warp->arrived < EMULATED_WARP) {
        emulated_suspend(WAIT_WARP, line);
        return round;
    }
    warp->arrived = 0;
    warp->generation++;
    round_finish(warp, round);
    emulated_release_warp(thread);
    return round;
}

void emulated_mma_float(float c[4], const uint32_t a[4], const uint32_t b[2],
                        enum warp_operation operation, uint32_t line)
{
    const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const struct warp_round *round = emulated_warp_round(operation, line, words, 6);
    uint32_t group = k_lane() / 4, first = k_lane() % 4 * 2;
    for (uint32_t r = 0; r < 4; r++)
        c[r] = static_cast<float>(static_cast<double>(c[r]) +
                                  round->product.floats[group + r / 2 * 8][first + r % 2]);
}

void emulated_mma_int(int32_t c[4], const uint32_t a[4], const uint32_t b[2], uint32_t line)
{
    const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const struct warp_round *round = emulated_warp_round(WARP_MMA_S8, line, words, 6);
    uint32_t group = k_lane() / 4, first = k_lane() % 4 * 2;
    for (uint32_t r = 0; r < 4; r++)
        c[r] += round->product.ints[group + r / 2 * 8][first + r % 2];
}

/* `bytes` of row `row` of matrix `matrix`, from byte `first`: the lane that gives the row's address is 8 matrix + row. */
static uint32_t matrix_bytes(const struct warp_round *round, uint32_t lane, uint32_t first,
                             uint32_t bytes)
{
    uintptr_t address;
    uint32_t range[2], value = 0;
    memcpy(&address, &round->words[lane][0], sizeof(address));
    memcpy(range, &round->words[lane][2], sizeof(range));
    void *from = emulated_shared_touch(reinterpret_cast<void *>(address + first), range[0],
                                       range[1], bytes, bytes, SHARED_READ);
    memcpy(&value, from, bytes);
    return value;
}

void emulated_ldmatrix4(uint32_t r[4], const void *row, uint32_t begin, uint32_t end,
                        bool is_transposed, uint32_t line)
{
    emulated_check_alignment(row, "ldmatrix");
    uint32_t words[4];
    memcpy(words, &row, sizeof(row));
    words[2] = begin;
    words[3] = end;
    const struct warp_round *round = emulated_warp_round(WARP_MATRIX, line, words, 4);
    uint32_t lane = k_lane();
    for (uint32_t matrix = 0; matrix < 4; matrix++) {
        if (is_transposed)
            r[matrix] = matrix_bytes(round, matrix * 8 + lane % 4 * 2, lane / 4 * 2, 2) |
                        matrix_bytes(round, matrix * 8 + lane % 4 * 2 + 1, lane / 4 * 2, 2) << 16;
        else
            r[matrix] = matrix_bytes(round, matrix * 8 + lane / 4, lane % 4 * 4, 4);
    }
}
