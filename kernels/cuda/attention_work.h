#ifndef PENSTOCK_CUDA_ATTENTION_WORK_H
#define PENSTOCK_CUDA_ATTENTION_WORK_H

#include "device.h"

/* How blocks of a constant grid find what there is to do: the work of a step is so many items of each sequence, known on the
 * device alone, and item i is item i - starts[s] of the sequence s with starts[s] <= i < starts[s + 1]. Each block sums
 * the counts itself, from the step's description: a few microseconds' worth of latency that hides behind the kernel before
 * (the description is written by copies, before all kernels of the step), where a kernel that made a list would be
 * a launch more in each layer. */

#define WORK_WARPS_MAX 8u

/* Shared memory of the starts of n_sequences, in bytes: a multiple of 16. */
constexpr uint32_t work_bytes(uint32_t n_sequences)
{
    return (n_sequences + 1 + WORK_WARPS_MAX + 3) / 4 * 16;
}

/* starts[s] = the sum of count(0) ... count(s - 1), for s in [0, n]. All threads of the block call it; the starts may be read
 * when it returns. */
template <class F> K_DEVICE void work_starts(k_sptr<uint32_t> starts, uint32_t n, F count)
{
    k_sptr<uint32_t> totals = starts + (n + 1);
    uint32_t carry = 0, warps = k_threads() / 32;
    for (uint32_t first = 0; first < n; first += k_threads()) {
        uint32_t s = first + k_thread();
        uint32_t own = s < n ? count(s) : 0, sum = own;
        for (uint32_t step = 1; step < 32; step *= 2) {
            uint32_t lower = k_shfl_up(sum, step);
            sum += k_lane() >= step ? lower : 0;
        }
        if (k_lane() == 31)
            totals[k_warp()] = sum;
        k_sync();
        uint32_t before = carry;
        for (uint32_t w = 0; w < warps; w++) {
            uint32_t total = totals[w];
            before += w < k_warp() ? total : 0;
            carry += total;
        }
        if (s < n)
            starts[s] = before + sum - own;
        k_sync();
    }
    if (k_thread() == 0)
        starts[n] = carry;
    k_sync();
}

/* The sequence that item < starts[n] is of. */
K_DEVICE uint32_t work_sequence(k_sptr<uint32_t> starts, uint32_t n, uint32_t item)
{
    uint32_t low = 0, high = n;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2, start = starts[middle];
        if (start <= item)
            low = middle;
        else
            high = middle;
    }
    return low;
}

#endif
