/* The field numbers are those of opentelemetry-proto: collector/trace/v1, collector/metrics/v1, trace/v1, metrics/v1,
 * common/v1 and resource/v1. Each enum below is one message. */
#include "otlp_format.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "protobuf_out.h"

#define EXPORT_RESOURCES         1u /* Export{Trace,Metrics}ServiceRequest */
#define TEMPORALITY_CUMULATIVE   2u
#define STATUS_CODE_ERROR        2u
#define FLAG_TRACE_FLAGS_SAMPLED 1u

enum { RESOURCE_SPANS_RESOURCE = 1, RESOURCE_SPANS_SCOPES = 2 }; /* ResourceMetrics has the same */
enum { RESOURCE_ATTRIBUTES = 1 };
enum { SCOPE_SPANS_SCOPE = 1, SCOPE_SPANS_SPANS = 2 }; /* ScopeMetrics has the same */
enum { SCOPE_NAME = 1, SCOPE_VERSION = 2 };
enum { KEY_VALUE_KEY = 1, KEY_VALUE_VALUE = 2 };
enum { VALUE_STRING = 1, VALUE_BOOL = 2, VALUE_INT = 3, VALUE_DOUBLE = 4, VALUE_ARRAY = 5 };
enum { ARRAY_VALUES = 1 };
enum {
    SPAN_TRACE_ID = 1,
    SPAN_SPAN_ID = 2,
    SPAN_PARENT_ID = 4,
    SPAN_NAME = 5,
    SPAN_KIND = 6,
    SPAN_START = 7,
    SPAN_END = 8,
    SPAN_ATTRIBUTES = 9,
    SPAN_ATTRIBUTES_DROPPED = 10,
    SPAN_EVENTS = 11,
    SPAN_EVENTS_DROPPED = 12,
    SPAN_STATUS = 15,
    SPAN_FLAGS = 16
};
enum { EVENT_TIME = 1, EVENT_NAME = 2, EVENT_ATTRIBUTES = 3 };
enum { STATUS_MESSAGE = 2, STATUS_CODE = 3 };
enum { METRIC_NAME = 1, METRIC_DESCRIPTION = 2, METRIC_UNIT = 3, METRIC_HISTOGRAM = 9 };
enum { HISTOGRAM_POINTS = 1, HISTOGRAM_TEMPORALITY = 2 };
enum {
    POINT_START = 2,
    POINT_TIME = 3,
    POINT_COUNT = 4,
    POINT_SUM = 5,
    POINT_BUCKETS = 6,
    POINT_BOUNDS = 7,
    POINT_ATTRIBUTES = 9
};
enum { ANSWER_PARTIAL_SUCCESS = 1 };
enum { PARTIAL_REJECTED = 1, PARTIAL_MESSAGE = 2 };

static void value_write(struct buffer *out, const struct attribute *attribute, uint32_t field)
{
    size_t mark = protobuf_begin(out, field), list, item;

    switch (attribute->kind) {
    case ATTRIBUTE_TEXT:
        protobuf_text(out, VALUE_STRING, attribute->text);
        break;
    case ATTRIBUTE_TEXTS:
        list = protobuf_begin(out, VALUE_ARRAY);
        item = protobuf_begin(out, ARRAY_VALUES);
        protobuf_text(out, VALUE_STRING, attribute->text);
        protobuf_end(out, item);
        protobuf_end(out, list);
        break;
    case ATTRIBUTE_INT:
        protobuf_int(out, VALUE_INT, attribute->number);
        break;
    case ATTRIBUTE_DOUBLE:
        protobuf_double(out, VALUE_DOUBLE, attribute->real);
        break;
    case ATTRIBUTE_BOOL:
        protobuf_uint(out, VALUE_BOOL, attribute->truth);
        break;
    }
    protobuf_end(out, mark);
}

static void attributes_write(struct buffer *out, uint32_t field, const struct attribute *attributes,
                             uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t mark = protobuf_begin(out, field);

        protobuf_text(out, KEY_VALUE_KEY, attributes[i].key);
        value_write(out, &attributes[i], KEY_VALUE_VALUE);
        protobuf_end(out, mark);
    }
}

static void event_write(struct buffer *out, const struct span_event *event)
{
    size_t mark = protobuf_begin(out, SPAN_EVENTS);

    protobuf_fixed64(out, EVENT_TIME, event->time_ns);
    protobuf_text(out, EVENT_NAME, event->name);
    attributes_write(out, EVENT_ATTRIBUTES, &event->attribute, event->has_attribute);
    protobuf_end(out, mark);
}

static void status_write(struct buffer *out, const struct span *span)
{
    size_t mark;

    if (!span->is_error)
        return;
    mark = protobuf_begin(out, SPAN_STATUS);
    if (span->error_message != NULL && span->error_message[0] != '\0')
        protobuf_text(out, STATUS_MESSAGE, span->error_message);
    protobuf_uint(out, STATUS_CODE, STATUS_CODE_ERROR);
    protobuf_end(out, mark);
}

static void span_write(struct buffer *out, const struct span *span)
{
    size_t mark = protobuf_begin(out, SCOPE_SPANS_SPANS);

    protobuf_bytes(out, SPAN_TRACE_ID, span->trace_id, TRACE_ID_BYTES);
    protobuf_bytes(out, SPAN_SPAN_ID, span->span_id, SPAN_ID_BYTES);
    if (span_id_is_set(span->parent_id))
        protobuf_bytes(out, SPAN_PARENT_ID, span->parent_id, SPAN_ID_BYTES);
    protobuf_text(out, SPAN_NAME, span->name);
    protobuf_uint(out, SPAN_KIND, span->kind);
    protobuf_fixed64(out, SPAN_START, span->start_ns);
    protobuf_fixed64(out, SPAN_END, span->end_ns);
    attributes_write(out, SPAN_ATTRIBUTES, span->attributes, span->attribute_count);
    if (span->attributes_dropped > 0)
        protobuf_uint(out, SPAN_ATTRIBUTES_DROPPED, span->attributes_dropped);
    for (uint32_t i = 0; i < span->event_count; i++)
        event_write(out, &span->events[i]);
    if (span->events_dropped > 0)
        protobuf_uint(out, SPAN_EVENTS_DROPPED, span->events_dropped);
    status_write(out, span);
    protobuf_fixed32(out, SPAN_FLAGS, FLAG_TRACE_FLAGS_SAMPLED);
    protobuf_end(out, mark);
}

static void resource_text(struct buffer *out, const char *key, const char *text)
{
    const struct attribute attribute = {.key = key, .kind = ATTRIBUTE_TEXT, .text = text};

    if (text != NULL && text[0] != '\0')
        attributes_write(out, RESOURCE_ATTRIBUTES, &attribute, 1);
}

/* The resource, and the beginning of the one scope: what follows is in it until scope_end. */
struct scope_marks {
    size_t resource, scope;
};

static struct scope_marks scope_begin(struct buffer *out, const struct otlp_resource *resource)
{
    struct scope_marks marks = {.resource = protobuf_begin(out, EXPORT_RESOURCES)};
    size_t mark = protobuf_begin(out, RESOURCE_SPANS_RESOURCE);

    resource_text(out, "service.name", resource->service_name);
    resource_text(out, "service.version", resource->service_version);
    resource_text(out, "service.instance.id", resource->service_instance);
    resource_text(out, "host.name", resource->host_name);
    attributes_write(out, RESOURCE_ATTRIBUTES, resource->attributes, resource->attribute_count);
    protobuf_end(out, mark);
    marks.scope = protobuf_begin(out, RESOURCE_SPANS_SCOPES);
    mark = protobuf_begin(out, SCOPE_SPANS_SCOPE);
    protobuf_text(out, SCOPE_NAME, OTLP_SCOPE_NAME);
    protobuf_text(out, SCOPE_VERSION, resource->service_version);
    protobuf_end(out, mark);
    return marks;
}

static void scope_end(struct buffer *out, struct scope_marks marks)
{
    protobuf_end(out, marks.scope);
    protobuf_end(out, marks.resource);
}

static void traces_write(struct buffer *out, const struct otlp_resource *resource,
                         struct text_slice spans)
{
    struct scope_marks marks = scope_begin(out, resource);

    buffer_append_slice(out, spans);
    scope_end(out, marks);
}

static void point_write(struct buffer *out, const struct genai_series *series, uint64_t start_ns,
                        uint64_t now_ns)
{
    const struct genai_definition *definition = &genai_definitions[series->metric];
    struct attribute attributes[GENAI_POINT_ATTRIBUTES];
    uint32_t count = genai_series_attributes(series, attributes);
    size_t mark = protobuf_begin(out, HISTOGRAM_POINTS), packed;

    protobuf_fixed64(out, POINT_START, start_ns);
    protobuf_fixed64(out, POINT_TIME, now_ns);
    protobuf_fixed64(out, POINT_COUNT, series->count);
    protobuf_double(out, POINT_SUM, series->sum);
    packed = protobuf_begin(out, POINT_BUCKETS);
    for (uint32_t i = 0; i <= definition->bound_count; i++)
        protobuf_raw_fixed64(out, series->counts[i]);
    protobuf_end(out, packed);
    packed = protobuf_begin(out, POINT_BOUNDS);
    for (uint32_t i = 0; i < definition->bound_count; i++)
        protobuf_raw_double(out, definition->bounds[i]);
    protobuf_end(out, packed);
    attributes_write(out, POINT_ATTRIBUTES, attributes, count);
    protobuf_end(out, mark);
}

static void metric_write(struct buffer *out, const struct genai_metrics *metrics,
                         enum genai_metric metric, uint64_t now_ns)
{
    const struct genai_definition *definition = &genai_definitions[metric];
    size_t mark = protobuf_begin(out, SCOPE_SPANS_SPANS), histogram;

    protobuf_text(out, METRIC_NAME, definition->name);
    protobuf_text(out, METRIC_DESCRIPTION, definition->description);
    protobuf_text(out, METRIC_UNIT, definition->unit);
    histogram = protobuf_begin(out, METRIC_HISTOGRAM);
    for (uint32_t i = 0; i < metrics->series_count; i++) {
        if (metrics->series[i].metric == metric)
            point_write(out, &metrics->series[i], metrics->start_ns, now_ns);
    }
    protobuf_uint(out, HISTOGRAM_TEMPORALITY, TEMPORALITY_CUMULATIVE);
    protobuf_end(out, histogram);
    protobuf_end(out, mark);
}

static void metrics_write_all(struct buffer *out, const struct otlp_resource *resource,
                              const struct genai_metrics *metrics, uint64_t now_ns)
{
    struct scope_marks marks = scope_begin(out, resource);

    for (int i = 0; i < GENAI_METRIC_COUNT; i++)
        metric_write(out, metrics, (enum genai_metric)i, now_ns);
    scope_end(out, marks);
}

static uint64_t partial_read(struct text_slice message, char *why, size_t why_bytes)
{
    struct protobuf_field field;
    uint64_t rejected = 0;

    while (protobuf_next(&message, &field)) {
        if (field.number == PARTIAL_REJECTED)
            rejected = field.value;
        else if (field.number == PARTIAL_MESSAGE)
            (void)snprintf(why, why_bytes, "%.*s", (int)field.bytes.bytes, field.bytes.data);
    }
    return rejected <= INT64_MAX ? rejected : 0;
}

static uint64_t rejected_read(struct text_slice answer, char *why, size_t why_bytes)
{
    struct protobuf_field field;

    why[0] = '\0';
    while (protobuf_next(&answer, &field)) {
        if (field.number == ANSWER_PARTIAL_SUCCESS && field.bytes.data != NULL)
            return partial_read(field.bytes, why, why_bytes);
    }
    return 0;
}

const struct otlp_format otlp_protobuf = {
    .content_type = "application/x-protobuf",
    .span = span_write,
    .traces = traces_write,
    .metrics = metrics_write_all,
    .rejected = rejected_read,
};
