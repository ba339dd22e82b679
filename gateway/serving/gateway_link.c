#include "gateway_link_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "decimal.h"
#include "hash.h"
#include "http_fetch.h"
#include "http_remote.h"
#include "json.h"
#include "log.h"
#include "memory.h"

#define AREA "gateway/serving"
#define ANSWER_BYTES_MAX                                                                           \
    (10u << 20) /* a config of 1 MiB, each byte escaped, adapters, and the rest */
#define ASK_BYTES_MAX     4096u
#define URL_BYTES         (HTTP_URL_HOST_BYTES + 64)
#define CALL_TIMEOUT_NS   (2 * NS_PER_SECOND) /* of a report: the next one says more */
#define JOIN_TIMEOUT_NS   (10 * NS_PER_SECOND)
#define RETRY_FIRST_NS    (100 * NS_PER_MS)
#define RETRY_MAX_NS      (5 * NS_PER_SECOND)
#define TIMEOUT_S_DEFAULT 300u
#define TIMEOUT_S_MAX     86400u

/* Which address is this machine's, where whoever runs the replica knows it (a pod's network has others). */
#define ADDRESS_VARIABLE "PENSTOCK_ADDRESS"
/* Of several processes that are one replica. */
#define PARTS_VARIABLE "PENSTOCK_PARTS"

struct gateway_link {
    char url[URL_BYTES];            /* "https://host:port" */
    char host[HTTP_URL_HOST_BYTES]; /* of it */
    const char *pin, *token;        /* the environment's */
    uint64_t timeout_ns;
    http_self_signed *identity; /* owned */
    char bound[HTTP_ADDRESS_TEXT_BYTES], address[HTTP_ADDRESS_TEXT_BYTES];
    int descriptor;      /* owned; -1: the server has it */
    int given;           /* the same, as it was given to the server */
    int text_descriptor; /* owned; a file in memory with the config's text; -1: none */
    struct http_fetch_session *session; /* owned; the connection */
    json_t *answer;  /* owned; to the registration: the grant's texts are in it */
    const char *key; /* of the session; in the answer */
    char text_file[64];
    struct gateway_grant grant;
    uint64_t beat_number;
    uint64_t config_number, told_number; /* of the text that is here, and of the gateway's */
};

/* --- what the environment says --- */

static status variable_read(const char *name, const char **out, struct error_note *note)
{
    *out = getenv(name);
    if (*out != NULL && (*out)[0] != '\0')
        return STATUS_OK;
    error_note_set(note,
                   "%s is not set: --join is for replicas that a gateway starts on other machines",
                   name);
    return STATUS_INVALID;
}

static status timeout_read(struct gateway_link *link, struct error_note *note)
{
    const char *text = getenv(JOIN_TIMEOUT_VARIABLE);
    uint64_t seconds = TIMEOUT_S_DEFAULT;

    if (text != NULL &&
        (!decimal_read(text_slice_of(text), TIMEOUT_S_MAX, &seconds) || seconds == 0)) {
        error_note_set(note, "%s must be seconds from 1 to %u, not '%.40s'", JOIN_TIMEOUT_VARIABLE,
                       TIMEOUT_S_MAX, text);
        return STATUS_INVALID;
    }
    link->timeout_ns = seconds * NS_PER_SECOND;
    return STATUS_OK;
}

/* The same places as in http_url_parse, but numbers are welcome: the key is checked, not the name. */
static status url_read(struct gateway_link *link, const char *text, struct error_note *note)
{
    struct http_url url;
    char plain[URL_BYTES];

    if (strncmp(text, "https://", 8) != 0 ||
        snprintf(plain, sizeof(plain), "http://%s", text + 8) >= (int)sizeof(plain) ||
        http_url_parse(plain, &url, NULL) != STATUS_OK || url.prefix[0] != '\0') {
        error_note_set(note, "%s must be like https://host:port, not '%.100s'", JOIN_URL_VARIABLE,
                       text);
        return STATUS_INVALID;
    }
    (void)snprintf(link->url, sizeof(link->url), "%s", text);
    (void)snprintf(link->host, sizeof(link->host), "%s", url.host);
    return STATUS_OK;
}

static status environment_read(struct gateway_link *link, struct error_note *note)
{
    unsigned char hash[HTTP_PIN_BYTES];
    const char *parts = getenv(PARTS_VARIABLE), *url = NULL;
    status result = variable_read(JOIN_URL_VARIABLE, &url, note);

    if (result == STATUS_OK)
        result = variable_read(JOIN_PIN_VARIABLE, &link->pin, note);
    if (result == STATUS_OK)
        result = variable_read(JOIN_TOKEN_VARIABLE, &link->token, note);
    if (result == STATUS_OK)
        result = timeout_read(link, note);
    if (result == STATUS_OK)
        result = url_read(link, url, note);
    if (result == STATUS_OK && !http_pin_read(link->pin, hash)) {
        error_note_set(note, "%s is no pin of a key", JOIN_PIN_VARIABLE);
        result = STATUS_INVALID;
    }
    if (result == STATUS_OK && parts != NULL && strcmp(parts, "1") != 0) {
        error_note_set(note,
                       "this is one of %.20s parts of a replica, and a replica of this version "
                       "is one process on one slice",
                       parts);
        result = STATUS_INVALID;
    }
    return result;
}

/* --- where it listens --- */

static bool is_everywhere(const char *address)
{
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

/* Where the port is bound on all addresses, the gateway is told the one that it reaches. */
static status address_tell(struct gateway_link *link, const char *own, struct error_note *note)
{
    const char *port = strrchr(link->bound, ':');
    char host[HTTP_ADDRESS_TEXT_BYTES];
    status result = STATUS_OK;

    if (own != NULL)
        (void)snprintf(host, sizeof(host), strchr(own, ':') != NULL ? "[%.80s]" : "%.80s", own);
    else if (is_everywhere(link->bound))
        result = http_address_towards(link->host, host, note);
    else
        (void)snprintf(host, sizeof(host), "%.*s", (int)(port - link->bound), link->bound);
    if (result == STATUS_OK && snprintf(link->address, sizeof(link->address), "%s%s", host, port) >=
                                   (int)sizeof(link->address))
        result = STATUS_TOO_LARGE;
    return result;
}

static status address_bind(struct gateway_link *link, const char *listen, struct error_note *note)
{
    const char *own = getenv(ADDRESS_VARIABLE);
    char host[HTTP_ADDRESS_TEXT_BYTES], chosen[HTTP_ADDRESS_TEXT_BYTES];
    status result = STATUS_OK;

    if (own != NULL && own[0] == '\0')
        own = NULL;
    if (listen == NULL && own != NULL) {
        listen = strchr(own, ':') != NULL ? "[::]:0" : "0.0.0.0:0";
    } else if (listen == NULL) {
        result = http_address_towards(link->host, host, note);
        (void)snprintf(chosen, sizeof(chosen), "%.120s:0", result == STATUS_OK ? host : "");
        listen = chosen;
    }
    if (result == STATUS_OK)
        result = http_socket_open(listen, &link->descriptor, link->bound, note);
    return result == STATUS_OK ? address_tell(link, own, note) : result;
}

/* --- calls --- */

static status call(gateway_link *link, const char *path, struct http_fetch *fetch, int *code,
                   struct buffer *answer, struct error_note *note)
{
    const struct http_header session = {text_slice_of(JOIN_SESSION_HEADER),
                                        text_slice_of(link->key)};
    char url[URL_BYTES + 64];

    (void)snprintf(url, sizeof(url), "%s%s", link->url, path);
    fetch->url = url;
    fetch->public_key_pin = link->pin;
    fetch->session = link->session;
    fetch->headers = &session;
    fetch->header_count = link->key != NULL ? 1 : 0;
    return http_fetch(fetch, code, answer, note);
}

static json_t *answer_parse(const struct buffer *answer)
{
    return json_loadb(answer->data != NULL ? answer->data : "", answer->bytes, 0, NULL);
}

/* What the gateway says of its refusal. */
static void refusal_note(const struct buffer *answer, int code, struct error_note *note)
{
    json_t *body = answer_parse(answer);
    const char *text = json_string_value(json_object_get(body, "error"));

    error_note_set(note, "the gateway answers with %d%s%.200s", code, text != NULL ? ": " : "",
                   text != NULL ? text : "");
    json_decref(body);
}

/* --- the config's text --- */

/* Whoever opens the file by its name meanwhile reads the old text or the new one, never a part. */
static status text_put(gateway_link *link, const char *text, size_t bytes)
{
    int fresh = memfd_create("config.yaml", MFD_CLOEXEC);
    size_t written = 0;
    ssize_t count = 1;

    if (fresh < 0)
        return STATUS_IO;
    while (written < bytes && (count > 0 || errno == EINTR)) {
        count = write(fresh, text + written, bytes - written);
        written += count > 0 ? (size_t)count : 0;
    }
    if (written < bytes ||
        (link->text_descriptor >= 0 && dup3(fresh, link->text_descriptor, O_CLOEXEC) < 0)) {
        close(fresh);
        return STATUS_IO;
    }
    if (link->text_descriptor >= 0)
        close(fresh);
    else
        link->text_descriptor = fresh;
    return STATUS_OK;
}

static status text_take(gateway_link *link, const json_t *answer, struct error_note *note)
{
    const json_t *text = json_object_get(answer, "text"),
                 *number = json_object_get(answer, "config");

    if (!json_is_string(text) || !json_is_integer(number)) {
        error_note_set(note, "the gateway's answer has no config");
        return STATUS_INVALID;
    }
    if (text_put(link, json_string_value(text), json_string_length(text)) != STATUS_OK) {
        error_note_set(note, "the config cannot be kept: %s", strerrordesc_np(errno));
        return STATUS_IO;
    }
    link->config_number = link->told_number = (uint64_t)json_integer_value(number);
    return STATUS_OK;
}

/* --- registering --- */

static const char *text_of(const json_t *answer, const char *name)
{
    return json_string_value(json_object_get(answer, name));
}

static status grant_take(gateway_link *link, struct error_note *note)
{
    const json_t *index = json_object_get(link->answer, "index");

    link->key = text_of(link->answer, "session");
    link->grant = (struct gateway_grant){.model = text_of(link->answer, "model"),
                                         .index = (int32_t)json_integer_value(index),
                                         .file = text_of(link->answer, "file"),
                                         .text_file = link->text_file,
                                         .model_path = text_of(link->answer, "model_path"),
                                         .adapters = text_of(link->answer, "adapters")};
    if (link->key == NULL || link->grant.model == NULL || link->grant.file == NULL ||
        link->grant.adapters == NULL || !json_is_integer(index)) {
        error_note_set(note, "the gateway's answer is none to a registration");
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

static status answer_take(gateway_link *link, int code, const struct buffer *body,
                          struct error_note *note)
{
    status result;

    if (code != 200) {
        refusal_note(body, code, note);
        return code >= 500 ? STATUS_AGAIN : STATUS_DENIED;
    }
    link->answer = answer_parse(body);
    result = grant_take(link, note);
    if (result == STATUS_OK)
        result = text_take(link, link->answer, note);
    (void)snprintf(link->text_file, sizeof(link->text_file), "/proc/self/fd/%d",
                   link->text_descriptor);
    return result;
}

/* One try. STATUS_AGAIN: the gateway is not there, or has no room now. */
static status ask(gateway_link *link, struct error_note *note)
{
    struct http_fetch fetch = {.timeout_ns = JOIN_TIMEOUT_NS};
    struct buffer body, answer;
    status result;
    int code = 0;

    buffer_init(&body, ASK_BYTES_MAX);
    buffer_init(&answer, ANSWER_BYTES_MAX);
    buffer_append_format(&body, "{\"protocol\":%u", JOIN_PROTOCOL);
    json_write_key(&body, "version");
    json_write_text(&body, PENSTOCK_VERSION);
    json_write_key(&body, "token");
    json_write_text(&body, link->token);
    json_write_key(&body, "pin");
    json_write_text(&body, http_self_signed_pin(link->identity));
    json_write_key(&body, "address");
    json_write_text(&body, link->address);
    buffer_append_byte(&body, '}');
    fetch.body = buffer_slice(&body);
    result = body.failed == STATUS_OK ? call(link, JOIN_PATH, &fetch, &code, &answer, note)
                                      : STATUS_DENIED; /* a token that long is none */
    if (result == STATUS_OK)
        result = answer_take(link, code, &answer, note);
    else if (result == STATUS_CLOSED || result == STATUS_TIMEOUT)
        result = STATUS_AGAIN;
    buffer_deinit(&body);
    buffer_deinit(&answer);
    return result;
}

/* Until the token is too old to be of use. Waits double, each shortened by up to a half, so that many that were started at once do not
 * come at once. */
static status register_here(gateway_link *link, struct error_note *note)
{
    uint64_t end_ns = clock_now_ns() + link->timeout_ns, wait_ns = RETRY_FIRST_NS, random;
    struct timespec pause;
    status result;

    while ((result = ask(link, note)) == STATUS_AGAIN) {
        if (clock_now_ns() + wait_ns >= end_ns) {
            error_note_prefix(note, "%s was not reached within %llu s", link->url,
                              (unsigned long long)(link->timeout_ns / NS_PER_SECOND));
            return STATUS_TIMEOUT;
        }
        random_bytes(&random, sizeof(random));
        random = wait_ns / 2 + random % (wait_ns / 2);
        pause = (struct timespec){(time_t)(random / NS_PER_SECOND), (long)(random % NS_PER_SECOND)};
        (void)nanosleep(&pause, NULL);
        wait_ns = wait_ns * 2 < RETRY_MAX_NS ? wait_ns * 2 : RETRY_MAX_NS;
    }
    if (result != STATUS_OK)
        error_note_prefix(note, "%s", link->url);
    return result;
}

status gateway_link_open(const char *listen, gateway_link **out, struct error_note *note)
{
    gateway_link *link = memory_allocate_array(1, sizeof(*link));
    status result;

    if (link == NULL)
        return STATUS_NO_MEMORY;
    link->descriptor = link->text_descriptor = -1;
    link->session = http_fetch_session_create();
    result = link->session != NULL ? environment_read(link, note) : STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = http_self_signed_create(&link->identity, note);
    if (result == STATUS_OK)
        result = address_bind(link, listen, note);
    if (result == STATUS_OK)
        result = register_here(link, note);
    if (result != STATUS_OK) {
        gateway_link_close(link);
        return result;
    }
    *out = link;
    return STATUS_OK;
}

const struct gateway_grant *gateway_link_grant(const gateway_link *link)
{
    return &link->grant;
}

void gateway_link_close(gateway_link *link)
{
    if (link == NULL)
        return;
    if (link->descriptor >= 0)
        close(link->descriptor);
    if (link->text_descriptor >= 0)
        close(link->text_descriptor);
    http_fetch_session_destroy(link->session);
    http_self_signed_destroy(link->identity);
    json_decref(link->answer);
    memory_release(link);
}

/* --- serving --- */

void gateway_link_listen(gateway_link *link, struct http_listener_options *options)
{
    link->given = link->descriptor;
    link->descriptor = -1;
    options->address = link->bound;
    options->descriptors = &link->given;
    options->descriptor_count = 1;
    options->identity = link->identity;
}

const char *gateway_link_address(const gateway_link *link)
{
    return link->address;
}

bool gateway_link_is_gateway(const gateway_link *link, const http_request *request)
{
    struct text_slice shown = http_request_header(request, JOIN_SESSION_HEADER);

    return http_request_is_tls(request) && shown.bytes == strlen(link->key) &&
           CRYPTO_memcmp(shown.data, link->key, shown.bytes) == 0;
}

static status beat_answered(gateway_link *link, int code, const struct buffer *answer,
                            struct error_note *note)
{
    json_t *body;

    if (code != 200) {
        refusal_note(answer, code, note);
        return code == 403 ? STATUS_DENIED : STATUS_CLOSED;
    }
    body = answer_parse(answer);
    link->told_number = (uint64_t)json_integer_value(json_object_get(body, "config"));
    json_decref(body);
    return STATUS_OK;
}

status gateway_link_report(gateway_link *link, struct heartbeat *beat,
                           bool (*is_over)(const void *context), const void *context,
                           struct error_note *note)
{
    struct http_fetch fetch = {.content_type = "application/octet-stream",
                               .timeout_ns = CALL_TIMEOUT_NS,
                               .is_over = is_over,
                               .context = context};
    struct buffer body, answer;
    status result;
    int code = 0;

    beat->number = ++link->beat_number;
    buffer_init(&body, heartbeat_bytes_max());
    buffer_init(&answer, ASK_BYTES_MAX);
    heartbeat_write(beat, clock_now_ns(), &body);
    fetch.body = buffer_slice(&body);
    result = body.failed;
    if (result == STATUS_OK)
        result = call(link, JOIN_BEAT_PATH, &fetch, &code, &answer, note);
    if (result == STATUS_OK)
        result = beat_answered(link, code, &answer, note);
    buffer_deinit(&body);
    buffer_deinit(&answer);
    return result;
}

void gateway_link_fail(gateway_link *link, const char *reason)
{
    struct heartbeat beat = {.phase = HEARTBEAT_FAILED,
                             .is_afresh = true,
                             .came = "",
                             .gone = "",
                             .reason = text_slice_of(reason)};
    struct error_note note = {""};

    if (gateway_link_report(link, &beat, NULL, NULL, &note) != STATUS_OK)
        log_warn(AREA, "the gateway could not be told: %s", note.text);
}

bool gateway_link_has_news(const gateway_link *link)
{
    return link->told_number != link->config_number;
}

status gateway_link_read_config(gateway_link *link, struct error_note *note)
{
    struct http_fetch fetch = {.timeout_ns = JOIN_TIMEOUT_NS};
    struct buffer answer;
    json_t *body = NULL;
    status result;
    int code = 0;

    buffer_init(&answer, ANSWER_BYTES_MAX);
    result = call(link, JOIN_TEXT_PATH, &fetch, &code, &answer, note);
    if (result == STATUS_OK && code != 200) {
        refusal_note(&answer, code, note);
        result = STATUS_CLOSED;
    }
    if (result == STATUS_OK) {
        body = answer_parse(&answer);
        result = text_take(link, body, note);
    }
    json_decref(body);
    buffer_deinit(&answer);
    return result;
}
