#ifndef PENSTOCK_MODEL_WEIGHTS_OPEN_H
#define PENSTOCK_MODEL_WEIGHTS_OPEN_H

#include "model_weights.h"

/* Where weights may be kept between starts; see model_options. */
struct weight_keeping {
    const char *setting;    /* NULL: nowhere */
    const char *model_path; /* of the source */
};

/* model_weights_load, out of a cache that an earlier start left, else leaving one where that can be
 * done, one file a rank. No trouble with a cache is an error: it is logged and the weights are laid out anew. Statuses
 * as model_weights_load; `out` may be given to model_weights_unload after any outcome. */
NODISCARD status model_weights_open(const model_source *source, backend *b,
                                    const struct model_shape *shape, const struct model_part *part,
                                    const struct weight_keeping *keeping, struct model_weights *out,
                                    struct error_note *note);

#endif
