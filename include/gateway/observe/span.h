#ifndef PENSTOCK_OBSERVE_SPAN_H
#define PENSTOCK_OBSERVE_SPAN_H

#include <stdbool.h>
#include <stdint.h>

#include "trace_context.h"

/* One span of a trace, as OpenTelemetry has it: a name, when it began and ended, who it is a part of, and what is known of
 * it. Made on the exporter's thread from what a request has left (story_spans.h), and encoded at once: it points to texts
 * that others own. Never anything of a prompt or an answer. */

#define SPAN_NAME_BYTES     160u
#define SPAN_ATTRIBUTES_MAX 40u
#define SPAN_EVENTS_MAX     40u

/* The numbers are OpenTelemetry's. */
enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER = 2, SPAN_CLIENT = 3 };

enum attribute_kind {
    ATTRIBUTE_TEXT,
    ATTRIBUTE_TEXTS, /* a list, here of one */
    ATTRIBUTE_INT,
    ATTRIBUTE_DOUBLE,
    ATTRIBUTE_BOOL
};

struct attribute {
    const char *key; /* static */
    enum attribute_kind kind;
    union {
        const char *text; /* borrowed */
        int64_t number;
        double real;
        bool truth;
    };
};

struct span_event {
    const char *name; /* static */
    uint64_t time_ns; /* since 1970 */
    struct attribute attribute;
    bool has_attribute;
};

struct span {
    uint8_t trace_id[TRACE_ID_BYTES];
    uint8_t span_id[SPAN_ID_BYTES];
    uint8_t parent_id[SPAN_ID_BYTES]; /* zeros: none */
    char name[SPAN_NAME_BYTES];
    enum span_kind kind;
    uint64_t start_ns, end_ns; /* since 1970 */
    bool is_error;
    const char *error_message; /* borrowed; "": none */
    struct attribute attributes[SPAN_ATTRIBUTES_MAX];
    uint32_t attribute_count, attributes_dropped;
    struct span_event events[SPAN_EVENTS_MAX];
    uint32_t event_count, events_dropped;
};

/* Each adds one; what finds no room is counted. Texts "" or NULL are left out. */
void span_add_text(struct span *span, const char *key, const char *text);
void span_add_texts(struct span *span, const char *key, const char *text);
void span_add_int(struct span *span, const char *key, int64_t number);
void span_add_double(struct span *span, const char *key, double real);
void span_add_bool(struct span *span, const char *key, bool truth);
/* An event, and what is told of it by one attribute (NULL: nothing). */
void span_add_event(struct span *span, const char *name, uint64_t time_ns,
                    const struct attribute *attribute);

#endif
