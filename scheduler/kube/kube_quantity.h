#ifndef PENSTOCK_SCHEDULER_KUBE_QUANTITY_H
#define PENSTOCK_SCHEDULER_KUBE_QUANTITY_H

#include <stdint.h>

#include "status.h"

/* Kubernetes' quantities: "500m", "64", "1.5Gi", "2e3", "100k". Suffixes n u m k M G T P E and Ki Mi Gi Ti Pi Ei, or a decimal
 * exponent (apimachinery, resource.Quantity). */

/* Thousandths of the unit, rounded away from zero as Kubernetes rounds ("1n" is 1). STATUS_INVALID: no quantity (or NULL);
 * STATUS_TOO_LARGE: beyond 63 bits of thousandths. Pure. */
NODISCARD status kube_quantity_milli(const char *text, int64_t *out);

/* What is not negative of it, in units, rounded up; 0 when it is no quantity. UINT64_MAX / 2 when it is too large. */
uint64_t kube_quantity_units(const char *text);

#endif
