#ifndef PENSTOCK_CONFIG_TRACING_CHECK_H
#define PENSTOCK_CONFIG_TRACING_CHECK_H

#include "config.h"

/* config_check's part that is about observability.tracing. */
void config_tracing_check(const struct config *config, settings_document *document,
                          struct settings_report *report);

#endif
