#ifndef PENSTOCK_IDENTITY_STATIC_KEYS_H
#define PENSTOCK_IDENTITY_STATIC_KEYS_H

#include "config.h"
#include "key_table.h"

/* The table of the config's own keys (auth.keys). It borrows nothing. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status static_keys_create(const struct config *config, struct key_table **out);

#endif
