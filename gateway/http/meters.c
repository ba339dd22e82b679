#include "meters.h"

static status add_family(metrics_registry *registry, enum metrics_kind kind, const char *name,
                         const char *help, const char *label, metrics_family **out)
{
    const char *const labels[] = {label, NULL};
    const struct metrics_family_options options = {
        .kind = kind, .name = name, .help = help, .labels = label != NULL ? labels : NULL};
    return metrics_family_create(registry, &options, out);
}

static status add_series(metrics_registry *registry, enum metrics_kind kind, const char *name,
                         const char *help, metrics_series **out)
{
    metrics_family *family;
    status s = add_family(registry, kind, name, help, NULL, &family);
    if (s == STATUS_OK)
        *out = metrics_series_get(family, NULL);
    return s;
}

static status add_loop_delay(metrics_registry *registry, struct http_meters *out)
{
    static const double bounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
                                    0.05,   0.1,   0.25,  0.5,   1,    5};
    const struct metrics_family_options options = {
        .kind = METRICS_HISTOGRAM,
        .name = "penstock_http_loop_delay_seconds",
        .help = "How late an event loop came to a timer that it checks ten times a second.",
        .bounds = bounds,
        .bound_count = sizeof bounds / sizeof bounds[0]};
    metrics_family *family;
    status s = metrics_family_create(registry, &options, &family);
    if (s == STATUS_OK)
        out->loop_delay = metrics_series_get(family, NULL);
    return s;
}

static status add_labelled(metrics_registry *registry, struct http_meters *out)
{
    static const char *const protocols[PHASE_COUNT] = {"new", "http1", "http2"};
    metrics_family *connections, *kills;
    status s = add_family(registry, METRICS_GAUGE, "penstock_http_connections",
                          "Open client connections.", "protocol", &connections);
    if (s == STATUS_OK)
        s = add_family(registry, METRICS_COUNTER, "penstock_http_guard_kills_total",
                       "Connections ended because of what the client sent or did not read.",
                       "reason", &kills);
    if (s != STATUS_OK)
        return s;
    for (unsigned i = 0; i < PHASE_COUNT; i++)
        out->connections[i] = metrics_series_get(connections, &protocols[i]);
    for (unsigned i = GUARD_PASS + 1; i < GUARD_VERDICT_COUNT; i++) {
        const char *name = guard_verdict_name((enum guard_verdict)i);
        out->guard_kills[i] = metrics_series_get(kills, &name);
    }
    return STATUS_OK;
}

status http_meters_create(metrics_registry *registry, struct http_meters *out)
{
    status s = STATUS_OK;
    *out = (struct http_meters){.own_registry = NULL};
    if (registry == NULL) {
        s = metrics_registry_create(&out->own_registry);
        registry = out->own_registry;
    }
    if (s == STATUS_OK)
        s = add_labelled(registry, out);
    if (s == STATUS_OK)
        s = add_loop_delay(registry, out);
    if (s == STATUS_OK)
        s = add_series(registry, METRICS_COUNTER, "penstock_http_connections_refused_total",
                       "Connections closed at accept because of a limit.",
                       &out->connections_refused);
    if (s == STATUS_OK)
        s = add_series(registry, METRICS_GAUGE, "penstock_http_requests_in_flight",
                       "Requests whose handler has been called and that have not ended.",
                       &out->requests_in_flight);
    if (s == STATUS_OK)
        s = add_series(registry, METRICS_COUNTER, "penstock_http_received_bytes_total",
                       "Bytes received from clients, above TLS.", &out->received_bytes);
    if (s == STATUS_OK)
        s = add_series(registry, METRICS_COUNTER, "penstock_http_sent_bytes_total",
                       "Bytes handed to client connections, above TLS.", &out->sent_bytes);
    if (s != STATUS_OK)
        http_meters_destroy(out);
    return s;
}

void http_meters_destroy(struct http_meters *meters)
{
    metrics_registry_destroy(meters->own_registry);
    meters->own_registry = NULL;
}
