#ifndef PENSTOCK_CONFIG_POOL_TABLE_H
#define PENSTOCK_CONFIG_POOL_TABLE_H

#include "pool_settings.h"

/* Rows of lists and sections of the settings table (config_table.c) that speak of the pool. */
extern const struct setting pool_member_table[], pool_quota_table[], pool_round_trip_table[];
extern const struct setting model_autoscale_table[], model_placement_table[];

#endif
