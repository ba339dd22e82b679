#ifndef PENSTOCK_MODEL_SHAPE_PARTS_H
#define PENSTOCK_MODEL_SHAPE_PARTS_H

#include "model_facts.h"
#include "model_shape.h"

/* The parts of model_shape_read that differ between the kinds of files. */

#define CONTEXT_MAX     (1u << 28)
#define ROPE_BASE_MAX   1e12
#define ROPE_FACTOR_MAX 1e6

/* Fill shape->rope, and local_rope where the family has it; everything else is there. `original`: positions trained before
 * the context grew, 0: not said. Statuses as model_shape_read. */
NODISCARD status model_shape_read_gguf_rope(const model_source *source, uint32_t original,
                                            struct model_shape *shape, struct error_note *note);
NODISCARD status model_shape_read_hf_rope(const model_source *source, uint32_t original,
                                          struct model_shape *shape, struct error_note *note);

/* Which layers have the window. */
NODISCARD status model_shape_read_hf_windows(const model_source *source, struct model_shape *shape,
                                             struct error_note *note);
void model_shape_fill_windows(struct model_shape *shape, uint32_t period);

/* What config.json may ask for and we do not have. */
NODISCARD status model_shape_check_hf(const model_source *source, const struct model_shape *shape,
                                      struct error_note *note);

#endif
