#include "config_observability_table.h"
#include "setting_rows.h"
#include "tracing_settings.h"

static const char *const protocol_words[] = {
    [OTLP_PROTOBUF] = "http/protobuf", [OTLP_JSON] = "http/json", NULL};

// clang-format off
static const struct setting header_table[] = {
    {TEXT("name", config_otlp_header, name, NULL), .reload = RELOAD_RESTART, .help = "Its name: authorization, x-scope-orgid."},
    {TEXT("value", config_otlp_header, value, ""), .reload = RELOAD_RESTART,
     .help = "Its value, where that is no secret.", .danger = "It is shown by /admin/config."},
    {FILE_PATH("value_file", config_otlp_header, value_file, ""), .reload = RELOAD_RESTART, .help = "A file with the value."},
    {TEXT("value_env", config_otlp_header, value_env, ""), .reload = RELOAD_RESTART,
     .help = "A variable of the environment with the value."},
    {.key = NULL}};

const struct setting observability_tracing_table[] = {
    {TEXT("endpoint", config_tracing, endpoint, ""), .reload = RELOAD_RESTART,
     .help = "Where spans and metrics go: the http or https URL of a receiver of the OpenTelemetry Protocol over HTTP, such as "
             "http://collector:4318; /v1/traces and /v1/metrics are added to it. \"\" sends nothing.",
     .danger = "Names of models, keys, teams and replicas go there; nothing of prompts and answers does."},
    {WORD("protocol", config_tracing, protocol, "http/protobuf", protocol_words), .reload = RELOAD_RESTART,
     .help = "How they are encoded."},
    {FILE_PATH("ca_file", config_tracing, ca_file, ""), .reload = RELOAD_RESTART,
     .help = "PEM file of the authorities that the receiver's certificate is checked with; \"\" takes the system's."},
    {TEXT("service_name", config_tracing, service_name, "penstock"), .reload = RELOAD_RESTART,
     .help = "service.name of what is sent."},
    {.key = "headers", .kind = SETTING_LIST, .offset = offsetof(struct config_tracing, headers), .table = header_table,
     .item_bytes = sizeof(struct config_otlp_header), .min = 0, .max = 16, .reload = RELOAD_RESTART,
     .help = "Headers of the requests to the receiver."},
    {TEXTS("resource_attributes", config_tracing, resource_attributes, 16), .reload = RELOAD_RESTART,
     .help = "More attributes of the resource, as key=value: deployment.environment.name=production."},
    {FLOAT("sample_ratio", config_tracing, sample_ratio, "0.1", 0, 1), .reload = RELOAD_RESTART,
     .help = "Share of the requests whose spans are sent, of those that neither fail nor are slow. It goes by the trace's id, so that a "
             "trace is kept or left out as a whole, also when a client tries again.",
     .danger = "Beyond what the queue takes, traces are dropped and counted."},
    {BOOL("follow_parent", config_tracing, follow_parent, "true"), .reload = RELOAD_RESTART,
     .help = "Keep every trace that its caller keeps (the sampled flag of traceparent).",
     .danger = "Clients then decide how much is sent, up to what the queue takes."},
    {BOOL("keep_errors", config_tracing, keep_errors, "true"), .reload = RELOAD_RESTART,
     .help = "Keep every request that ended with 5xx or whose stream ended with an error."},
    {DURATION("slow_after", config_tracing, slow_ns, "10s", 0, 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "Keep every request whose first token, or whole answer where it is no stream, came later; 0s for none."},
    {INT("queue", config_tracing, queue, "512", 1, 65536), .reload = RELOAD_RESTART, .unit = "requests",
     .help = "Requests of one event loop that may wait for the exporter, at about 6 KiB each; beyond it they are dropped and counted."},
    {INT("batch", config_tracing, batch, "512", 1, 65536), .reload = RELOAD_RESTART, .unit = "spans",
     .help = "So many spans are sent at once, or what there is after interval."},
    {DURATION("interval", config_tracing, interval_ns, "5s", 10 * MS, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "Longest time that a span waits for others."},
    {DURATION("timeout", config_tracing, timeout_ns, "10s", 10 * MS, 600 * SEC), .reload = RELOAD_RESTART,
     .help = "For one request to the receiver."},
    {DURATION("retry_time", config_tracing, retry_ns, "1m", 0, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "A batch that the receiver could not take is sent again for so long, ever more rarely, and not before its Retry-After; then it is "
             "dropped and counted."},
    {DURATION("flush_time", config_tracing, flush_ns, "3s", 0, 600 * SEC), .reload = RELOAD_RESTART,
     .help = "At the end, what has not been sent gets this long."},
    {DURATION("metrics_interval", config_tracing, metrics_interval_ns, "60s", 0, 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "How often the metrics with the names of OpenTelemetry's conventions for generative AI are sent; 0s for never."},
    {.key = NULL}};
// clang-format on
