/* Requests to one slurmrestd.
 *
 * slurmrestd answers most failures with 500 and a list `errors`, and beside it an empty list of whatever was asked for; so the errors come
 * first, always. In older versions a token that is expired or wrong is such a 500 too, without a number to tell it by: it counts as
 * a broken way, and whoever opens anew reads the token anew. One answer has errors and is none: that of a submission with a job's number.
 * The job is in the queue, and the error says why it does not run yet.
 *
 * Numbers of errors are those of slurm/slurm_errno.h: 1000..1999 are of the way to slurmctld, 2000.. its own words. */
#include "slurm_client.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "json.h"
#include "slurm_json.h"
#include "slurm_token.h"

/* 10,000 nodes of 8 GPUs are 13 MB and 300 values each. */
#define ANSWER_BYTES_MAX        (256u << 20)
#define PATH_BYTES_MAX          1024u
#define ERRORS_OF_THE_WAY_FIRST 1000u
#define ERRORS_OF_THE_WAY_LAST  1999u

static const struct json_limits answer_limits = {.depth_max = 64, .value_count_max = 32u << 20};

static const struct {
    unsigned number;
    status result;
} error_statuses[] = {
    {1007, STATUS_DENIED},    /* authentication */
    {2002, STATUS_DENIED},    /* access */
    {2014, STATUS_FULL},      /* requested node configuration is not available */
    {2015, STATUS_FULL},      /* of the partition */
    {2016, STATUS_FULL},      /* nodes busy */
    {2017, STATUS_NOT_FOUND}, /* invalid job id */
    {2021, STATUS_NOT_FOUND}, /* job already finished */
    {2045, STATUS_DENIED},    /* account */
    {2050, STATUS_DENIED},    /* accounting policy */
};

status slurm_client_init(struct slurm_client *client, const struct slurm_member_config *config)
{
    *client = (struct slurm_client){.config = config};
    buffer_init(&client->key, SLURM_KEY_FILE_BYTES_MAX);
    buffer_init(&client->token, SLURM_TOKEN_BYTES_MAX);
    buffer_init(&client->answer, ANSWER_BYTES_MAX);
    client->session = http_fetch_session_create();
    return client->session != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void slurm_client_deinit(struct slurm_client *client)
{
    http_fetch_session_destroy(client->session);
    buffer_deinit(&client->answer);
    buffer_deinit(&client->token);
    buffer_deinit(&client->key);
}

/* --- versions --- */

bool slurm_api_choose(const json_t *openapi, struct slurm_api *out)
{
    json_t *paths = json_object_get(openapi, "paths");
    unsigned best = 0;
    const char *path;
    json_t *value;

    json_object_foreach(paths, path, value)
    {
        unsigned version;

        if (sscanf(path, "/slurm/v0.0.%3u/", &version) == 1 && version > best &&
            version >= SLURM_API_VERSION_MIN && version <= SLURM_API_VERSION_MAX)
            best = version;
    }
    if (best == 0)
        return false;
    out->version = best;
    out->family = best >= 41 ? SLURM_API_41 : best >= 39 ? SLURM_API_39 : SLURM_API_38;
    return true;
}

/* --- who we are --- */

static status token_refresh(struct slurm_client *client, struct error_note *note)
{
    const struct slurm_member_config *config = client->config;
    uint64_t now = clock_wall_ms() / 1000;
    status result;

    if (client->token_ends_seconds > now + SLURM_TOKEN_RENEW ||
        (config->key_file == NULL && config->token_file == NULL))
        return STATUS_OK;
    if (config->key_file == NULL) {
        client->token_ends_seconds = UINT64_MAX; /* until it is refused */
        return slurm_secret_read(config->token_file, false, &client->token, note);
    }
    result = slurm_secret_read(config->key_file, true, &client->key, note);
    if (result == STATUS_OK)
        result = slurm_token_mint(buffer_slice(&client->key), config->user, now, &client->token);
    client->token_ends_seconds = result == STATUS_OK ? now + SLURM_TOKEN_SECONDS : 0;
    return result;
}

/* --- answers --- */

static status error_status(uint64_t number)
{
    for (size_t i = 0; i < ARRAY_COUNT(error_statuses); i++)
        if (error_statuses[i].number == number)
            return error_statuses[i].result;
    return number >= ERRORS_OF_THE_WAY_FIRST && number <= ERRORS_OF_THE_WAY_LAST ? STATUS_CLOSED
                                                                                 : STATUS_INVALID;
}

status slurm_answer_check(int status_code, const json_t *answer, struct error_note *note)
{
    const json_t *errors = json_object_get(answer, "errors");
    const json_t *first = json_array_get(errors, 0);
    static const char *const names[] = {"error_number", "error_code", "errno"};
    uint64_t number = 0;

    if (status_code == 401 || status_code == 403) {
        error_note_set(note, "slurmrestd answers %d: not authenticated", status_code);
        return STATUS_DENIED;
    }
    if (status_code >= 200 && status_code < 300 &&
        (first == NULL || slurm_number_or_0(answer, "job_id") != 0))
        return STATUS_OK;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slurm_number(first, names[i], &number))
            break;
    error_note_set(note, "slurmrestd answers %d: %s%s%s (%u)", status_code,
                   slurm_text(first, "error"),
                   slurm_text(first, "description")[0] != '\0' ? ": " : "",
                   slurm_text(first, "description"), (unsigned)number);
    if (number == 0 || number == UINT32_MAX)
        return status_code >= 400 && status_code < 500 ? STATUS_INVALID : STATUS_CLOSED;
    return error_status(number);
}

static bool is_over(const void *context)
{
    const _Atomic bool *is_stopping = context;

    return atomic_load_explicit(is_stopping, memory_order_relaxed);
}

static status fetch(struct slurm_client *client, const char *method, const char *url,
                    struct text_slice body, int *code, struct error_note *note)
{
    const struct slurm_member_config *config = client->config;
    const struct http_header headers[] = {
        {text_slice_of("x-slurm-user-name"), text_slice_of(config->user)},
        {text_slice_of("x-slurm-user-token"), buffer_slice(&client->token)},
    };
    const struct http_fetch request = {
        .url = url,
        .unix_socket = config->unix_socket,
        .ca_file = config->ca_file,
        .headers = headers,
        .header_count = client->token.bytes > 0 ? 2 : 0,
        .body = body,
        .method = method,
        .session = client->session,
        .timeout_ns = config->timeout_ns,
        .is_over = client->is_stopping != NULL ? is_over : NULL,
        .context = (const void *)client->is_stopping,
    };

    buffer_clear(&client->answer);
    return http_fetch(&request, code, &client->answer, note);
}

static status ask_once(struct slurm_client *client, const char *method, const char *url,
                       struct text_slice body, json_t **out, struct error_note *note)
{
    json_t *answer = NULL;
    int code = 0;
    status result = token_refresh(client, note);

    *out = NULL;
    if (result == STATUS_OK)
        result = fetch(client, method, url, body, &code, note);
    if (result != STATUS_OK)
        return result;
    if (code == 304)
        return STATUS_AGAIN;
    if (json_load_limited(buffer_slice(&client->answer), &answer_limits, &answer, note) !=
            STATUS_OK &&
        code >= 200 && code < 300)
        return STATUS_INVALID;
    result = slurm_answer_check(code, answer, note);
    if (result == STATUS_OK)
        *out = answer;
    else
        json_decref(answer);
    return result;
}

/* What is refused has not been carried out. */
static bool is_worth_a_new_token(const struct slurm_client *client, status result)
{
    return client->token.bytes > 0 && result == STATUS_DENIED;
}

static status ask_url(struct slurm_client *client, const char *method, const char *url,
                      struct text_slice body, json_t **out, struct error_note *note)
{
    json_t *answer = NULL;
    status result = ask_once(client, method, url, body, &answer, note);

    if (is_worth_a_new_token(client, result)) {
        client->token_ends_seconds = 0;
        result = ask_once(client, method, url, body, &answer, note);
    }
    if (out != NULL)
        *out = answer;
    else
        json_decref(answer);
    return result;
}

status slurm_client_ask(struct slurm_client *client, const char *method, const char *path,
                        struct text_slice body, json_t **out, struct error_note *note)
{
    char url[PATH_BYTES_MAX];
    int bytes = snprintf(url, sizeof(url), "%s/slurm/v0.0.%u/%s", client->config->url,
                         client->api.version, path);

    if (bytes < 0 || (size_t)bytes >= sizeof(url)) {
        error_note_set(note, "the address is too long");
        return STATUS_INVALID;
    }
    return ask_url(client, method, url, body, out, note);
}

/* --- opening --- */

static status clock_compare(struct slurm_client *client, struct error_note *note)
{
    const struct text_slice none = {NULL, 0};
    json_t *answer = NULL;
    uint64_t theirs;
    status result = slurm_client_ask(client, NULL, "diag", none, &answer, note);

    if (result != STATUS_OK)
        return result;
    if (slurm_number(json_object_get(answer, "statistics"), "req_time", &theirs))
        client->clock_offset = (int64_t)theirs - (int64_t)(clock_wall_ms() / 1000);
    json_decref(answer);
    return STATUS_OK;
}

status slurm_client_open(struct slurm_client *client, struct error_note *note)
{
    const struct text_slice none = {NULL, 0};
    char url[PATH_BYTES_MAX];
    json_t *openapi = NULL;
    status result;
    bool is_known;

    (void)snprintf(url, sizeof(url), "%s/openapi/v3", client->config->url);
    client->token_ends_seconds = 0;
    result = ask_url(client, NULL, url, none, &openapi, note);
    if (result != STATUS_OK)
        return result;
    is_known = slurm_api_choose(openapi, &client->api);
    json_decref(openapi);
    if (is_known)
        return clock_compare(client, note);
    error_note_set(note, "slurmrestd serves none of the API's versions v0.0.%u to v0.0.%u",
                   SLURM_API_VERSION_MIN, SLURM_API_VERSION_MAX);
    return STATUS_INVALID;
}

uint64_t slurm_client_now(const struct slurm_client *client)
{
    return (uint64_t)((int64_t)(clock_wall_ms() / 1000) + client->clock_offset);
}
