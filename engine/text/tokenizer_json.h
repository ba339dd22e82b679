#ifndef PENSTOCK_TOKENIZER_JSON_H
#define PENSTOCK_TOKENIZER_JSON_H

#include "json.h"
#include "tokenizer_plan.h"

/* The parts of a tokenizer.json, each into the plan. Every function: STATUS_INVALID for what cannot
 * be, STATUS_UNSUPPORTED for a part or an option that this build does not have (with its name),
 * STATUS_TOO_LARGE, STATUS_NO_MEMORY. Values may be null or absent. */

NODISCARD status json_read_normalizer(const json_t *value, struct normalizer *out,
                                      struct error_note *note);
NODISCARD status json_read_pre_tokenizer(const json_t *value, struct pre_tokenizer *out,
                                         struct error_note *note);
NODISCARD status json_read_frame(const json_t *value, struct token_frame *out,
                                 struct error_note *note);
/* How tokens become text: from the decoder, or where it is absent from the pre-tokenizer. */
NODISCARD status json_read_decoder(const json_t *decoder, const json_t *pre_tokenizer,
                                   struct tokenizer_plan *out, struct error_note *note);

/* A member's text; an empty slice when it is absent, null or no string. Inside the tree. */
struct text_slice json_text(const json_t *object, const char *name);
bool json_flag(const json_t *object, const char *name, bool fallback);

#endif
