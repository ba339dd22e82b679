#ifndef PENSTOCK_TOKEN_OUTPUT_H
#define PENSTOCK_TOKEN_OUTPUT_H

#include "tokenizer.h"

/* Makes room for `extra` more ids, whatever the list's ceiling. STATUS_NO_MEMORY. */
NODISCARD status token_list_reserve(struct token_list *list, size_t extra);

#endif
