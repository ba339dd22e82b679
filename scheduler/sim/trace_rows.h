#ifndef PENSTOCK_SIM_TRACE_ROWS_H
#define PENSTOCK_SIM_TRACE_ROWS_H

#include "trace.h"
#include "traffic.h"

/* What the simulator sees of a trace. */
struct trace_model {
    char name[TRACE_NAME_BYTES_MAX + 1];
    uint32_t kind;                    /* specs_kind_find */
    struct traffic_request *requests; /* owned, by time, from 0 on */
    uint64_t count, room;
    double prompt_sum, output_sum, output_square_sum;
};

struct trace {
    struct trace_model *models; /* owned: [TRACE_MODELS_MAX] */
    uint32_t model_count;
    uint64_t request_count;
    uint64_t last_ns; /* since the first */
};

#endif
