#include "shadow.h"

#include <math.h>

#include "clock.h"
#include "log.h"
#include "memory.h"
#include "proxy_state.h"
#include "shadow_text.h"
#include "targets.h"
#include "upstream.h"

/* Of each answer: 2,000 tokens as events; longer ones are not compared, so that no loop is held up. */
#define ANSWER_BYTES_MAX (512u << 10)
#define SHADOW_COUNT_MAX 64u /* of a loop at once: a model that is slow must not gather memory */

enum side { REQUEST, SHADOW, SIDE_COUNT };

struct shadow {
    struct edge_loop *loop;
    const struct edge_model *model;
    struct edge_replica *replica;
    http_exchange *exchange; /* NULL: it has ended */
    char *body;              /* owned */
    char request_id[129];
    struct {
        struct buffer bytes;
        int status_code;
        bool is_over;
    } answers[SIDE_COUNT];
};

/* --- the end --- */

static void compare(struct shadow *shadow)
{
    struct edge_model_metrics *metrics = &shadow->loop->edge->metrics.models[shadow->model->index];
    struct buffer texts[SIDE_COUNT];
    struct shadow_difference found;
    bool is_good = true;

    for (int i = 0; i < SIDE_COUNT; i++) {
        const struct buffer *bytes = &shadow->answers[i].bytes;

        buffer_init(&texts[i], ANSWER_BYTES_MAX);
        is_good = is_good && shadow->answers[i].status_code == 200 && bytes->failed == STATUS_OK &&
                  shadow_text_read(buffer_slice(bytes), &texts[i]);
    }
    if (is_good) {
        found = shadow_text_compare(buffer_slice(&texts[REQUEST]), buffer_slice(&texts[SHADOW]));
        is_good = found.equal_tokens == found.tokens[REQUEST] &&
                  found.tokens[REQUEST] == found.tokens[SHADOW];
        metrics_add(is_good ? metrics->shadow_same : metrics->shadow_different, 1);
        metrics_add(metrics->shadow_tokens, found.tokens[REQUEST]);
        metrics_add(metrics->shadow_equal_tokens, found.equal_tokens);
        log_info(
            "gateway/edge",
            "request_id=%s shadow of %s by %s: %s, %u of %u tokens before the first difference",
            shadow->request_id, shadow->model->name, shadow->replica->model->name,
            is_good ? "same" : "different", found.equal_tokens, found.tokens[REQUEST]);
    } else {
        metrics_add(metrics->shadow_failed, 1);
        log_info("gateway/edge", "request_id=%s shadow of %s by %s: not compared (%d and %d)",
                 shadow->request_id, shadow->model->name, shadow->replica->model->name,
                 shadow->answers[REQUEST].status_code, shadow->answers[SHADOW].status_code);
    }
    for (int i = 0; i < SIDE_COUNT; i++)
        buffer_deinit(&texts[i]);
}

static void side_over(struct shadow *shadow, enum side side)
{
    shadow->answers[side].is_over = true;
    if (!shadow->answers[REQUEST].is_over || !shadow->answers[SHADOW].is_over)
        return;
    compare(shadow);
    shadow->loop->shadow_count--;
    for (int i = 0; i < SIDE_COUNT; i++)
        buffer_deinit(&shadow->answers[i].bytes);
    memory_release(shadow->body);
    memory_release(shadow);
}

/* --- the copy's answer --- */

static void on_head(http_exchange *exchange, int status_code, const struct http_header *headers,
                    size_t header_count, void *context)
{
    (void)exchange;
    (void)headers;
    (void)header_count;
    ((struct shadow *)context)->answers[SHADOW].status_code = status_code;
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    (void)exchange;
    buffer_append_slice(&((struct shadow *)context)->answers[SHADOW].bytes, bytes);
}

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct shadow *shadow = context;

    (void)exchange;
    (void)any_byte;
    (void)atomic_fetch_sub_explicit(&shadow->replica->outstanding, 1, memory_order_relaxed);
    if (result != STATUS_OK)
        shadow->answers[SHADOW].status_code = 0;
    side_over(shadow, SHADOW);
}

/* --- the start --- */

static bool is_wanted(const struct proxy *proxy, const struct config_shadow *row, uint64_t number)
{
    enum edge_route route = proxy->record->route;

    return row->model[0] != '\0' && ldexp((double)number, -64) < row->share &&
           (route == ROUTE_CHAT_COMPLETIONS || route == ROUTE_COMPLETIONS) &&
           proxy->choice.keeper == NULL && proxy->loop->shadow_count < SHADOW_COUNT_MAX;
}

/* The request's body with the other model's name. */
static bool body_make(struct shadow *shadow, const struct proxy *proxy, struct text_slice *out)
{
    struct text_slice body = http_request_body(proxy->record->request);
    const char *name = shadow->replica->upstream != NULL ? shadow->replica->upstream->model
                                                         : shadow->replica->model->name;

    shadow->body = memory_allocate(route_body_named_bytes(body, name));
    if (shadow->body == NULL)
        return false;
    out->data = shadow->body;
    out->bytes = proxy->target.has_name
                     ? route_body_rename(body, proxy->target.name, name, shadow->body)
                     : route_body_name(body, name, shadow->body);
    return true;
}

static bool send_copy(struct shadow *shadow, const struct proxy *proxy)
{
    http_request *request = proxy->record->request;
    const struct edge_upstream *upstream = shadow->replica->upstream;
    struct http_header headers[UPSTREAM_HEADER_COUNT_MAX];
    struct http_exchange_options options = {
        .method = proxy->method,
        .path = upstream != NULL ? edge_upstream_path(upstream, request, proxy->path) : proxy->path,
        .headers = headers,
        .header_count = upstream != NULL ? edge_upstream_headers(upstream, request, headers)
                                         : upstream_headers_make(
                                               request, proxy->record->caller->tenant, headers),
        .connect_timeout_ns = proxy->connect_timeout_ns,
        .first_byte_timeout_ns = proxy->first_byte_timeout_ns,
        .idle_timeout_ns = proxy->idle_timeout_ns,
        .callbacks = {on_head, on_body, on_end},
        .context = shadow,
    };

    return body_make(shadow, proxy, &options.body) &&
           http_exchange_start(targets_get(proxy->loop, shadow->replica), &options,
                               &shadow->exchange) == STATUS_OK;
}

struct shadow *shadow_start(const struct proxy *proxy, const struct config *config, uint64_t number)
{
    const struct config_shadow *row = &config_model_at(config, proxy->target.model)->shadow;
    struct replica_choice choice = {.policy = ROUTER_LEAST_LOAD};
    struct shadow *shadow;
    struct route_plan plan;

    if (!is_wanted(proxy, row, number))
        return NULL;
    route_plan_make(config, (uint32_t)config_model_find(config, text_slice_of(row->model)), number,
                    &plan);
    choice.model = &proxy->record->edge->models[plan.models[0]];
    shadow = memory_allocate_array(1, sizeof(*shadow));
    if (shadow == NULL)
        return NULL;
    shadow->loop = proxy->loop;
    shadow->model = proxy->choice.model;
    shadow->replica = replica_choice_pick(&choice, clock_now_ns());
    (void)snprintf(shadow->request_id, sizeof(shadow->request_id), "%s",
                   http_request_id(proxy->record->request));
    for (int i = 0; i < SIDE_COUNT; i++)
        buffer_init(&shadow->answers[i].bytes, ANSWER_BYTES_MAX);
    if (shadow->replica == NULL || !send_copy(shadow, proxy)) {
        metrics_add(proxy_metrics(proxy)->shadow_failed, 1);
        memory_release(shadow->body);
        memory_release(shadow);
        return NULL;
    }
    (void)atomic_fetch_add_explicit(&shadow->replica->outstanding, 1, memory_order_relaxed);
    shadow->loop->shadow_count++;
    return shadow;
}

void shadow_take(struct shadow *shadow, struct text_slice bytes)
{
    if (shadow != NULL)
        buffer_append_slice(&shadow->answers[REQUEST].bytes, bytes);
}

void shadow_leave(struct shadow *shadow, int status_code)
{
    if (shadow == NULL)
        return;
    shadow->answers[REQUEST].status_code = status_code;
    side_over(shadow, REQUEST);
}
