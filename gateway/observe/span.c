#include "span.h"

#include <stddef.h>

static struct attribute *attribute_take(struct span *span, const char *key,
                                        enum attribute_kind kind)
{
    struct attribute *attribute;

    if (span->attribute_count == SPAN_ATTRIBUTES_MAX) {
        span->attributes_dropped++;
        return NULL;
    }
    attribute = &span->attributes[span->attribute_count++];
    *attribute = (struct attribute){.key = key, .kind = kind};
    return attribute;
}

static void text_add(struct span *span, const char *key, enum attribute_kind kind, const char *text)
{
    struct attribute *attribute;

    if (text == NULL || text[0] == '\0')
        return;
    attribute = attribute_take(span, key, kind);
    if (attribute != NULL)
        attribute->text = text;
}

void span_add_text(struct span *span, const char *key, const char *text)
{
    text_add(span, key, ATTRIBUTE_TEXT, text);
}

void span_add_texts(struct span *span, const char *key, const char *text)
{
    text_add(span, key, ATTRIBUTE_TEXTS, text);
}

void span_add_int(struct span *span, const char *key, int64_t number)
{
    struct attribute *attribute = attribute_take(span, key, ATTRIBUTE_INT);

    if (attribute != NULL)
        attribute->number = number;
}

void span_add_double(struct span *span, const char *key, double real)
{
    struct attribute *attribute = attribute_take(span, key, ATTRIBUTE_DOUBLE);

    if (attribute != NULL)
        attribute->real = real;
}

void span_add_bool(struct span *span, const char *key, bool truth)
{
    struct attribute *attribute = attribute_take(span, key, ATTRIBUTE_BOOL);

    if (attribute != NULL)
        attribute->truth = truth;
}

void span_add_event(struct span *span, const char *name, uint64_t time_ns,
                    const struct attribute *attribute)
{
    struct span_event *event;

    if (span->event_count == SPAN_EVENTS_MAX) {
        span->events_dropped++;
        return;
    }
    event = &span->events[span->event_count++];
    *event = (struct span_event){.name = name, .time_ns = time_ns};
    event->has_attribute = attribute != NULL;
    if (attribute != NULL)
        event->attribute = *attribute;
}
