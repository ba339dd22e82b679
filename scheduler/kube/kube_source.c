#include "kube_source.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "kube_text.h"

#define PAGE_ITEMS      500
#define PAGES_MAX       10000u
#define WATCH_SECONDS   290 /* servers choose 30 to 60 minutes on their own; proxies cut earlier */
#define SILENCE_MAX_NS  (150 * NS_PER_SECOND) /* bookmarks come each minute */
#define REOPEN_PAUSE_NS NS_PER_SECOND
#define RETRY_AFTER_MAX 30u
#define LIST_STARTS_MAX 3u
#define FAILURES_MAX    3u

static const struct json_limits limits = {.depth_max = 128, .value_count_max = 8000000};

status kube_answer_status(int code, struct text_slice body, struct error_note *note)
{
    json_t *answer = NULL;
    const char *message = "";
    if (json_load_limited(body, &limits, &answer, NULL) == STATUS_OK)
        message = kube_text(answer, "message");
    error_note_set(note, "%d %s%s%.800s", code, kube_text(answer, "reason"),
                   *message != '\0' ? ": " : "", message);
    json_decref(answer);
    switch (code) {
    case 401:
    case 403:
        return STATUS_DENIED;
    case 404:
        return STATUS_NOT_FOUND;
    case 408:
    case 504:
        return STATUS_TIMEOUT;
    case 409:
    case 410:
    case 429:
        return STATUS_AGAIN;
    default:
        return code >= 500 ? STATUS_CLOSED : STATUS_INVALID;
    }
}

void kube_source_init(struct kube_source *source)
{
    *source = (struct kube_source){0};
    buffer_init(&source->events, KUBE_ANSWER_BYTES_MAX);
}

static void watch_close(struct kube_source *source)
{
    http_stream_close(source->watch);
    source->watch = NULL;
    buffer_clear(&source->events);
}

void kube_source_deinit(struct kube_source *source)
{
    http_stream_close(source->watch);
    buffer_deinit(&source->events);
    json_decref(source->objects);
    *source = (struct kube_source){0};
}

static void object_key(const json_t *object, char *out, size_t bytes)
{
    (void)snprintf(out, bytes, "%s/%s", kube_text(object, "metadata", "namespace"),
                   kube_text(object, "metadata", "name"));
}

static json_t *object_kept(const struct kube_source *source, json_t *object)
{
    json_object_del(kube_get(object, "metadata", NULL), "managedFields");
    json_incref(object);
    return source->keep != NULL ? source->keep(object) : object;
}

/* Bytes of a continue token as a query's value. */
static void query_append(struct buffer *path, const char *text)
{
    for (; *text != '\0'; text++) {
        bool is_plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
                        (*text >= 'A' && *text <= 'Z') || strchr("-_.~", *text) != NULL;
        if (is_plain)
            buffer_append_byte(path, *text);
        else
            buffer_append_format(path, "%%%02X", (unsigned char)*text);
    }
}

static status page_take(struct kube_source *source, json_t *page, json_t *objects,
                        struct buffer *token)
{
    size_t i;
    json_t *item;
    char key[1024];
    json_array_foreach(json_object_get(page, "items"), i, item)
    {
        object_key(item, key, sizeof(key));
        json_t *kept = object_kept(source, item);
        if (kept != NULL && json_object_set_new(objects, key, kept) != 0)
            return STATUS_NO_MEMORY;
    }
    (void)snprintf(source->version, sizeof(source->version), "%s",
                   kube_text(page, "metadata", "resourceVersion"));
    buffer_clear(token);
    buffer_append_text(token, kube_text(page, "metadata", "continue"));
    return token->failed;
}

static status page_load(struct kube_client *client, struct kube_source *source,
                        const struct buffer *token, json_t **page, struct error_note *note)
{
    struct buffer path, body;
    int code = 0;
    buffer_init(&path, 65536);
    buffer_init(&body, KUBE_ANSWER_BYTES_MAX);
    buffer_append_format(&path, "%s?limit=%d%s%s", source->path, PAGE_ITEMS,
                         source->selector[0] != '\0' ? "&" : "", source->selector);
    if (token->bytes > 0) {
        buffer_append_text(&path, "&continue=");
        query_append(&path, token->data);
    }
    status result = path.failed;
    if (result == STATUS_OK)
        result = kube_client_call(client, &(struct kube_call){.method = "GET", .path = path.data},
                                  &code, &body, note);
    if (result == STATUS_OK && code != 200)
        result = kube_answer_status(code, buffer_slice(&body), note);
    else if (result == STATUS_OK)
        result = json_load_limited(buffer_slice(&body), &limits, page, note);
    if (result == STATUS_OK && !json_is_array(json_object_get(*page, "items")) &&
        !json_is_null(json_object_get(*page, "items"))) {
        error_note_set(note, "the answer is no list");
        result = STATUS_INVALID;
    }
    if (result != STATUS_OK)
        error_note_prefix(note, "GET %s", source->path);
    buffer_deinit(&path);
    buffer_deinit(&body);
    return result;
}

/* From the first page to the last. STATUS_AGAIN: the token of the next page was too old. */
static status pages_load(struct kube_client *client, struct kube_source *source, json_t *objects,
                         struct error_note *note)
{
    struct buffer token;
    buffer_init(&token, 16384);
    status result = STATUS_OK;
    uint32_t pages = 0;
    do {
        json_t *page = NULL;
        result = page_load(client, source, &token, &page, note);
        if (result == STATUS_OK)
            result = page_take(source, page, objects, &token);
        json_decref(page);
        if (result == STATUS_OK && token.bytes > 0 && ++pages == PAGES_MAX) {
            error_note_set(note, "GET %s: more than %u pages", source->path, PAGES_MAX);
            result = STATUS_TOO_LARGE;
        }
    } while (result == STATUS_OK && token.bytes > 0);
    buffer_deinit(&token);
    return result;
}

status kube_source_list(struct kube_client *client, struct kube_source *source,
                        struct error_note *note)
{
    watch_close(source);
    if (source->path[0] == '\0')
        return STATUS_OK;
    status result = STATUS_AGAIN;
    json_t *objects = NULL;
    for (uint32_t i = 0; result == STATUS_AGAIN && i < LIST_STARTS_MAX; i++) {
        json_decref(objects);
        objects = json_object();
        result = objects != NULL ? pages_load(client, source, objects, note) : STATUS_NO_MEMORY;
    }
    if (result != STATUS_OK) {
        json_decref(objects);
        return result == STATUS_AGAIN ? STATUS_CLOSED : result;
    }
    json_decref(source->objects);
    source->objects = objects;
    source->failures = 0;
    source->next_open_ns = 0;
    return STATUS_OK;
}

/* --- the watch --- */

static status watch_open(struct kube_client *client, struct kube_source *source,
                         struct error_note *note)
{
    struct buffer path;
    buffer_init(&path, 8192);
    buffer_append_format(&path, "%s?watch=1&allowWatchBookmarks=true&timeoutSeconds=%d",
                         source->path, WATCH_SECONDS);
    buffer_append_format(&path, "%s%s&resourceVersion=", source->selector[0] != '\0' ? "&" : "",
                         source->selector);
    query_append(&path, source->version);
    source->opened_ns = clock_now_ns();
    source->next_open_ns = source->opened_ns + REOPEN_PAUSE_NS;
    status result = path.failed;
    if (result == STATUS_OK)
        result = kube_client_watch(client, path.data, &source->events, &source->watch, note);
    buffer_deinit(&path);
    return result;
}

/* One more watch that has failed, though somebody was there: a later one may not. */
static status failure_take(struct kube_source *source, struct error_note *note)
{
    uint64_t wait_s = http_stream_retry_after(source->watch);
    if (wait_s > 0)
        source->next_open_ns =
            clock_now_ns() + (wait_s < RETRY_AFTER_MAX ? wait_s : RETRY_AFTER_MAX) * NS_PER_SECOND;
    if (++source->failures < FAILURES_MAX)
        return STATUS_OK;
    error_note_prefix(note, "watch of %s, %u times in a row", source->path, source->failures);
    return STATUS_CLOSED;
}

static status object_apply(struct kube_source *source, const char *type, json_t *object,
                           kube_object_changed changed, void *context)
{
    char key[1024];
    object_key(object, key, sizeof(key));
    json_t *before = json_incref(json_object_get(source->objects, key));
    json_t *after = strcmp(type, "DELETED") != 0 ? object_kept(source, object) : NULL;
    status result = STATUS_OK;
    if (changed != NULL) {
        /* A deleted object's last words are in the event. */
        if (after == NULL && before != NULL)
            changed(context, object, NULL);
        else if (after != NULL)
            changed(context, before, after);
    }
    if (after == NULL)
        json_object_del(source->objects, key);
    else if (json_object_set_new(source->objects, key, after) != 0)
        result = STATUS_NO_MEMORY;
    json_decref(before);
    return result;
}

/* What is too old needs a list; anything else is asked again from where we are. */
static status error_take(struct kube_source *source, const json_t *error, enum kube_news *news,
                         struct error_note *note)
{
    int code = (int)json_integer_value(json_object_get(error, "code"));
    if (code == 410) {
        *news = KUBE_EXPIRED;
        return STATUS_OK;
    }
    error_note_set(note, "%d %s: %.600s", code, kube_text(error, "reason"),
                   kube_text(error, "message"));
    return failure_take(source, note);
}

static status event_take(struct kube_source *source, struct text_slice line,
                         kube_object_changed changed, void *context, enum kube_news *news,
                         struct error_note *note)
{
    json_t *event = NULL;
    status result = json_load_limited(line, &limits, &event, note);
    if (result != STATUS_OK) {
        error_note_prefix(note, "a watch's event");
        return result;
    }
    const char *type = kube_text(event, "type");
    json_t *object = json_object_get(event, "object");
    const char *version = kube_text(object, "metadata", "resourceVersion");
    if (strcmp(type, "ERROR") == 0) {
        result = error_take(source, object, news, note);
    } else if (*version == '\0' || strlen(version) >= sizeof(source->version)) {
        error_note_set(note, "an event \"%s\" without a version", type);
        result = STATUS_INVALID;
    } else {
        if (strcmp(type, "BOOKMARK") != 0) {
            result = object_apply(source, type, object, changed, context);
            *news = KUBE_CHANGED;
        } else if (*news == KUBE_NOTHING) {
            *news = KUBE_HEARD;
        }
        source->failures = 0;
        (void)snprintf(source->version, sizeof(source->version), "%s", version);
    }
    json_decref(event);
    return result;
}

/* Whole lines; the rest waits. A stream's last line may lack its end: it is cut off, and comes again. */
static status lines_take(struct kube_source *source, kube_object_changed changed, void *context,
                         enum kube_news *news, struct error_note *note)
{
    struct buffer *events = &source->events;
    size_t at = 0;
    status result = STATUS_OK;
    while (result == STATUS_OK && *news != KUBE_EXPIRED && at < events->bytes) {
        const char *end = memchr(events->data + at, '\n', events->bytes - at);
        if (end == NULL)
            break;
        struct text_slice line = {events->data + at, (size_t)(end - events->data) - at};
        at += line.bytes + 1;
        if (line.bytes > 0)
            result = event_take(source, line, changed, context, news, note);
    }
    buffer_consume(events, at);
    return result;
}

/* The answer to the watch was no stream. */
static status refusal_take(struct kube_client *client, struct kube_source *source, int code,
                           enum kube_news *news, struct error_note *note)
{
    status result = kube_answer_status(code, buffer_slice(&source->events), note);
    if (code == 410) {
        *news = KUBE_EXPIRED;
        return STATUS_OK;
    }
    if (code == 401 && !source->was_refused) {
        source->was_refused = true;
        return kube_credential_renew(&client->credential, source->opened_ns, note);
    }
    if (code == 429 || code >= 500)
        return failure_take(source, note);
    error_note_prefix(note, "watch of %s", source->path);
    return result == STATUS_AGAIN ? STATUS_CLOSED : result;
}

status kube_source_follow(struct kube_client *client, struct kube_source *source,
                          kube_object_changed changed, void *context, enum kube_news *news,
                          struct error_note *note)
{
    *news = KUBE_NOTHING;
    if (source->path[0] == '\0')
        return STATUS_OK;
    uint64_t now_ns = clock_now_ns();
    if (source->watch == NULL)
        return now_ns >= source->next_open_ns ? watch_open(client, source, note) : STATUS_OK;
    int code = http_stream_code(source->watch);
    status end = STATUS_OK, result = STATUS_OK;
    bool has_ended = http_stream_has_ended(source->watch, &end, note);
    if (code == 200) {
        source->was_refused = false;
        result = lines_take(source, changed, context, news, note);
    } else if (has_ended) {
        result = end == STATUS_OK ? refusal_take(client, source, code, news, note) : end;
    }
    /* Cut or over, or so silent that nobody may be there: from the last version on. If nobody answers then, that fails. */
    bool is_silent = now_ns > http_stream_heard_ns(source->watch) + SILENCE_MAX_NS;
    if (has_ended || is_silent || result != STATUS_OK || *news == KUBE_EXPIRED)
        watch_close(source);
    return result;
}
