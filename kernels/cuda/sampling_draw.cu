#include "device.h"
#include "sampling_histogram.h"
#include "sampling_kernels.h"
#include "sampling_math.h"
#include "sampling_select.h"
#include "sampling_wishes.h"
#include "status.h"

/* The kernel that chooses: one block a sample. The three ways are those of engine/sample's row_draw, for the same rows, because what a
 * uniform number means depends on the way: the few draw in the order of their logits, the others in that of their ids.
 *
 *   few   top-k of at most 256, or a nucleus that the 256 best hold: the parts' candidates joined and sorted
 *   many  a larger top-k or nucleus: a threshold from histograms of the row, and sums of chunks with it
 *   all   no cut, or min-p alone: the sums that the kernel before has made */
#define DRAW_THREADS 512u

struct draw_shared {
    k_sptr<uint64_t> keys, sorted; /* [SAMPLING_EXACT] */
    k_sptr<double> weights, sums;  /* [SAMPLING_CHUNKS_MAX] */
    k_sptr<double> tiles;          /* [32] */
    k_sptr<uint32_t> bins;         /* [SELECT_BINS] */
    k_sptr<struct select_digit> digit;
    k_sptr<uint32_t> taken;
    k_sptr<uint32_t> counts; /* [HISTOGRAM_BUCKETS], as the two below */
    k_sptr<uint64_t> masses;
    k_sptr<double> count_sums;
};

/* One sample's draw. */
struct draw {
    const float *row;
    struct sampling_shape shape;
    struct sampling_scratch scratch;
    struct device_sample sample;
    struct sampling_part whole;
    struct sampling_rule rule;
    double uniform;
};

/* --- from a threshold --- */

/* The token at `uniform` of the chunks' sums, which are in shared.weights; a token below the threshold weighs nothing. */
K_DEVICE uint32_t draw_from_chunks(const struct draw &d, const struct draw_shared &s,
                                   float threshold)
{
    running_sums(s.weights, s.sums, s.tiles, d.shape.chunk_count);
    double total = s.sums[d.shape.chunk_count - 1];
    double left = d.uniform * total;
    uint32_t chunk = pick_weighted(s.weights, s.sums, d.shape.chunk_count, left);
    if (chunk > 0) {
        double before = s.sums[chunk - 1];
        left -= before;
    }
    k_sync();
    uint32_t first = chunk * d.shape.chunk_size;
    uint32_t rest = d.shape.vocabulary - first;
    uint32_t count = rest < d.shape.chunk_size ? rest : d.shape.chunk_size;
    for (uint32_t i = k_thread(); i < count; i += DRAW_THREADS) {
        float x = d.row[first + i];
        float weight = x >= threshold ? sampling_exp((x - d.rule.max) * d.rule.scale) : 0.0f;
        s.weights[i] = (double)weight;
    }
    running_sums(s.weights, s.sums, s.tiles, count);
    return first + pick_weighted(s.weights, s.sums, count, left);
}

/* Brings f32 sums of chunks into shared.weights. */
K_DEVICE void load_sums(const float *sums, uint32_t count, const struct draw_shared &s)
{
    for (uint32_t i = k_thread(); i < count; i += DRAW_THREADS)
        s.weights[i] = (double)sums[i];
}

K_DEVICE uint32_t draw_all(const struct draw &d, const struct draw_shared &s)
{
    load_sums(d.scratch.sums, d.shape.chunk_count, s);
    return draw_from_chunks(d, s, d.rule.threshold);
}

K_DEVICE uint32_t draw_many(const struct draw &d, const struct draw_shared &s)
{
    struct histogram h = {s.counts, s.masses, s.weights, s.count_sums, s.sums, s.tiles};
    float threshold = threshold_of_many(h, d.row, d.shape.vocabulary, d.rule, d.sample.top_p);
    threshold = fmaxf(threshold, min_p_threshold(d.sample, d.rule.scale, d.rule.max));
    for (uint32_t base = 0; base < d.shape.chunk_count; base += DRAW_THREADS / 8) {
        uint32_t chunk = base + k_thread() / 8;
        uint32_t first = chunk * d.shape.chunk_size;
        uint32_t rest = first < d.shape.vocabulary ? d.shape.vocabulary - first : 0;
        uint32_t count = rest < d.shape.chunk_size ? rest : d.shape.chunk_size;
        float sum = chunk_exp_sum(d.row + first, count, k_thread() % 8, d.rule.max, d.rule.scale,
                                  threshold);
        if (count > 0 && k_thread() % 8 == 0)
            s.weights[chunk] = (double)sum;
    }
    k_sync();
    return draw_from_chunks(d, s, threshold);
}

/* --- from sorted candidates --- */

/* The `wanted` best of the parts' lists, best first, in shared.sorted; returns how many there are. */
K_DEVICE uint32_t join_parts(const uint64_t *lists, uint32_t stride, uint32_t part_count,
                             struct select_range range, uint32_t wanted,
                             const struct draw_shared &s)
{
    auto each_key = [&](const auto &visit) {
        for (uint32_t i = k_thread(); i < part_count * wanted; i += DRAW_THREADS)
            visit(lists[(i / wanted) * stride + i % wanted]);
    };
    uint64_t least = select_least(each_key, range, wanted, s.bins, s.digit);
    if (k_thread() == 0)
        s.taken[0] = 0;
    k_sync();
    each_key([&](uint64_t key) {
        if (key >= least)
            s.keys[k_atomic_add(s.taken, 1u)] = key;
    });
    k_sync();
    uint32_t found = s.taken[0];
    sort_keys(s.keys, found, s.sorted);
    return found;
}

/* How many of the sorted candidates, whose weights and running sums are there, top-p of `total` and min-p leave. */
K_DEVICE uint32_t kept_of(const struct draw &d, const struct draw_shared &s, uint32_t count,
                          double total)
{
    double nucleus = d.sample.top_p < 1.0f ? (double)d.sample.top_p * total : INFINITY;
    uint32_t kept = count;
    for (uint32_t i = k_lane(); i < count; i += 32) {
        double weight = s.weights[i];
        double before = 0.0;
        if (i > 0)
            before = s.sums[i - 1];
        if ((before >= nucleus || weight < (double)d.sample.min_p) && i < kept)
            kept = i;
    }
    return warp_least(kept);
}

/* False: the nucleus has more tokens than the candidates are. */
K_DEVICE bool draw_few(const struct draw &d, const struct draw_shared &s, uint32_t *token)
{
    double total = 0.0;
    if (d.rule.has_sums) {
        load_sums(d.scratch.sums, d.shape.chunk_count, s);
        running_sums(s.weights, s.sums, s.tiles, d.shape.chunk_count);
        total = s.sums[d.shape.chunk_count - 1];
    }
    uint32_t found = join_parts(d.scratch.best, SAMPLING_EXACT, d.shape.part_count,
                                candidates_range(d.whole.least, d.whole.max), d.rule.candidates, s);
    for (uint32_t i = k_thread(); i < found; i += DRAW_THREADS) {
        uint64_t key = s.sorted[i];
        s.weights[i] = exp((double)((candidate_logit(key) - d.rule.max) * d.rule.scale));
    }
    running_sums(s.weights, s.sums, s.tiles, found);
    double mass = s.sums[found - 1];
    if (!d.rule.has_sums)
        total = mass;
    else if (mass < (double)d.sample.top_p * total && found < d.shape.vocabulary)
        return false;
    uint32_t kept = kept_of(d, s, found, total);
    mass = s.sums[kept - 1];
    uint64_t key = s.sorted[pick_weighted(s.weights, s.sums, kept, d.uniform * mass)];
    *token = candidate_token(key);
    return true;
}

K_DEVICE uint32_t draw_token(const struct draw &d, const struct draw_shared &s)
{
    uint32_t token;
    if (d.rule.candidates > 0) {
        if (draw_few(d, s, &token))
            return token;
    }
    if (d.rule.has_sums && d.rule.candidates == 0)
        return draw_all(d, s);
    return draw_many(d, s);
}

/* --- the sample --- */

K_DEVICE uint32_t status_of(const struct device_sample &sample, const struct sampling_part &whole)
{
    bool is_sound = whole.has_nan == 0 && is_finite(whole.max);
    bool raw_is_sound = whole.raw_has_nan == 0 && is_finite(whole.raw_max);
    bool has_mask = sample.mask != DEVICE_SAMPLE_NONE;
    if (!raw_is_sound && (has_mask || sample.logprobs >= 0))
        return STATUS_INTERNAL;
    if (!is_sound)
        return has_mask ? STATUS_UNSUPPORTED : STATUS_INTERNAL;
    return STATUS_OK;
}

/* The log probabilities of the row as it came. */
K_DEVICE void write_logprobs(const struct draw &d, const struct draw_shared &s, const float *raw,
                             uint32_t token, struct device_sample_result *out)
{
    k_sync();
    load_sums(d.scratch.raw_sums, d.shape.chunk_count, s);
    running_sums(s.weights, s.sums, s.tiles, d.shape.chunk_count);
    double sum = s.sums[d.shape.chunk_count - 1];
    double log_sum = (double)d.whole.raw_max + log(sum);
    uint32_t found = 0;
    if (d.sample.logprobs > 0)
        found = join_parts(d.scratch.raw_best, DEVICE_ALTERNATIVES_MAX, d.shape.part_count,
                           candidates_range(d.whole.raw_least, d.whole.raw_max),
                           (uint32_t)d.sample.logprobs, s);
    for (uint32_t i = k_thread(); i < found; i += DRAW_THREADS) {
        uint64_t key = s.sorted[i];
        out->alternatives[i] = {(int32_t)candidate_token(key),
                                (float)((double)candidate_logit(key) - log_sum)};
    }
    if (k_thread() == 0) {
        out->logprob = (float)((double)raw[token] - log_sum);
        out->alternative_count = found;
    }
}

/* The token is one of the sequence's outputs from now on. */
K_DEVICE void count_token(const struct sampling_args &a, const struct device_sample &sample,
                          uint32_t token)
{
    if (sample.slot == DEVICE_SAMPLE_NONE || a.slots[sample.slot].has_penalty == 0)
        return;
    uint32_t *word = &a.slots[sample.slot].words[token];
    *word = (*word | WISH_COUNTED) + 1;
}

K_DEVICE void sample_row(const struct sampling_args &a, const struct draw &d,
                         const struct draw_shared &s)
{
    struct device_sample_result *out = &a.results[k_block_x()];
    uint32_t result = status_of(d.sample, d.whole);
    uint32_t token = 0;
    if (result == STATUS_OK)
        token = d.rule.is_greedy ? d.whole.max_token : draw_token(d, s);
    if (k_thread() == 0) {
        a.tokens[k_block_x()] = (int32_t)token;
        out->token = (int32_t)token;
        out->status = result;
        out->logprob = NAN;
        out->alternative_count = 0;
    }
    if (result != STATUS_OK)
        return;
    if (k_thread() == 0)
        count_token(a, d.sample, token);
    const float *raw = a.logits + (uint64_t)d.sample.logit_row * a.vocabulary;
    if (d.sample.logprobs >= 0)
        write_logprobs(d, s, raw, token, out);
}

K_KERNEL_BOUNDS(DRAW_THREADS, 2)
void sampling_draw_kernel(struct sampling_args a, struct sampling_shape shape)
{
    K_SHARED(uint64_t, keys, SAMPLING_EXACT);
    K_SHARED(uint64_t, sorted, SAMPLING_EXACT);
    K_SHARED(double, weights, SAMPLING_CHUNKS_MAX);
    K_SHARED(double, sums, SAMPLING_CHUNKS_MAX);
    K_SHARED(double, tiles, 32);
    K_SHARED(uint32_t, bins, SELECT_BINS);
    K_SHARED(struct select_digit, digit, 1);
    K_SHARED(uint32_t, taken, 1);
    K_SHARED(uint32_t, counts, HISTOGRAM_BUCKETS);
    K_SHARED(uint64_t, masses, HISTOGRAM_BUCKETS);
    K_SHARED(double, count_sums, HISTOGRAM_BUCKETS);
    struct draw_shared shared = {keys,  sorted, weights, sums,   tiles,     bins,
                                 digit, taken,  counts,  masses, count_sums};
    k_release_next();
    k_wait_previous();
    struct draw d;
    d.shape = shape;
    d.sample = a.samples[k_block_x()];
    d.scratch = sampling_scratch_of(a.scratch, shape, k_block_x());
    const float *raw = a.logits + (uint64_t)d.sample.logit_row * a.vocabulary;
    d.row = sample_has_row(d.sample) ? d.scratch.row : raw;
    d.whole = parts_joined(d.scratch.parts, shape.part_count);
    d.rule = sampling_rule_of(d.sample, d.whole.max, a.vocabulary);
    d.uniform = sampling_uniform(d.sample.seed, d.sample.index, d.sample.position);
    sample_row(a, d, shared);
}

void sampling_draw_launch(device_stream *stream, const struct sampling_args *args,
                          const struct sampling_shape *shape)
{
    K_LAUNCH(stream, sampling_draw_kernel, k_grid(args->sample_count), DRAW_THREADS, 0, *args,
             *shape);
}
