#include "capacity_check.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calibration.h"
#include "check.h"
#include "limit_promise.h"

#define FILE_BYTES_MAX (4u << 20)

struct prediction {
    struct step_cost cost;
    struct load_shape shape;
    struct replica_limits limits;
    double replicas, rate_max; /* of all */
};

static bool fail(const struct config *config, const struct config_model *row, const char *text)
{
    (void)fprintf(stderr, "%s: error: model %s: %s\n", config->file, row->name, text);
    return false;
}

static bool file_read(const char *path, struct buffer *out, struct error_note *note)
{
    FILE *file = fopen(path, "re");
    char piece[4096];
    size_t bytes;

    if (file == NULL) {
        error_note_set(note, "%s: %s", path, strerrordesc_np(errno));
        return false;
    }
    while ((bytes = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(out, piece, bytes);
    (void)fclose(file);
    if (out->failed != STATUS_OK)
        error_note_set(note, "%s is longer than %u bytes", path, FILE_BYTES_MAX);
    return out->failed == STATUS_OK;
}

/* STATUS_NOT_FOUND: the file has nothing of this model, which is no error. */
static status cost_find(const struct config_model *row, const char *path, struct step_cost *out,
                        struct error_note *note)
{
    struct buffer text;
    status result = STATUS_IO;

    buffer_init(&text, FILE_BYTES_MAX);
    if (file_read(path, &text, note)) {
        result = calibration_read(buffer_slice(&text), row->name, out, note);
        if (result == STATUS_INVALID)
            error_note_prefix(note, "%s", path);
    }
    buffer_deinit(&text);
    return result;
}

static struct load_times times_at(const struct prediction *prediction, double rate)
{
    return load_times_at(&prediction->cost, &prediction->shape, &prediction->limits,
                         rate / prediction->replicas);
}

static void load_print(const struct prediction *prediction, double rate)
{
    struct load_times times = times_at(prediction, rate);

    (void)printf("             at %.2f a second: first token after %.0f ms, then one every %.1f "
                 "ms; %.1f answers at once in a replica, "
                 "%.0f %% of what it carries\n",
                 rate, times.ttft_ns / 1e6, times.inter_token_ns / 1e6, times.sequences,
                 100 * rate / prediction->rate_max);
}

static void limits_print(const struct config *config, const struct config_model *row,
                         const struct prediction *prediction)
{
    double tokens = 60 * prediction->rate_max *
                    (prediction->shape.prompt_tokens + prediction->shape.output_tokens);

    for (int per = QUOTA_PER_ALL; per <= QUOTA_PER_KEY; per++) {
        struct limit_promise promise = limit_promise_of(config, row->name, (enum quota_per)per);

        if (promise.tokens_per_minute > tokens)
            (void)printf("  tenants    over-committed: limits of %u %s%s allow %.0f tokens a "
                         "minute, and the replicas carry %.0f\n",
                         promise.holders, limit_promise_scope((enum quota_per)per),
                         promise.holders == 1 ? "" : "s", promise.tokens_per_minute, tokens);
    }
}

static bool rate_check(const struct config *config, const struct config_model *row,
                       const struct prediction *prediction, const char *text)
{
    char *end = NULL, why[160];
    double rate = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(rate) || rate <= 0)
        return fail(config, row, "--rate must be a number of requests a second above 0");
    if (isfinite(times_at(prediction, rate).ttft_ns)) {
        load_print(prediction, rate);
        return true;
    }
    (void)snprintf(why, sizeof(why), "%g requests a second are more than its replicas carry (%.2f)",
                   rate, prediction->rate_max);
    return fail(config, row, why);
}

bool capacity_check(const struct config *config, const struct config_model *row, uint64_t kv_tokens,
                    const struct capacity_check_options *options)
{
    static const struct service_level any = {0, 0};
    static const double shares[] = {0.25, 0.5, 0.75};
    struct prediction prediction = {
        .shape = {(double)options->prompt_tokens, 0, (double)options->output_tokens, 0},
        .limits = {(double)kv_tokens, (double)row->max_num_seqs,
                   (double)row->max_num_batched_tokens},
        .replicas = (double)config_model_replicas(row)};
    struct error_note note = {""};
    enum capacity_bound bound;
    struct capacity most;
    bool is_good = true;
    status result = cost_find(row, options->calibration, &prediction.cost, &note);

    if (result == STATUS_NOT_FOUND) {
        (void)printf(
            "  capacity   %s has nothing of this model: `penstock bench --calibrate` measures it\n",
            options->calibration);
        return true;
    }
    if (result != STATUS_OK)
        return fail(config, row, note.text);
    prediction.replicas = fmax(prediction.replicas, 1);
    most = capacity_under(&prediction.cost, &prediction.shape, &prediction.limits, &any, ROLE_MIXED,
                          &bound);
    prediction.rate_max = most.requests_per_s * prediction.replicas;
    (void)printf("  capacity   %.2f requests a second of %d + %d tokens with %.0f replica%s; what "
                 "ends it: %s\n",
                 prediction.rate_max, options->prompt_tokens, options->output_tokens,
                 prediction.replicas, prediction.replicas > 1 ? "s" : "",
                 capacity_bound_name(bound));
    for (size_t i = 0; i < ARRAY_COUNT(shares) && options->rate == NULL; i++)
        load_print(&prediction, shares[i] * prediction.rate_max);
    if (options->rate != NULL)
        is_good = rate_check(config, row, &prediction, options->rate);
    limits_print(config, row, &prediction);
    return is_good;
}
