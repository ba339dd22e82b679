#include "device.h"
#include "sampling_kernels.h"
#include "sampling_math.h"
#include "sampling_select.h"
#include "sampling_wishes.h"

/* The two kernels whose blocks read a part of a row each. */

/* The values of a part: [first, end). */
struct part_range {
    uint32_t first, end;
};

K_DEVICE struct part_range part_range_of(const struct sampling_shape &shape, uint32_t part)
{
    uint32_t size = shape.chunk_size * SAMPLING_PART_CHUNKS;
    uint32_t end = (part + 1) * size;
    return {part * size, end < shape.vocabulary ? end : shape.vocabulary};
}

/* --- read --- */

K_DEVICE void part_note(struct sampling_part &part, float raw, float wished, uint32_t token)
{
    part.raw_max = fmaxf(part.raw_max, raw);
    part.raw_has_nan |= isnan(raw);
    part.has_nan |= isnan(wished);
    if (wished > part.max) {
        part.max = wished;
        part.max_token = token;
    }
}

K_DEVICE void part_join(struct sampling_part &part, const struct sampling_part &other)
{
    if (other.max > part.max || (other.max == part.max && other.max_token < part.max_token)) {
        part.max = other.max;
        part.max_token = other.max_token;
    }
    part.least = fminf(part.least, other.least);
    part.raw_max = fmaxf(part.raw_max, other.raw_max);
    part.raw_least = fminf(part.raw_least, other.raw_least);
    part.has_nan |= other.has_nan;
    part.raw_has_nan |= other.raw_has_nan;
}

/* What the block's threads have found, each with its own highest as `least`. warps: [SAMPLING_THREADS / 32]. For thread 0. */
K_DEVICE struct sampling_part part_of_block(struct sampling_part part,
                                            k_sptr<struct sampling_part> warps)
{
    for (uint32_t mask = 16; mask > 0; mask /= 2) {
        struct sampling_part other;
        other.max = k_shfl_xor(part.max, mask);
        other.max_token = k_shfl_xor(part.max_token, mask);
        other.least = k_shfl_xor(part.least, mask);
        other.raw_max = k_shfl_xor(part.raw_max, mask);
        other.raw_least = k_shfl_xor(part.raw_least, mask);
        other.has_nan = k_shfl_xor(part.has_nan, mask);
        other.raw_has_nan = k_shfl_xor(part.raw_has_nan, mask);
        part_join(part, other);
    }
    if (k_lane() == 0)
        warps[k_warp()] = part;
    k_sync();
    for (uint32_t w = 0; k_thread() == 0 && w < SAMPLING_THREADS / 32; w++) {
        struct sampling_part other = warps[w];
        part_join(part, other);
    }
    return part;
}

/* What a sample wishes of each token. */
struct wishes {
    const uint32_t *mask;             /* NULL: none */
    const struct sampling_slot *slot; /* with words; not read without */
    const uint32_t *words;            /* NULL: none */
    uint32_t output_count;
};

K_DEVICE struct wishes wishes_of(const struct sampling_args &a, const struct device_sample &sample)
{
    struct wishes w = {};
    if (sample.mask != DEVICE_SAMPLE_NONE)
        w.mask = a.masks + (uint64_t)sample.mask * ((a.vocabulary + 31) / 32);
    if (sample.slot != DEVICE_SAMPLE_NONE) {
        w.slot = &a.slots[sample.slot];
        w.words = w.slot->words;
    }
    w.output_count = sample.output_count;
    return w;
}

K_DEVICE float wished(const struct wishes &w, uint32_t token, float logit)
{
    if (w.mask != nullptr && (w.mask[token / 32] >> token % 32 & 1) == 0)
        logit = -INFINITY;
    uint32_t word = w.words != nullptr ? w.words[token] : 0;
    return word != 0 ? wish_applied(*w.slot, word, token, w.output_count, logit) : logit;
}

K_KERNEL_BOUNDS(SAMPLING_THREADS, 3)
void sampling_read_kernel(struct sampling_args a, struct sampling_shape shape)
{
    K_SHARED(struct sampling_part, warps, SAMPLING_THREADS / 32);
    k_release_next();
    k_wait_previous();
    struct device_sample sample = a.samples[k_block_y()];
    struct sampling_scratch scratch = sampling_scratch_of(a.scratch, shape, k_block_y());
    const float *row = a.logits + (uint64_t)sample.logit_row * a.vocabulary;
    bool has_row = sample_has_row(sample);
    struct wishes wishes = wishes_of(a, sample);
    struct part_range range = part_range_of(shape, k_block_x());
    struct sampling_part part = {};
    part.max = part.raw_max = -INFINITY;
    part.max_token = UINT32_MAX;
    row_visit(row, range.first + k_thread(), range.end, SAMPLING_THREADS,
              [&](uint32_t token, float raw) {
                  float value = raw;
                  if (has_row) {
                      value = wished(wishes, token, raw);
                      scratch.row[token] = value;
                  }
                  part_note(part, raw, value, token);
              });
    part.least = part.max;
    part.raw_least = part.raw_max;
    part = part_of_block(part, warps);
    if (k_thread() == 0)
        scratch.parts[k_block_x()] = part;
}

void sampling_read_launch(device_stream *stream, const struct sampling_args *args,
                          const struct sampling_shape *shape)
{
    K_LAUNCH(stream, sampling_read_kernel, k_grid(shape->part_count, args->sample_count),
             SAMPLING_THREADS, 0, *args, *shape);
}

/* --- part --- */

/* Sums of the part's chunks, eight lanes a chunk. */
K_DEVICE void part_sums(const float *row, const struct sampling_shape &shape, float max,
                        float scale, float threshold, float *sums)
{
    uint32_t chunk = k_block_x() * SAMPLING_PART_CHUNKS + k_thread() / 8;
    uint32_t first = chunk * shape.chunk_size;
    uint32_t left = first < shape.vocabulary ? shape.vocabulary - first : 0;
    uint32_t count = left < shape.chunk_size ? left : shape.chunk_size;
    float sum = chunk_exp_sum(row + first, count, k_thread() % 8, max, scale, threshold);
    if (count > 0 && k_thread() % 8 == 0)
        sums[chunk] = sum;
}

struct part_select {
    k_sptr<uint32_t> bins;
    k_sptr<struct select_digit> digit;
    k_sptr<uint32_t> taken;
};

/* The `wanted` best of the part, in no order, then zeros. */
K_DEVICE void part_best(const float *row, struct part_range range, struct select_range keys,
                        uint32_t wanted, const struct part_select &shared, uint64_t *best)
{
    auto each_key = [&](const auto &visit) {
        row_visit(row, range.first + k_thread(), range.end, SAMPLING_THREADS,
                  [&](uint32_t token, float logit) { visit(candidate_key(logit, token)); });
    };
    uint64_t least = select_least(each_key, keys, wanted, shared.bins, shared.digit);
    if (k_thread() == 0)
        shared.taken[0] = 0;
    k_sync();
    each_key([&](uint64_t key) {
        if (key >= least)
            best[k_atomic_add(shared.taken, 1u)] = key;
    });
    k_sync();
    uint32_t taken = shared.taken[0];
    for (uint32_t i = taken + k_thread(); i < wanted; i += SAMPLING_THREADS)
        best[i] = 0;
    k_sync();
}

K_KERNEL_BOUNDS(SAMPLING_THREADS, 4)
void sampling_part_kernel(struct sampling_args a, struct sampling_shape shape)
{
    K_SHARED(uint32_t, bins, SELECT_BINS);
    K_SHARED(struct select_digit, digit, 1);
    K_SHARED(uint32_t, taken, 1);
    k_release_next();
    k_wait_previous();
    struct device_sample sample = a.samples[k_block_y()];
    struct sampling_scratch scratch = sampling_scratch_of(a.scratch, shape, k_block_y());
    const float *raw = a.logits + (uint64_t)sample.logit_row * a.vocabulary;
    const float *row = sample_has_row(sample) ? scratch.row : raw;
    struct sampling_part whole = parts_joined(scratch.parts, shape.part_count);
    struct sampling_rule rule = sampling_rule_of(sample, whole.max, a.vocabulary);
    struct part_range range = part_range_of(shape, k_block_x());
    struct part_select shared = {bins, digit, taken};
    if (rule.has_sums)
        part_sums(row, shape, rule.max, rule.scale, rule.threshold, scratch.sums);
    if (rule.candidates > 0)
        part_best(row, range, candidates_range(whole.least, whole.max), rule.candidates, shared,
                  scratch.best + (uint64_t)k_block_x() * SAMPLING_EXACT);
    if (sample.logprobs >= 0)
        part_sums(raw, shape, whole.raw_max, 1.0f, -INFINITY, scratch.raw_sums);
    if (sample.logprobs > 0)
        part_best(raw, range, candidates_range(whole.raw_least, whole.raw_max),
                  (uint32_t)sample.logprobs, shared,
                  scratch.raw_best + k_block_x() * DEVICE_ALTERNATIVES_MAX);
}

void sampling_part_launch(device_stream *stream, const struct sampling_args *args,
                          const struct sampling_shape *shape)
{
    K_LAUNCH(stream, sampling_part_kernel, k_grid(shape->part_count, args->sample_count),
             SAMPLING_THREADS, 0, *args, *shape);
}
