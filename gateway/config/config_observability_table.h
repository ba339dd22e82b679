#ifndef PENSTOCK_CONFIG_OBSERVABILITY_TABLE_H
#define PENSTOCK_CONFIG_OBSERVABILITY_TABLE_H

#include "settings.h"

/* Rows of the section `observability` (config_table.c), and of the sections in it. */
extern const struct setting observability_table[];
extern const struct setting observability_requests_table[];
extern const struct setting observability_history_table[];
extern const struct setting observability_anomalies_table[];
extern const struct setting observability_tracing_table[];

#endif
