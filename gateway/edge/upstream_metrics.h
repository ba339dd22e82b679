#ifndef PENSTOCK_EDGE_UPSTREAM_METRICS_H
#define PENSTOCK_EDGE_UPSTREAM_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "text_slice.h"

/* How busy a server says that it is, in the Prometheus text of vLLM, SGLang, llama.cpp or TensorRT-LLM. Series of one name (one an
 * engine or model) are added up. Pure; any thread. */
struct upstream_load {
    uint32_t running, waiting; /* requests */
    double kv_usage;           /* 0..1; of several the highest */
};

/* False: the text has none of the names. */
bool upstream_metrics_read(struct text_slice text, struct upstream_load *out);

#endif
