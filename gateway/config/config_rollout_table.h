#ifndef PENSTOCK_CONFIG_ROLLOUT_TABLE_H
#define PENSTOCK_CONFIG_ROLLOUT_TABLE_H

#include "settings.h"

/* Rows of models[].rollout (config_table.c). */
extern const struct setting model_rollout_table[];

#endif
