#include "genai_metrics.h"

#include <stdio.h>
#include <string.h>

/* Names, units and bounds of the conventions (semantic-conventions-genai, metrics). */
const struct genai_definition genai_definitions[GENAI_METRIC_COUNT] = {
    [GENAI_REQUEST_DURATION] = {"gen_ai.server.request.duration",
                                "s",
                                "Time from a request's head to the end of its answer.",
                                14,
                                {0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24,
                                 20.48, 40.96, 81.92}},
    [GENAI_TIME_TO_FIRST_TOKEN] = {"gen_ai.server.time_to_first_token",
                                   "s",
                                   "Time from a request's head to the first token of its answer.",
                                   16,
                                   {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                    0.75, 1.0, 2.5, 5.0, 7.5, 10.0}},
    [GENAI_TIME_PER_OUTPUT_TOKEN] = {"gen_ai.server.time_per_output_token",
                                     "s",
                                     "Time for each token of an answer behind the first.",
                                     13,
                                     {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
                                      1.0, 2.5}},
    [GENAI_TOKEN_USAGE] = {"gen_ai.client.token.usage",
                           "{token}",
                           "Tokens of a request's prompt (input) and answer (output).",
                           14,
                           {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304,
                            16777216, 67108864}},
};

static struct genai_series *series_get(struct genai_metrics *metrics, enum genai_metric metric,
                                       const struct genai_sample *sample, const char *token_type,
                                       const char *error_type)
{
    struct genai_series *series;

    for (uint32_t i = 0; i < metrics->series_count; i++) {
        series = &metrics->series[i];
        if (series->metric == metric && series->token_type == token_type &&
            strcmp(series->operation, sample->operation) == 0 &&
            strcmp(series->model, sample->model) == 0 &&
            strcmp(series->error_type, error_type) == 0)
            return series;
    }
    if (metrics->series_count == GENAI_SERIES_MAX)
        return NULL;
    series = &metrics->series[metrics->series_count++];
    *series = (struct genai_series){
        .metric = metric, .operation = sample->operation, .token_type = token_type};
    (void)snprintf(series->model, sizeof(series->model), "%s", sample->model);
    (void)snprintf(series->error_type, sizeof(series->error_type), "%s", error_type);
    return series;
}

static void observe(struct genai_metrics *metrics, struct genai_series *series, double value)
{
    const struct genai_definition *definition;
    uint32_t at = 0;

    if (series == NULL) {
        metrics->lost++;
        return;
    }
    definition = &genai_definitions[series->metric];
    while (at < definition->bound_count && value > definition->bounds[at])
        at++;
    series->counts[at]++;
    series->count++;
    series->sum += value;
}

void genai_metrics_add(struct genai_metrics *metrics, const struct genai_sample *sample)
{
    static const char input[] = "input", output[] = "output";

    observe(metrics, series_get(metrics, GENAI_REQUEST_DURATION, sample, NULL, sample->error_type),
            sample->duration_s);
    if (sample->first_token_s >= 0)
        observe(metrics, series_get(metrics, GENAI_TIME_TO_FIRST_TOKEN, sample, NULL, ""),
                sample->first_token_s);
    if (sample->per_token_s >= 0)
        observe(metrics, series_get(metrics, GENAI_TIME_PER_OUTPUT_TOKEN, sample, NULL, ""),
                sample->per_token_s);
    if (!sample->has_usage)
        return;
    observe(metrics, series_get(metrics, GENAI_TOKEN_USAGE, sample, input, ""),
            (double)sample->input_tokens);
    observe(metrics, series_get(metrics, GENAI_TOKEN_USAGE, sample, output, ""),
            (double)sample->output_tokens);
}

uint32_t genai_series_attributes(const struct genai_series *series,
                                 struct attribute out[GENAI_POINT_ATTRIBUTES])
{
    const struct {
        const char *key, *text;
    } texts[GENAI_POINT_ATTRIBUTES] = {
        {"gen_ai.operation.name", series->operation}, {"gen_ai.provider.name", "penstock"},
        {"gen_ai.request.model", series->model},      {"gen_ai.response.model", series->model},
        {"gen_ai.token.type", series->token_type},    {"error.type", series->error_type},
    };
    uint32_t count = 0;

    for (uint32_t i = 0; i < GENAI_POINT_ATTRIBUTES; i++) {
        if (texts[i].text != NULL && texts[i].text[0] != '\0')
            out[count++] = (struct attribute){
                .key = texts[i].key, .kind = ATTRIBUTE_TEXT, .text = texts[i].text};
    }
    return count;
}
