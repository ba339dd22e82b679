#include <string.h>
#include <strings.h>

#include "metrics.h"

/* Prometheus asks for "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3": the one of the two with
 * the larger weight is taken, and of equal ones OpenMetrics. A wildcard does not ask for OpenMetrics: who sends one
 * is a person's tool (RFC 9110, 12.5.1). */

#define WEIGHT_MAX 1000u

/* What stands before the next `mark`, trimmed; `text` is what stands behind it. */
static struct text_slice part_next(struct text_slice *text, char mark)
{
    const char *end = memchr(text->data, mark, text->bytes);
    struct text_slice part = {text->data, end != NULL ? (size_t)(end - text->data) : text->bytes};
    size_t taken = part.bytes + (end != NULL);

    text->data += taken;
    text->bytes -= taken;
    return text_slice_trim(part);
}

static bool is_word(struct text_slice text, const char *word)
{
    return text.bytes == strlen(word) && strncasecmp(text.data, word, text.bytes) == 0;
}

/* "1", "0.6", "0.125" as thousandths; what is broken weighs nothing. */
static uint32_t weight_read(struct text_slice digits)
{
    uint32_t weight = 0, place = WEIGHT_MAX;

    if (digits.bytes == 0 || digits.bytes > 5 || (digits.bytes > 1 && digits.data[1] != '.'))
        return 0;
    for (size_t i = 0; i < digits.bytes; i++) {
        if (i == 1)
            continue;
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return 0;
        weight += (uint32_t)(digits.data[i] - '0') * place;
        place /= 10;
    }
    return weight <= WEIGHT_MAX ? weight : 0;
}

/* Of one range; 0: we do not write the version that it wants. */
static uint32_t weight_of(struct text_slice parameters, const char *const *versions)
{
    uint32_t weight = WEIGHT_MAX;

    while (parameters.bytes > 0) {
        struct text_slice value = part_next(&parameters, ';'), name = part_next(&value, '=');
        bool is_known = false;

        value = text_slice_trim(value);
        if (is_word(name, "q"))
            weight = weight_read(value);
        if (!is_word(name, "version"))
            continue;
        for (size_t i = 0; versions[i] != NULL; i++)
            is_known |= is_word(value, versions[i]);
        if (!is_known)
            return 0;
    }
    return weight;
}

enum metrics_format metrics_format_accepted(struct text_slice accept)
{
    static const char *const open_versions[] = {"0.0.1", "1.0.0", NULL};
    static const char *const text_versions[] = {"0.0.4", NULL};
    uint32_t open = 0, text = 0;

    while (accept.bytes > 0) {
        struct text_slice range = part_next(&accept, ','), type = part_next(&range, ';');
        bool is_open = is_word(type, "application/openmetrics-text");
        uint32_t weight;

        if (!is_open && !is_word(type, "text/plain"))
            continue;
        weight = weight_of(range, is_open ? open_versions : text_versions);
        if (is_open && weight > open)
            open = weight;
        else if (!is_open && weight > text)
            text = weight;
    }
    return open > 0 && open >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format format)
{
    return format == METRICS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}
