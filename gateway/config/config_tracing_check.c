#include "config_tracing_check.h"

#include <string.h>

#include "check.h"
#include "http_remote.h"

struct check {
    settings_document *document;
    struct settings_report *report;
};

#define FAIL(check, value, ...)                                                                    \
    settings_fail_at((check)->document, (check)->report, (value), __VA_ARGS__)

static void check_endpoint(const struct check *c, const struct config_tracing *tracing)
{
    struct error_note note = {""};
    struct http_url url;

    if (tracing->endpoint[0] == '\0')
        return;
    if (http_url_parse(tracing->endpoint, &url, &note) != STATUS_OK)
        FAIL(c, &tracing->endpoint, "the endpoint %s", note.text);
}

/* RFC 9110's token. */
static bool is_header_name(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (const char *at = text; *at != '\0'; at++) {
        bool is_letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');

        if (!is_letter && !(*at >= '0' && *at <= '9') && strchr(others, *at) == NULL)
            return false;
    }
    return text[0] != '\0';
}

static bool is_printable(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return false;
    }
    return true;
}

static void check_header(const struct check *c, const struct config_otlp_header *header)
{
    const char *const values[] = {header->value, header->value_file, header->value_env};
    uint32_t count = 0;

    for (size_t i = 0; i < ARRAY_COUNT(values); i++)
        count += values[i][0] != '\0';
    if (!is_header_name(header->name))
        FAIL(c, &header->name, "'%s' is no name of a header", header->name);
    if (count != 1)
        FAIL(c, &header->name, "the header %s needs one of value, value_file and value_env",
             header->name);
    if (!is_printable(header->value))
        FAIL(c, &header->value, "the value of the header %s has control characters", header->name);
}

static void check_attributes(const struct check *c, const struct config_tracing *tracing)
{
    const char *const *rows = tracing->resource_attributes.items;

    for (uint32_t i = 0; i < tracing->resource_attributes.count; i++) {
        const char *sign = strchr(rows[i], '=');

        if (sign == NULL || sign == rows[i] || sign[1] == '\0')
            FAIL(c, &rows[i], "'%s' is no attribute; write it like key=value", rows[i]);
    }
}

void config_tracing_check(const struct config *config, settings_document *document,
                          struct settings_report *report)
{
    const struct config_tracing *tracing = &config->observability.tracing;
    const struct config_otlp_header *headers = tracing->headers.items;
    const struct check c = {document, report};

    check_endpoint(&c, tracing);
    for (uint32_t i = 0; i < tracing->headers.count; i++)
        check_header(&c, &headers[i]);
    check_attributes(&c, tracing);
}
