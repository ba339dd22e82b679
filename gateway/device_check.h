#ifndef PENSTOCK_GATEWAY_DEVICE_CHECK_H
#define PENSTOCK_GATEWAY_DEVICE_CHECK_H

#include <stdbool.h>

#include "config.h"

/* `penstock check` for models on accelerators: the plan of a layout, without any. */
struct device_check_options {
    const char *device;       /* NULL: what the model's placement says */
    int32_t tensor, pipeline; /* 0: as configured */
};

/* Is the model's plan one for accelerators: does the command line, its backend or its placement say so? */
bool device_check_is_asked(const struct config_model *row,
                           const struct device_check_options *options);

/* Prints the plan; where no device is named one line for each that is known. False: it cannot be, and stderr says why. */
bool device_check(const struct config *config, const struct config_model *row,
                  const struct device_check_options *options);

#endif
