#ifndef PENSTOCK_NORMAL_TABLES_H
#define PENSTOCK_NORMAL_TABLES_H

#include <stdint.h>

/* What Unicode's normalization forms and lower-casing make of a code point; generated
 * (tools/make_unicode_tables.py). All rows rise by their code points. Hangul syllables are not among
 * them: they follow a formula. */
struct normal_mapping {
    uint32_t code_point;
    uint16_t start; /* in normal_characters */
    uint16_t count;
};
struct normal_pair {
    uint32_t first, second, composed;
};
struct normal_order {
    uint32_t code_point;
    uint32_t combining_class; /* 1..254 */
};

extern const struct normal_mapping normal_canonical[];  /* full canonical decompositions */
extern const struct normal_mapping normal_compatible[]; /* where the compatibility form differs */
extern const struct normal_mapping normal_lower[];
extern const uint32_t normal_canonical_count, normal_compatible_count, normal_lower_count;
extern const uint32_t normal_characters[];
extern const struct normal_pair normal_pairs[];
extern const uint32_t normal_pair_count;
extern const struct normal_order normal_orders[];
extern const uint32_t normal_order_count;

#endif
