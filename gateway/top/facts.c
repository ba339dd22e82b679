#include "facts.h"

#include <math.h>
#include <stdio.h>

#include "json.h"
#include "memory.h"

#define ANSWER_BYTES_MAX (64u << 20)
#define PATH_BYTES       128u

/* History is asked for apart: its path tells a time. */
static const char *const paths[FACT_COUNT] = {
    [FACT_REPLICAS] = "/admin/replicas",   [FACT_REQUESTS] = "/admin/requests?state=live&limit=100",
    [FACT_ANOMALIES] = "/admin/anomalies", [FACT_POOL] = "/admin/pool",
    [FACT_CAPACITY] = "/admin/capacity",   [FACT_SLICES] = "/admin/pool/slices?limit=1000",
};

static status fact_read(const struct top *top, const char *path, struct buffer *body, json_t **out,
                        struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 16u << 20};
    status result;

    buffer_clear(body);
    result = top->get(top->context, path, body, note);
    if (result == STATUS_OK) {
        result = json_load_limited(buffer_slice(body), &limits, out, note);
        if (result != STATUS_OK)
            error_note_prefix(note, "the answer to %s is no JSON", path);
    }
    return result;
}

/* The last two minutes; as long as the gateway's clock is not known, those that it chooses. */
static void history_path(double gateway_s, char out[PATH_BYTES])
{
    if (gateway_s > 240 && gateway_s < 1e12)
        (void)snprintf(out, PATH_BYTES, "/admin/history?step=minute&from=%.0f", gateway_s - 120);
    else
        (void)snprintf(out, PATH_BYTES, "/admin/history?step=minute");
}

struct top_facts *top_facts_read(const struct top *top, double *gateway_s, struct error_note *note)
{
    struct top_facts *facts = memory_allocate_array(1, sizeof(*facts));
    char history[PATH_BYTES];
    struct buffer body;
    status result = STATUS_OK;

    if (facts == NULL) {
        error_note_set(note, "no memory");
        return NULL;
    }
    history_path(*gateway_s, history);
    buffer_init(&body, ANSWER_BYTES_MAX);
    for (int i = 0; i < FACT_COUNT && result == STATUS_OK; i++) {
        result =
            fact_read(top, i == FACT_HISTORY ? history : paths[i], &body, &facts->items[i], note);
        /* But for the replicas, which every gateway tells. */
        if (result == STATUS_NOT_FOUND && i != FACT_REPLICAS)
            result = STATUS_OK;
    }
    buffer_deinit(&body);
    *gateway_s = fact_number(facts->items[FACT_HISTORY], "to");
    if (result == STATUS_OK)
        return facts;
    top_facts_destroy(facts);
    return NULL;
}

void top_facts_destroy(struct top_facts *facts)
{
    if (facts == NULL)
        return;
    for (int i = 0; i < FACT_COUNT; i++)
        json_decref(facts->items[i]);
    memory_release(facts);
}

json_t *top_facts_rows(const struct top_facts *facts, enum fact fact, const char *key)
{
    return json_object_get(facts->items[fact], key);
}

const char *fact_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

double fact_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}
