/* The loop takes the question, the control thread answers it, since it alone knows the pool. */
#include "admin_pool.h"

#include "check.h"
#include "control_internal.h"
#include "json.h"
#include "memory.h"
#include "pool_admin.h"

#define SLICES_DEFAULT    POOL_PAGE_MAX
#define PLACEMENT_DEFAULT 100u

static const char *model_name(const void *context, uint32_t model)
{
    const struct edge *edge = context;

    return model < edge->model_count ? edge->models[model].name : "";
}

/* As the OpenAI API writes errors; nothing else has been written. */
static int refuse(struct buffer *out, int code, const char *text)
{
    buffer_append_text(out, "{\"error\":{\"message\":");
    json_write_text(out, text);
    buffer_append_text(out, ",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}");
    return code;
}

/* What the writers need; `names` is the caller's to release. False: there is no memory. */
static bool admin_make(struct control *control, const char ***names, struct pool_admin *out)
{
    const struct config_pool *pool = &control->edge->configs.first->config->pool;

    *out = (struct pool_admin){.fleet = control->fleet,
                               .quota = replica_fleet_quota(control->fleet),
                               .model_name = model_name,
                               .context = control->edge};
    *names = memory_allocate_array((size_t)pool->quotas.count + 1, sizeof(**names));
    if (*names == NULL)
        return false;
    (*names)[QUOTA_ROOT] = "";
    for (uint32_t i = 0; i < pool->quotas.count; i++)
        (*names)[i + 1] = config_quota_at(pool, i)->name;
    out->quota_names = *names;
    return true;
}

/* --- ?from=N&limit=N --- */

static bool number_read(struct text_slice text, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;

    if (text.bytes == 0 || text.bytes > 9)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (value > max)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool word_read(struct text_slice pair, struct pool_page *page)
{
    const char *mark = memchr(pair.data, '=', pair.bytes);
    struct text_slice name = {pair.data, mark != NULL ? (size_t)(mark - pair.data) : pair.bytes},
                      value = {mark + 1, pair.bytes - name.bytes - 1};

    if (mark == NULL)
        return false;
    if (text_slice_is(name, "from"))
        return number_read(value, UINT32_MAX, &page->from);
    return text_slice_is(name, "limit") && number_read(value, POOL_PAGE_MAX, &page->count_max) &&
           page->count_max > 0;
}

static bool page_read(struct text_slice query, struct pool_page *page)
{
    while (query.bytes > 0) {
        const char *end = memchr(query.data, '&', query.bytes);
        size_t bytes = end != NULL ? (size_t)(end - query.data) : query.bytes;

        if (!word_read((struct text_slice){query.data, bytes}, page))
            return false;
        query.data += bytes + (end != NULL);
        query.bytes -= bytes + (end != NULL);
    }
    return true;
}

static int refuse_query(struct buffer *out)
{
    return refuse(out, 400,
                  "The query may have from and limit, which are numbers; limit is at most 1000");
}

/* --- on the control thread --- */

static int pool_answer(struct control *control, struct text_slice rest, struct text_slice query,
                       struct buffer *out)
{
    struct pool_admin admin;
    const char **names;

    (void)rest;
    (void)query;
    if (!admin_make(control, &names, &admin))
        return refuse(out, 503, "The gateway has no memory for this");
    pool_json_write(&admin, clock_now_ns(), out);
    memory_release(names);
    return 200;
}

static int slices_answer(struct control *control, struct text_slice rest, struct text_slice query,
                         struct buffer *out)
{
    struct pool_page page = {0, SLICES_DEFAULT};
    struct pool_admin admin;
    const char **names;

    (void)rest;
    if (!page_read(query, &page))
        return refuse_query(out);
    if (!admin_make(control, &names, &admin))
        return refuse(out, 503, "The gateway has no memory for this");
    pool_slices_json_write(&admin, &page, clock_now_ns(), out);
    memory_release(names);
    return 200;
}

/* A model with replicas of its own; one of another server has none. */
static const struct placement_request *request_find(const struct control *control,
                                                    struct text_slice name)
{
    for (uint32_t i = 0; i < control->edge->model_count; i++) {
        if (text_slice_is(name, control->edge->models[i].name) &&
            control->scalings[i].model != NULL)
            return &control->slices[i].request;
    }
    return NULL;
}

static int placement_answer(struct control *control, struct text_slice rest,
                            struct text_slice query, struct buffer *out)
{
    const struct placement_request *request = request_find(control, rest);
    struct pool_page page = {0, PLACEMENT_DEFAULT};
    struct pool_admin admin;
    const char **names;
    status result;

    if (request == NULL)
        return refuse(out, 404, "There is no such model with replicas of its own; see /v1/models");
    if (!page_read(query, &page))
        return refuse_query(out);
    if (!admin_make(control, &names, &admin))
        return refuse(out, 503, "The gateway has no memory for this");
    result = placement_json_write(&admin, request, &page, clock_now_ns(), out);
    memory_release(names);
    if (result == STATUS_OK)
        return 200;
    return refuse(out, 503, "The placement cannot be explained now");
}

uint64_t control_pool_metrics_tick(struct control *control, uint64_t now_ns)
{
    struct pool_admin admin;
    const char **names;

    if (now_ns < control->pool_metrics_ns)
        return control->pool_metrics_ns;
    control->pool_metrics_ns = now_ns + NS_PER_SECOND;
    if (admin_make(control, &names, &admin)) {
        pool_metrics_collect(&control->pool_metrics, &admin, now_ns);
        memory_release(names);
    }
    return control->pool_metrics_ns;
}

/* --- loop --- */

void admin_pool(struct edge_record *record, struct text_slice rest)
{
    control_question_ask(record, pool_answer, rest);
}

void admin_pool_slices(struct edge_record *record, struct text_slice rest)
{
    control_question_ask(record, slices_answer, rest);
}

void admin_placement(struct edge_record *record, struct text_slice rest)
{
    control_question_ask(record, placement_answer, edge_percent_decode(record->request, rest));
}
