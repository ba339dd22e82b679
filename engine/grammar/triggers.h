#ifndef PENSTOCK_GRAMMAR_TRIGGERS_H
#define PENSTOCK_GRAMMAR_TRIGGERS_H

#include "expr.h"

/* Free text that `inside` interrupts: it follows each of the triggers at once. NULL: failed. */
const struct expr *triggers_expr(struct compile *c, const struct text_slice *triggers,
                                 uint32_t count, const struct expr *inside);

#endif
