#include "config_observability_table.h"

#include "observability_settings.h"
#include "setting_rows.h"

#define SECTION(name, field, rows, text)                                                           \
    .key = name, .kind = SETTING_SECTION, .offset = offsetof(struct config_observability, field),  \
    .table = rows, .help = text

// clang-format off
const struct setting observability_table[] = {
    {SECTION("tracing", tracing, observability_tracing_table, "Spans and metrics by the OpenTelemetry Protocol.")},
    {SECTION("requests", requests, observability_requests_table, "What has happened to requests, and what replicas have done last.")},
    {SECTION("history", history, observability_history_table, "What models and replicas did, by minutes and hours (/admin/history, the dashboard page).")},
    {SECTION("anomalies", anomalies, observability_anomalies_table, "What is unlike the same hour of the weeks before (/admin/anomalies).")},
    {.key = NULL}};
// clang-format on
