#ifndef PENSTOCK_CONFIG_TRACING_SETTINGS_H
#define PENSTOCK_CONFIG_TRACING_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

/* observability.tracing: spans and metrics for a receiver of the OpenTelemetry Protocol (observe/otlp_exporter.h). */

enum otlp_protocol { OTLP_PROTOBUF, OTLP_JSON };

/* A header of its requests. The value is one of the three. */
struct config_otlp_header {
    const char *name, *value, *value_file, *value_env;
};

struct config_tracing {
    const char *endpoint; /* "": nothing is sent */
    int protocol;         /* enum otlp_protocol */
    const char *ca_file;  /* "": the system's */
    const char *service_name;
    struct setting_list headers;             /* of struct config_otlp_header */
    struct setting_list resource_attributes; /* of const char *: "key=value" */
    double sample_ratio;
    bool follow_parent, keep_errors;
    uint64_t slow_ns; /* 0: none is slow */
    int64_t queue, batch;
    uint64_t interval_ns, timeout_ns, retry_ns, flush_ns;
    uint64_t metrics_interval_ns; /* 0: no metrics */
};

#endif
