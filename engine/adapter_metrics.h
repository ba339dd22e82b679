#ifndef PENSTOCK_ENGINE_ADAPTER_METRICS_H
#define PENSTOCK_ENGINE_ADAPTER_METRICS_H

#include "engine.h"

/* Which adapters are at work, as vLLM tells it: vllm:lora_requests_info, whose labels are lists of names and whose value is the
 * wall time; routers that know adapters read it. Made anew at each scrape, so a request pays nothing for it. */
struct adapter_metrics;

/* `e` and `registry` are borrowed; nobody scrapes any more when it is destroyed. STATUS_INVALID, STATUS_NO_MEMORY. */
NODISCARD status adapter_metrics_create(engine *e, metrics_registry *registry,
                                        struct adapter_metrics **out);
void adapter_metrics_destroy(struct adapter_metrics *m); /* accepts NULL */

#endif
