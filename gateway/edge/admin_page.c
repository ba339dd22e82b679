#include "admin_page.h"

#include "check.h"
#include "dashboard.h"
#include "reply.h"

static void send(struct edge_record *record, const struct dashboard_file *file)
{
    static const char *const headers[][2] = {
        {"content-security-policy", DASHBOARD_SECURITY_POLICY},
        {"x-content-type-options", "nosniff"},
        {"referrer-policy", "no-referrer"},
        {"cross-origin-opener-policy", "same-origin"},
        {"cache-control", "no-cache"}, /* an upgrade brings another page */
    };

    for (size_t i = 0; i < ARRAY_COUNT(headers); i++)
        http_request_add_header(record->request, headers[i][0], headers[i][1]);
    record->status_code = 200;
    http_reply_kept(record->request, 200, NULL, 0, file->content_type,
                    (struct text_slice){(const char *)file->data, file->bytes});
}

void admin_page(struct edge_record *record, struct text_slice rest)
{
    const struct dashboard_file *file = dashboard_find(text_slice_of("index.html"));

    (void)rest;
    CHECK(file != NULL);
    send(record, file);
}

void admin_page_file(struct edge_record *record, struct text_slice rest)
{
    const struct dashboard_file *file = dashboard_find(rest);
    struct api_error error = {0};

    if (file != NULL) {
        send(record, file);
        return;
    }
    api_error_set_unknown_path(&error, record->request);
    edge_reply_error(record, &error);
}
