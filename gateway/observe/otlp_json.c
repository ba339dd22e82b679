/* The JSON mapping of the protocol: names in lowerCamelCase, ids in hexadecimal, 64-bit integers as strings, enums as
 * numbers. */
#include "otlp_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

#define TEMPORALITY_CUMULATIVE "2"
#define STATUS_CODE_ERROR      "2"
#define ANSWER_BYTES_MAX       65536u

static void u64_write(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_format(out, "\"%" PRIu64 "\"", value);
}

static void text_write(struct buffer *out, const char *key, const char *text)
{
    json_write_key(out, key);
    json_write_text(out, text);
}

static void value_write(struct buffer *out, const struct attribute *attribute)
{
    buffer_append_byte(out, '{');
    switch (attribute->kind) {
    case ATTRIBUTE_TEXT:
        text_write(out, "stringValue", attribute->text);
        break;
    case ATTRIBUTE_TEXTS:
        buffer_append_text(out, "\"arrayValue\":{\"values\":[{");
        text_write(out, "stringValue", attribute->text);
        buffer_append_text(out, "}]}");
        break;
    case ATTRIBUTE_INT:
        json_write_key(out, "intValue");
        buffer_append_format(out, "\"%" PRId64 "\"", attribute->number);
        break;
    case ATTRIBUTE_DOUBLE:
        json_write_key(out, "doubleValue");
        json_write_double(out, attribute->real);
        break;
    case ATTRIBUTE_BOOL:
        json_write_key(out, "boolValue");
        json_write_bool(out, attribute->truth);
        break;
    }
    buffer_append_byte(out, '}');
}

/* Items of a list that has been opened. */
static void attributes_write(struct buffer *out, const struct attribute *attributes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        json_write_comma(out);
        buffer_append_byte(out, '{');
        text_write(out, "key", attributes[i].key);
        json_write_key(out, "value");
        value_write(out, &attributes[i]);
        buffer_append_byte(out, '}');
    }
}

static void attributes_write_list(struct buffer *out, const struct attribute *attributes,
                                  uint32_t count)
{
    json_write_key(out, "attributes");
    buffer_append_byte(out, '[');
    attributes_write(out, attributes, count);
    buffer_append_byte(out, ']');
}

static void events_write(struct buffer *out, const struct span *span)
{
    json_write_key(out, "events");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < span->event_count; i++) {
        const struct span_event *event = &span->events[i];

        json_write_comma(out);
        buffer_append_byte(out, '{');
        u64_write(out, "timeUnixNano", event->time_ns);
        text_write(out, "name", event->name);
        attributes_write_list(out, &event->attribute, event->has_attribute);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

static void status_write(struct buffer *out, const struct span *span)
{
    if (!span->is_error)
        return;
    buffer_append_text(out, ",\"status\":{\"code\":" STATUS_CODE_ERROR);
    if (span->error_message != NULL && span->error_message[0] != '\0')
        text_write(out, "message", span->error_message);
    buffer_append_byte(out, '}');
}

static void ids_write(struct buffer *out, const struct span *span)
{
    char trace[TRACE_ID_HEX_BYTES], id[SPAN_ID_HEX_BYTES];

    trace_id_hex(span->trace_id, trace);
    text_write(out, "traceId", trace);
    span_id_hex(span->span_id, id);
    text_write(out, "spanId", id);
    if (!span_id_is_set(span->parent_id))
        return;
    span_id_hex(span->parent_id, id);
    text_write(out, "parentSpanId", id);
}

/* Each behind the first brings its comma. */
static void span_write(struct buffer *out, const struct span *span)
{
    if (out->bytes > 0)
        buffer_append_byte(out, ',');
    buffer_append_byte(out, '{');
    ids_write(out, span);
    text_write(out, "name", span->name);
    buffer_append_format(out, ",\"kind\":%d,\"flags\":1", (int)span->kind);
    u64_write(out, "startTimeUnixNano", span->start_ns);
    u64_write(out, "endTimeUnixNano", span->end_ns);
    attributes_write_list(out, span->attributes, span->attribute_count);
    if (span->attributes_dropped > 0)
        buffer_append_format(out, ",\"droppedAttributesCount\":%u", span->attributes_dropped);
    events_write(out, span);
    if (span->events_dropped > 0)
        buffer_append_format(out, ",\"droppedEventsCount\":%u", span->events_dropped);
    status_write(out, span);
    buffer_append_byte(out, '}');
}

static void resource_text(struct buffer *out, const char *key, const char *text)
{
    const struct attribute attribute = {.key = key, .kind = ATTRIBUTE_TEXT, .text = text};

    if (text != NULL && text[0] != '\0')
        attributes_write(out, &attribute, 1);
}

/* `kind`: "Spans" or "Metrics". Up to the inside of the scope's list `items`. */
static void scope_begin(struct buffer *out, const struct otlp_resource *resource, const char *kind,
                        const char *items)
{
    buffer_append_format(out, "{\"resource%s\":[{\"resource\":{\"attributes\":[", kind);
    resource_text(out, "service.name", resource->service_name);
    resource_text(out, "service.version", resource->service_version);
    resource_text(out, "service.instance.id", resource->service_instance);
    resource_text(out, "host.name", resource->host_name);
    attributes_write(out, resource->attributes, resource->attribute_count);
    buffer_append_format(out, "]},\"scope%s\":[{\"scope\":{", kind);
    text_write(out, "name", OTLP_SCOPE_NAME);
    text_write(out, "version", resource->service_version);
    buffer_append_format(out, "},\"%s\":[", items);
}

static void traces_write(struct buffer *out, const struct otlp_resource *resource,
                         struct text_slice spans)
{
    scope_begin(out, resource, "Spans", "spans");
    buffer_append_slice(out, spans);
    buffer_append_text(out, "]}]}]}");
}

static void point_write(struct buffer *out, const struct genai_series *series, uint64_t start_ns,
                        uint64_t now_ns)
{
    const struct genai_definition *definition = &genai_definitions[series->metric];
    struct attribute attributes[GENAI_POINT_ATTRIBUTES];
    uint32_t count = genai_series_attributes(series, attributes);

    buffer_append_byte(out, '{');
    u64_write(out, "startTimeUnixNano", start_ns);
    u64_write(out, "timeUnixNano", now_ns);
    u64_write(out, "count", series->count);
    json_write_key(out, "sum");
    json_write_double(out, series->sum);
    json_write_key(out, "bucketCounts");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i <= definition->bound_count; i++)
        buffer_append_format(out, "%s\"%" PRIu64 "\"", i > 0 ? "," : "", series->counts[i]);
    buffer_append_text(out, "],\"explicitBounds\":[");
    for (uint32_t i = 0; i < definition->bound_count; i++) {
        json_write_comma(out);
        json_write_double(out, definition->bounds[i]);
    }
    buffer_append_byte(out, ']');
    attributes_write_list(out, attributes, count);
    buffer_append_byte(out, '}');
}

static void metric_write(struct buffer *out, const struct genai_metrics *metrics,
                         enum genai_metric metric, uint64_t now_ns)
{
    const struct genai_definition *definition = &genai_definitions[metric];

    json_write_comma(out);
    buffer_append_byte(out, '{');
    text_write(out, "name", definition->name);
    text_write(out, "description", definition->description);
    text_write(out, "unit", definition->unit);
    buffer_append_text(out, ",\"histogram\":{\"aggregationTemporality\":" TEMPORALITY_CUMULATIVE
                            ",\"dataPoints\":[");
    for (uint32_t i = 0; i < metrics->series_count; i++) {
        if (metrics->series[i].metric != metric)
            continue;
        json_write_comma(out);
        point_write(out, &metrics->series[i], metrics->start_ns, now_ns);
    }
    buffer_append_text(out, "]}}");
}

static void metrics_write_all(struct buffer *out, const struct otlp_resource *resource,
                              const struct genai_metrics *metrics, uint64_t now_ns)
{
    scope_begin(out, resource, "Metrics", "metrics");
    for (int i = 0; i < GENAI_METRIC_COUNT; i++)
        metric_write(out, metrics, (enum genai_metric)i, now_ns);
    buffer_append_text(out, "]}]}]}");
}

/* The count may be a number or, as the mapping has it, a string. */
static uint64_t count_of(const json_t *partial, const char *name)
{
    const json_t *value = json_object_get(partial, name);
    long long count = json_is_string(value) ? strtoll(json_string_value(value), NULL, 10)
                                            : (long long)json_integer_value(value);

    return count > 0 ? (uint64_t)count : 0;
}

static uint64_t rejected_read(struct text_slice answer, char *why, size_t why_bytes)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 1000};
    const json_t *partial;
    const char *message;
    uint64_t rejected;
    json_t *read = NULL;

    why[0] = '\0';
    if (answer.bytes == 0 || answer.bytes > ANSWER_BYTES_MAX ||
        json_load_limited(answer, &limits, &read, NULL) != STATUS_OK)
        return 0;
    partial = json_object_get(read, "partialSuccess");
    rejected = count_of(partial, "rejectedSpans") + count_of(partial, "rejectedDataPoints");
    message = json_string_value(json_object_get(partial, "errorMessage"));
    if (message != NULL)
        (void)snprintf(why, why_bytes, "%s", message);
    json_decref(read);
    return rejected;
}

const struct otlp_format otlp_json = {
    .content_type = "application/json",
    .span = span_write,
    .traces = traces_write,
    .metrics = metrics_write_all,
    .rejected = rejected_read,
};
