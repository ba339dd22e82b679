#ifndef PENSTOCK_OBSERVE_GENAI_METRICS_H
#define PENSTOCK_OBSERVE_GENAI_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

/* The metrics that OpenTelemetry's conventions for generative AI name, as cumulative histograms, for those who take them by
 * OTLP. One thread: the exporter's. */

#define GENAI_SERIES_MAX                                                                           \
    512u /* of all histograms together; beyond it observations are lost and counted */
#define GENAI_BOUNDS_MAX       16u
#define GENAI_NAME_BYTES       129u
#define GENAI_POINT_ATTRIBUTES 6u

enum genai_metric {
    GENAI_REQUEST_DURATION,
    GENAI_TIME_TO_FIRST_TOKEN,
    GENAI_TIME_PER_OUTPUT_TOKEN,
    GENAI_TOKEN_USAGE,
    GENAI_METRIC_COUNT
};

struct genai_definition {
    const char *name, *unit, *description;
    uint32_t bound_count;
    double bounds[GENAI_BOUNDS_MAX];
};
extern const struct genai_definition genai_definitions[GENAI_METRIC_COUNT];

/* What one request adds. Seconds below 0: not known. */
struct genai_sample {
    const char *operation; /* static: "chat" */
    char model
        [GENAI_NAME_BYTES]; /* that was served; the config's name, so that clients cannot make series */
    char error_type[64]; /* "": it went well */
    double duration_s, first_token_s, per_token_s;
    bool has_usage;
    uint64_t input_tokens, output_tokens;
};

struct genai_series {
    enum genai_metric metric;
    const char *operation;  /* static */
    const char *token_type; /* static; NULL: the metric has none */
    char model[GENAI_NAME_BYTES], error_type[64];
    uint64_t counts[GENAI_BOUNDS_MAX + 1]; /* of each bucket alone */
    uint64_t count;
    double sum;
};

struct genai_metrics {
    uint64_t start_ns; /* since 1970 */
    uint32_t series_count;
    uint64_t lost;
    struct genai_series series[GENAI_SERIES_MAX];
};

void genai_metrics_add(struct genai_metrics *metrics, const struct genai_sample *sample);
/* The attributes of a series; returns how many. */
uint32_t genai_series_attributes(const struct genai_series *series,
                                 struct attribute out[GENAI_POINT_ATTRIBUTES]);

#endif
