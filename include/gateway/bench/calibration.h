#ifndef PENSTOCK_BENCH_CALIBRATION_H
#define PENSTOCK_BENCH_CALIBRATION_H

#include "bench.h"
#include "capacity.h"

/* What the steps of a model's replica cost (capacity.h), measured from outside, or as a running gateway has measured it; and the file that
 * carries it from one to the other:
 *
 *   {"models":[{"name":"m","calibration":{"fixed_ns":..,"prefill_token_ns":..,"kv_token_ns":..}}]}
 *
 * which is what `penstock bench --calibrate` prints, and part of what GET /admin/capacity answers. */

/* Measures a server that nobody else uses: prompts of two lengths alone, for the price of their tokens; answers after both, alone and several
 * at once, for the price of a step and of what its streams hold. Takes some tens of seconds on a small machine. `order` gives the
 * server, the model and how many streams are several. Statuses as of bench_run; STATUS_CLOSED: a request failed. */
NODISCARD status calibration_measure(const struct bench_order *order, struct step_cost *out,
                                     struct error_note *note);

void calibration_write(const char *model, const struct step_cost *cost, struct buffer *out);

/* From the file's text. STATUS_OK; STATUS_NOT_FOUND: it has none of this model; STATUS_INVALID, with a note. */
NODISCARD status calibration_read(struct text_slice text, const char *model, struct step_cost *out,
                                  struct error_note *note);

#endif
