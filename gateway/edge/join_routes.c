/* What replicas on other machines ask of the gateway: three routes, on the listener's own loop. Every request shows a key, a token or
 * a session; whoever shows none, or one that is not good any more, hears 403 and nothing else. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "edge_admission.h"
#include "join_private.h"
#include "json.h"
#include "log.h"

#define AREA            "gateway/edge"
#define ANSWER_BYTES    (8u << 20) /* a config of 1 MiB, each byte escaped, and adapters */
#define ERROR_BYTES     2048u
#define REFUSED_LOG_NS  NS_PER_SECOND /* strangers cannot fill the log */
#define REQUEST_DEPTH   2u
#define REQUEST_VALUES  16u
#define FIELD_BYTES_MAX 256u

static void reply_error(http_request *request, int code, const char *text)
{
    struct buffer body;

    buffer_init(&body, ERROR_BYTES);
    buffer_append_text(&body, "{\"error\":");
    json_write_text(&body, text);
    buffer_append_byte(&body, '}');
    http_reply(request, code, NULL, 0, "application/json", buffer_slice(&body));
    buffer_deinit(&body);
}

static void refuse(struct join *join, http_request *request, const char *what)
{
    uint64_t now_ns = clock_now_ns();
    struct text_slice peer = http_request_peer(request);

    if (now_ns - join->refused_log_ns >= REFUSED_LOG_NS) {
        join->refused_log_ns = now_ns;
        log_warn(AREA, "pool.listen: %.*s is refused: %s", (int)peer.bytes, peer.data, what);
    }
    reply_error(request, 403, what);
}

/* --- registering --- */

struct join_request {
    json_t *body; /* owned */
    int64_t protocol;
    const char *version, *address, *pin;
    struct text_slice token;
};

static const char *text_field(const json_t *body, const char *name)
{
    const json_t *field = json_object_get(body, name);
    const char *text = json_string_value(field);

    return text != NULL && json_string_length(field) == strlen(text) &&
                   strlen(text) < FIELD_BYTES_MAX
               ? text
               : NULL;
}

static bool request_read(const http_request *request, struct join_request *out)
{
    const struct json_limits limits = {REQUEST_DEPTH, REQUEST_VALUES};
    const json_t *protocol;

    *out = (struct join_request){0};
    if (json_load_limited(http_request_body(request), &limits, &out->body, NULL) != STATUS_OK)
        return false;
    protocol = json_object_get(out->body, "protocol");
    out->protocol = json_integer_value(protocol);
    out->version = text_field(out->body, "version");
    out->address = text_field(out->body, "address");
    out->pin = text_field(out->body, "pin");
    out->token = text_slice_of(text_field(out->body, "token"));
    return json_is_integer(protocol) && out->version != NULL && out->address != NULL &&
           out->pin != NULL && out->token.data != NULL;
}

/* The number of a version's own text is none of the newest one's: what has changed since that takes effect on reload is fetched as after
 * any reload, while the settings that replicas are started with stay the version's. */
#define OWN_TEXT_NUMBER (1ull << 40)

/* Under the lock. */
static void answer_write(const struct join *join, const struct join_slot *slot, struct buffer *out)
{
    const struct edge_replica *replica = edge_replica_at(join->edge, join_slot_id(join, slot));
    const struct config_model *row =
        config_model_at(join->edge->configs.first->config, replica->model->index);
    bool has_own = atomic_load_explicit(&replica->model->versions.has_texts, memory_order_acquire);
    struct text_slice text = {join->text, join->text_bytes};
    struct buffer adapters;

    if (has_own)
        text = edge_version_config(join->edge, replica)->text;
    buffer_init(&adapters, RUNTIME_ADAPTERS_BYTES_MAX + 1);
    runtime_adapters_write(&join->edge->adapters, replica->model->name, &adapters);
    buffer_append_byte(out, '{');
    json_write_key(out, "session");
    json_write_text(out, slot->session);
    json_write_key(out, "model");
    json_write_text(out, replica->model->name);
    json_write_key(out, "index");
    buffer_append_u64(out, replica->index);
    json_write_key(out, "file");
    json_write_text(out, join->file);
    json_write_key(out, "model_path");
    json_write_text(out, join->has_model_path ? row->path : NULL);
    json_write_key(out, "adapters");
    json_write_string(out, buffer_slice(&adapters));
    json_write_key(out, "config");
    buffer_append_u64(out, join->text_number + (has_own ? OWN_TEXT_NUMBER : 0));
    json_write_key(out, "text");
    json_write_string(out, text);
    buffer_append_byte(out, '}');
    if (adapters.failed != STATUS_OK)
        out->failed = adapters.failed;
    buffer_deinit(&adapters);
}

/* The answer's status; an error's text is in the note. `who` gets the replica's name for the log. */
static int replica_take(struct join *join, const struct join_request *asked, struct buffer *answer,
                        const struct edge_replica **who, struct error_note *note)
{
    struct join_slot *slot;
    status result = STATUS_DENIED;

    pthread_mutex_lock(&join->lock);
    slot = join_slot_of_token(join, asked->token, clock_now_ns());
    if (slot != NULL && asked->protocol != JOIN_PROTOCOL) {
        error_note_set(note, "the gateway is of version %s, which does not go with %s",
                       join->edge->version, asked->version);
        result = STATUS_UNSUPPORTED;
    } else if (slot != NULL) {
        result = join_slot_take(join, slot, asked->address, asked->pin, note);
    }
    if (slot != NULL)
        *who = edge_replica_at(join->edge, join_slot_id(join, slot));
    if (result == STATUS_OK)
        answer_write(join, slot, answer);
    pthread_mutex_unlock(&join->lock);
    if (result == STATUS_OK)
        result = answer->failed;
    switch (result) {
    case STATUS_OK:
        return 200;
    case STATUS_DENIED:
        error_note_set(note, "the token has been used, is too old, or is none of this gateway's");
        return 403;
    case STATUS_UNSUPPORTED:
        return 409;
    case STATUS_INVALID:
        return 400;
    default:
        return 503;
    }
}

static void on_join(struct join *join, http_request *request)
{
    const struct edge_replica *replica = NULL;
    struct error_note note = {""};
    struct join_request asked;
    struct buffer answer;
    int code = 400;

    if (!request_read(request, &asked)) {
        json_decref(asked.body);
        reply_error(request, 400, "this is no registration of a replica");
        return;
    }
    buffer_init(&answer, ANSWER_BYTES);
    code = replica_take(join, &asked, &answer, &replica, &note);
    if (code == 200) {
        log_info(AREA, "replica %s#%u has registered from %s", replica->model->name, replica->index,
                 asked.address);
        http_reply(request, 200, NULL, 0, "application/json", buffer_slice(&answer));
    } else if (code == 403) {
        refuse(join, request, note.text);
    } else {
        log_error(AREA, "replica %s#%u cannot register from %s: %s", replica->model->name,
                  replica->index, asked.address, note.text);
        reply_error(request, code, note.text);
    }
    if (answer.data != NULL)
        OPENSSL_cleanse(answer.data, answer.bytes);
    buffer_deinit(&answer);
    json_decref(asked.body);
}

/* --- reports --- */

/* What replicas of one model say of it is the same but for the memory that they got: the last word counts. */
static void model_note(struct edge_model *model, const struct heartbeat *beat)
{
    if (beat->phase != HEARTBEAT_READY || beat->context_max == 0)
        return;
    atomic_store_explicit(&model->context_max, beat->context_max, memory_order_relaxed);
    atomic_store_explicit(&model->capabilities, beat->capabilities, memory_order_relaxed);
}

/* Under the lock. False: it is older than what has been heard. */
static bool beat_take(struct join_slot *slot, const struct heartbeat *beat)
{
    if (beat->number <= slot->beat_number)
        return false;
    slot->beat_number = beat->number;
    heartbeat_take(beat, slot->page);
    if (beat->phase == HEARTBEAT_FAILED)
        (void)snprintf(slot->reason, sizeof(slot->reason), "%.*s", (int)beat->reason.bytes,
                       beat->reason.data);
    return true;
}

static void on_beat(struct join *join, http_request *request)
{
    struct edge_replica *replica = NULL;
    struct heartbeat beat;
    struct join_slot *slot;
    uint64_t uid = 0, number = 0;
    struct buffer answer;
    bool is_news = false;

    if (heartbeat_read(http_request_body(request), clock_now_ns(), &beat) != STATUS_OK) {
        reply_error(request, 400, "this is no report of a replica");
        return;
    }
    pthread_mutex_lock(&join->lock);
    slot = join_slot_of_session(join, http_request_header(request, JOIN_SESSION_HEADER));
    if (slot != NULL) {
        replica = edge_replica_at(join->edge, join_slot_id(join, slot));
        uid = slot->uid;
        number = join->text_number;
        is_news = beat_take(slot, &beat);
    }
    pthread_mutex_unlock(&join->lock);
    if (slot == NULL) {
        refuse(join, request, "no replica has this session now");
        return;
    }
    if (is_news && beat.phase == HEARTBEAT_FAILED)
        log_error(AREA, "replica %s#%u cannot serve: %.*s", replica->model->name, replica->index,
                  (int)beat.reason.bytes, beat.reason.data);
    if (is_news) {
        model_note(replica->model, &beat);
        join->sink.event(join->sink.context, replica->id, uid,
                         beat.phase == HEARTBEAT_READY ? REPLICA_ANSWERED : REPLICA_NOT_READY);
    }
    buffer_init(&answer, ERROR_BYTES);
    buffer_append_format(&answer, "{\"config\":%llu}", (unsigned long long)number);
    http_reply(request, 200, NULL, 0, "application/json", buffer_slice(&answer));
    buffer_deinit(&answer);
}

static void on_text(struct join *join, http_request *request)
{
    struct buffer answer;
    bool is_known;

    buffer_init(&answer, ANSWER_BYTES);
    pthread_mutex_lock(&join->lock);
    is_known =
        join_slot_of_session(join, http_request_header(request, JOIN_SESSION_HEADER)) != NULL;
    if (is_known) {
        buffer_append_text(&answer, "{\"config\":");
        buffer_append_u64(&answer, join->text_number);
        json_write_key(&answer, "text");
        json_write_string(&answer, (struct text_slice){join->text, join->text_bytes});
        buffer_append_byte(&answer, '}');
    }
    pthread_mutex_unlock(&join->lock);
    if (!is_known)
        refuse(join, request, "no replica has this session now");
    else if (answer.failed != STATUS_OK)
        reply_error(request, 503, status_name(answer.failed));
    else
        http_reply(request, 200, NULL, 0, "application/json", buffer_slice(&answer));
    buffer_deinit(&answer);
}

/* --- routes --- */

void join_handle(http_request *request, void *context)
{
    static const struct {
        const char *method, *path;
        void (*run)(struct join *join, http_request *request);
    } routes[] = {{"POST", JOIN_PATH, on_join},
                  {"POST", JOIN_BEAT_PATH, on_beat},
                  {"GET", JOIN_TEXT_PATH, on_text}};

    if (!http_request_is_tls(request)) {
        refuse(context, request, "what is said here is secret: use TLS");
        return;
    }
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (text_slice_is(http_request_path(request), routes[i].path) &&
            text_slice_is(http_request_method(request), routes[i].method)) {
            routes[i].run(context, request);
            return;
        }
    }
    reply_error(request, 404, "there is nothing here but for replicas");
}
