#include "calibration.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "json.h"

/* What is run: requests of one kind. */
struct trial {
    uint32_t prompt_words;
    bool is_shared; /* by as many streams as the order says; else one after the other */
};

#define PROMPT_SHORT 32u
#define PROMPT_LONG  256u
#define OUTPUT       16u
#define ROUNDS       2u  /* requests of each stream */
#define SAMPLE_NOTES 64u /* a trial's weight against the profile, which counts as one */

static const struct trial trials[] = {
    {PROMPT_SHORT, false}, {PROMPT_LONG, false}, {PROMPT_SHORT, true}, {PROMPT_LONG, true}};

/* Medians: what else runs on the machine for a moment does not matter. Of streams side by side only the gaps count: their first tokens wait
 * for each other. */
static void trial_note(const struct trial *trial, const struct bench_order *order,
                       struct bench_result *result, struct step_model *model)
{
    double answers = (double)(result->sent - result->failed);
    double prompt = (double)(result->prompt_tokens - result->cached_tokens) / answers;
    double first_ns = bench_samples_percentile(&result->ttft, 0.5) * 1e6;
    double gap_ns = bench_samples_percentile(&result->gap, 0.5) * 1e6;

    for (uint32_t i = 0; i < SAMPLE_NOTES; i++) {
        step_model_note(model, 0, order->concurrency * result->context_tokens_mean, gap_ns);
        if (!trial->is_shared)
            step_model_note(model, prompt, prompt / 2, first_ns);
    }
}

static status trial_run(const struct trial *trial, const struct bench_order *order, uint64_t seed,
                        struct step_model *model, struct error_note *note)
{
    struct bench_order own = *order;
    struct bench_result result;
    status outcome;

    own.load.seed = seed;
    own.load.prompt_words = trial->prompt_words;
    own.load.output_tokens = OUTPUT;
    own.load.rate = 0;
    own.concurrency = trial->is_shared ? order->concurrency : 1;
    own.request_count = (uint64_t)ROUNDS * own.concurrency;
    own.duration_ns = 0;
    outcome = bench_run(&own, &result, note);
    if (outcome == STATUS_OK && result.failed > 0) {
        error_note_set(note, "%s", result.first_failure.text);
        outcome = STATUS_CLOSED;
    }
    if (outcome == STATUS_OK)
        trial_note(trial, &own, &result, model);
    bench_result_deinit(&result);
    return outcome;
}

status calibration_measure(const struct bench_order *order, struct step_cost *out,
                           struct error_note *note)
{
    static const struct step_cost nothing = {0, 0, 0};
    struct step_model model;
    status result = STATUS_OK;

    step_model_init(&model, &nothing);
    for (size_t i = 0; i < ARRAY_COUNT(trials) && result == STATUS_OK; i++)
        result = trial_run(&trials[i], order, order->load.seed + i, &model, note);
    *out = step_model_fit(&model);
    return result;
}

void calibration_write(const char *model, const struct step_cost *cost, struct buffer *out)
{
    buffer_append_text(out, "{\"models\":[{");
    json_write_key(out, "name");
    json_write_text(out, model);
    json_write_key(out, "calibration");
    buffer_append_byte(out, '{');
    json_write_key(out, "fixed_ns");
    json_write_double(out, cost->fixed_ns);
    json_write_key(out, "prefill_token_ns");
    json_write_double(out, cost->prefill_token_ns);
    json_write_key(out, "kv_token_ns");
    json_write_double(out, cost->kv_token_ns);
    buffer_append_text(out, "}}]}\n");
}

static bool number_read(const json_t *object, const char *key, double *out)
{
    const json_t *value = json_object_get(object, key);

    *out = json_number_value(value);
    return json_is_number(value) && isfinite(*out) && *out >= 0;
}

static status cost_read(const json_t *row, struct step_cost *out, struct error_note *note)
{
    const json_t *object = json_object_get(row, "calibration");

    if (json_is_null(object))
        return STATUS_NOT_FOUND;
    if (number_read(object, "fixed_ns", &out->fixed_ns) &&
        number_read(object, "prefill_token_ns", &out->prefill_token_ns) &&
        number_read(object, "kv_token_ns", &out->kv_token_ns) && out->fixed_ns > 0)
        return STATUS_OK;
    error_note_set(
        note, "a calibration has fixed_ns above 0, prefill_token_ns and kv_token_ns of 0 or more");
    return STATUS_INVALID;
}

status calibration_read(struct text_slice text, const char *model, struct step_cost *out,
                        struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 1u << 20};
    json_t *file = NULL;
    const json_t *row;
    size_t i;
    status result = json_load_limited(text, &limits, &file, note), found = STATUS_NOT_FOUND;

    if (result != STATUS_OK)
        return result;
    if (!json_is_array(json_object_get(file, "models"))) {
        error_note_set(note, "it has no list \"models\"");
        found = STATUS_INVALID;
    }
    json_array_foreach(json_object_get(file, "models"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));

        if (name != NULL && strcmp(name, model) == 0)
            found = cost_read(row, out, note);
    }
    json_decref(file);
    return found;
}
