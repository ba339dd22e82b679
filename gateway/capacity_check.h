#ifndef PENSTOCK_GATEWAY_CAPACITY_CHECK_H
#define PENSTOCK_GATEWAY_CAPACITY_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

/* What `penstock check` says of a model's capacity, by what its steps were measured to cost (calibration.h). */

struct capacity_check_options {
    const char *calibration; /* file; NULL: nothing is predicted */
    const char *rate; /* requests a second of all replicas together; NULL: several are shown */
    int32_t prompt_tokens, output_tokens; /* of the mean request; above 0 */
};

/* Prints the prediction for a model whose replicas have caches of `kv_tokens`. False: the options, the file, or more load than the
 * replicas carry; what is wrong has been printed. */
bool capacity_check(const struct config *config, const struct config_model *row, uint64_t kv_tokens,
                    const struct capacity_check_options *options);

#endif
