#include "otlp_link.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "http_fetch.h"
#include "memory.h"
#include "secret_source.h"

#define ANSWER_BYTES_MAX (64u << 10)

const char *const otlp_signal_names[OTLP_SIGNAL_COUNT] = {"traces", "metrics"};

static char *copy_of(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);

    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

static status header_add(struct otlp_link *link, const struct config_otlp_header *row,
                         struct error_note *note)
{
    char secret[SECRET_BYTES_MAX + 1];
    status result = STATUS_OK;
    char *value;

    if (row->value[0] == '\0')
        result = secret_read(row->value_file, row->value_env, secret, note);
    else
        (void)snprintf(secret, sizeof(secret), "%s", row->value);
    value = result == STATUS_OK ? copy_of(secret) : NULL;
    secret_forget(secret, sizeof(secret));
    if (result != STATUS_OK) {
        error_note_prefix(note, "the header %s of observability.tracing", row->name);
        return result;
    }
    if (value == NULL)
        return STATUS_NO_MEMORY;
    link->headers[link->header_count++] =
        (struct http_header){text_slice_of(row->name), text_slice_of(value)};
    return STATUS_OK;
}

static status url_make(struct otlp_link *link, enum otlp_signal signal)
{
    const char *base = link->settings->endpoint;
    size_t bytes = strlen(base), room = bytes + 16;
    char *url = memory_allocate(room);

    if (url == NULL)
        return STATUS_NO_MEMORY;
    while (bytes > 0 && base[bytes - 1] == '/')
        bytes--;
    (void)snprintf(url, room, "%.*s/v1/%s", (int)bytes, base, otlp_signal_names[signal]);
    link->urls[signal] = url;
    return STATUS_OK;
}

status otlp_link_open(struct otlp_link *link, const struct config_tracing *settings,
                      struct error_note *note)
{
    const struct config_otlp_header *rows = settings->headers.items;
    status result = STATUS_OK;

    *link = (struct otlp_link){.settings = settings};
    link->format = settings->protocol == OTLP_JSON ? &otlp_json : &otlp_protobuf;
    for (int i = 0; i < OTLP_SIGNAL_COUNT && result == STATUS_OK; i++)
        result = url_make(link, (enum otlp_signal)i);
    for (uint32_t i = 0; i < settings->headers.count && result == STATUS_OK; i++)
        result = header_add(link, &rows[i], note);
    if (result != STATUS_OK)
        return result;
    link->session = http_fetch_session_create();
    return link->session != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void otlp_link_close(struct otlp_link *link)
{
    for (size_t i = 0; i < link->header_count; i++) {
        char *value = (char *)(uintptr_t)link->headers[i].value.data;

        secret_forget(value, link->headers[i].value.bytes);
        memory_release(value);
    }
    for (int i = 0; i < OTLP_SIGNAL_COUNT; i++)
        memory_release(link->urls[i]);
    http_fetch_session_destroy(link->session);
    *link = (struct otlp_link){0};
}

static void reason_note(struct otlp_answer *out, status result, int status_code,
                        const struct error_note *note)
{
    if (result != STATUS_OK)
        (void)snprintf(out->why, sizeof(out->why), "%.200s", note->text);
    else
        (void)snprintf(out->why, sizeof(out->why), "it answers %d", status_code);
}

void otlp_link_send(struct otlp_link *link, enum otlp_signal signal, struct text_slice body,
                    uint64_t timeout_ns, struct otlp_answer *out)
{
    const struct http_fetch fetch = {
        .url = link->urls[signal],
        .ca_file = link->settings->ca_file,
        .uses_proxy = true,
        .headers = link->headers,
        .header_count = link->header_count,
        .body = body,
        .content_type = link->format->content_type,
        .session = link->session,
        .timeout_ns = timeout_ns > NS_PER_MS ? timeout_ns : NS_PER_MS,
        .is_over = link->is_over,
        .context = link->context,
        .retry_after_s = &out->retry_after_s,
    };
    struct error_note note = {""};
    struct buffer answer;
    int status_code = 0;
    status result;

    *out = (struct otlp_answer){0};
    buffer_init(&answer, ANSWER_BYTES_MAX);
    result = http_fetch(&fetch, &status_code, &answer, &note);
    out->verdict = otlp_judge(result, status_code);
    if (out->verdict == OTLP_TAKEN)
        out->rejected = link->format->rejected(buffer_slice(&answer), out->why, sizeof(out->why));
    else
        reason_note(out, result, status_code, &note);
    buffer_deinit(&answer);
}
