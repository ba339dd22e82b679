#include "quantise_rows.h"

void quantise_span_avx2(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span);

void quantise_span_avx2(struct activation *a, uint32_t row, uint32_t n_rows, uint32_t span)
{
    quantise_rows(a, row, n_rows, span);
}
