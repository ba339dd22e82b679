#include "upstream_headers.h"

#include "check.h"
#include "usage_report.h"

/* Copied from the client's request when it is there. */
static const char *const forwarded[] = {"accept"};
_Static_assert(ARRAY_COUNT(forwarded) + 4 + UPSTREAM_HEADER_COUNT_OWN <= UPSTREAM_HEADER_COUNT_MAX,
               "all may be there");

static const char *const dropped[] = {
    /* of one connection */
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade",
    "proxy-authenticate",
    /* written by our own server */
    "content-length", "content-type", "date", "server", "x-request-id",
    /* for the gateway */
    USAGE_REPORT_HEADER};

static struct text_slice copy(http_request *request, struct text_slice text)
{
    char *data = http_request_allocate(request, text.bytes + 1);

    memcpy(data, text.data, text.bytes);
    data[text.bytes] = '\0';
    return (struct text_slice){data, text.bytes};
}

size_t upstream_headers_make_foreign(http_request *request,
                                     struct http_header out[UPSTREAM_HEADER_COUNT_MAX])
{
    size_t count = 0;

    out[count++] =
        (struct http_header){text_slice_of("content-type"), text_slice_of("application/json")};
    out[count++] = (struct http_header){text_slice_of("x-request-id"),
                                        text_slice_of(http_request_id(request))};
    for (size_t i = 0; i < ARRAY_COUNT(forwarded); i++) {
        struct text_slice value = http_request_header(request, forwarded[i]);

        if (value.data != NULL)
            out[count++] = (struct http_header){text_slice_of(forwarded[i]), value};
    }
    return count;
}

size_t upstream_headers_make(http_request *request, const char *tenant,
                             struct http_header out[UPSTREAM_HEADER_COUNT_MAX])
{
    size_t count = upstream_headers_make_foreign(request, out);

    out[count++] = (struct http_header){text_slice_of(USAGE_REPORT_HEADER), text_slice_of("1")};
    if (tenant != NULL)
        out[count++] = (struct http_header){text_slice_of("x-penstock-tenant"),
                                            copy(request, text_slice_of(tenant))};
    return count;
}

bool upstream_header_passes(struct text_slice name)
{
    for (size_t i = 0; i < ARRAY_COUNT(dropped); i++) {
        if (text_slice_is(name, dropped[i]))
            return false;
    }
    return true;
}

static bool foreign_passes(struct text_slice name)
{
    static const char *const known[] = {"retry-after", "retry-after-ms", "openai-processing-ms"};

    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (text_slice_is(name, known[i]))
            return true;
    }
    return false;
}

size_t upstream_headers_copy(http_request *request, bool is_foreign,
                             const struct http_header *headers, size_t count,
                             struct http_header **out, const char **content_type)
{
    const struct http_header *passed[ANSWER_HEADER_COUNT_MAX];
    struct http_header *copies;
    size_t passed_count = 0;

    *content_type = "application/json";
    for (size_t i = 0; i < count; i++) {
        if (text_slice_is(headers[i].name, "content-type"))
            *content_type = copy(request, headers[i].value).data;
        if (passed_count < ANSWER_HEADER_COUNT_MAX &&
            (is_foreign ? foreign_passes(headers[i].name)
                        : upstream_header_passes(headers[i].name)))
            passed[passed_count++] = &headers[i];
    }
    copies = http_request_allocate(request,
                                   (passed_count + ANSWER_HEADER_COUNT_OWN) * sizeof(copies[0]));
    for (size_t i = 0; i < passed_count; i++)
        copies[i] =
            (struct http_header){copy(request, passed[i]->name), copy(request, passed[i]->value)};
    *out = copies;
    return passed_count;
}
