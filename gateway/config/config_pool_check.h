#ifndef PENSTOCK_CONFIG_POOL_CHECK_H
#define PENSTOCK_CONFIG_POOL_CHECK_H

#include "config.h"

/* config_check's part that is about members, quotas, placement and scaling. */
void config_pool_check(const struct config *config, settings_document *document,
                       struct settings_report *report);

#endif
