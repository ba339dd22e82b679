#ifndef PENSTOCK_CUDA_ATTENTION_TESTING_H
#define PENSTOCK_CUDA_ATTENTION_TESTING_H

#include "attention.h"
#include "backend.h"
#include "device_testing.h"

/* One layer of a cache, kept by the reference and by the device's kernels, and steps on it: what the tests of the cache's and
 * of attention's kernels share. */

#define PAIR_SEQUENCES_MAX 9u
#define PAIR_PAGES_EACH    48u /* 768 positions */
#define PAIR_PAGES         (PAIR_SEQUENCES_MAX * PAIR_PAGES_EACH)

struct head_case {
    enum kv_type type;
    uint32_t n_kv_heads, group, d_head, d_rope;
    uint32_t window;
    float soft_cap;
    bool is_interleaved, has_gains, has_sinks;
};

/* A step: of sequences of the cache (each once), rows [first, end). */
struct step_part {
    uint32_t sequence, first, end;
};

/* How the device has its pages. */
struct page_order {
    uint32_t multiplier,
        offset;    /* logical page i is i * multiplier + offset, modulo PAIR_PAGES; odd */
    uint64_t base; /* added to each number: the cache's memory begins that many pages before */
    uint8_t dead;  /* each byte of what no position has */
};
extern const struct page_order plain_order;

struct attention_pair {
    struct head_case c;
    backend *reference;
    kv_store *kv; /* the reference's, of all positions */
    struct rope_table rope;
    struct attention_shape shape;
    float *frequencies, *query_gain, *key_gain, *sinks;
    uint32_t lengths[PAIR_SEQUENCES_MAX];
};

/* A sequence's rows follow from its number and its length alone. */
void attention_pair_open(struct attention_pair *p, const struct head_case *c,
                         const uint32_t *lengths, uint32_t n_sequences);
void attention_pair_close(struct attention_pair *p);

uint32_t step_row_count(const struct step_part *parts, uint32_t count);

/* What the reference says: [rows, n_heads * d_head]; the caller's. */
float *attention_pair_expected(struct attention_pair *p, const struct step_part *parts,
                               uint32_t count);

/* A step on a device whose cache holds the positions before it. */
struct device_step {
    struct rope_append_args append;
    struct attention_args attention;
    uint32_t n_rows;
};
/* chunks_of: positions that `partials` has room for; padding: extents beyond the step's own rows and sequences. */
void device_step_make(struct attention_pair *p, struct device_rig *rig,
                      const struct step_part *parts, uint32_t count, const struct page_order *order,
                      uint32_t chunks_of, uint32_t padding, struct device_step *out);

/* Appends, attends, and gives the f32 of the activation: [rows, n_heads * d_head]; the caller's. */
float *device_step_run(struct device_rig *rig, const struct device_step *step);

/* The device's vector of a position as bytes, with its scale behind them (int8). */
size_t device_vector_read(struct attention_pair *p, struct device_rig *rig,
                          const struct device_step *step, const struct page_order *order,
                          bool is_value, uint32_t sequence, uint32_t position, uint32_t kv_head,
                          uint8_t *out);
/* The reference's. */
const uint8_t *reference_vector_at(const struct attention_pair *p, bool is_value, uint32_t sequence,
                                   uint32_t position, uint32_t kv_head);

#endif
