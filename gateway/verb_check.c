/* penstock check: is the config right, and does what it asks for fit into this machine? Prints one
 * plan a model from the file's hyperparameters alone; nothing is loaded. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "capacity_check.h"
#include "check.h"
#include "device_check.h"
#include "encoder.h"
#include "limit_store.h"
#include "memory_plan.h"
#include "model.h"
#include "rank_backend.h"
#include "state_database.h"
#include "thread.h"
#include "verbs.h"

struct plan {
    struct model_info info;
    enum kv_type kv_type;
    uint64_t context;            /* tokens */
    uint32_t kv_blocks, threads; /* of each replica */
    uint64_t kv_bytes, replica_bytes;
};

static const char *bytes_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;

    for (; value >= 1024 && unit + 1 < ARRAY_COUNT(units); unit++)
        value /= 1024;
    (void)snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

static void error_print(const struct config *config, const struct config_model *row,
                        const char *text)
{
    (void)fprintf(stderr, "%s: error: model %s: %s\n", config->file, row->name, text);
}

/* The engine's own plan, from the file's hyperparameters. */
static bool plan_make(const struct config *config, const struct config_model *row,
                      uint64_t free_bytes, struct plan *plan)
{
    struct memory_plan_input input = {.kv_bytes = row->kv_cache_memory,
                                      .available_bytes = free_bytes,
                                      .share_count = config_replica_count(config),
                                      .sequence_count_max = (uint32_t)row->max_num_seqs};
    struct error_note note = {""};
    model_source *source = NULL;
    status result = model_source_open(row->path, &source, &note);

    *plan = (struct plan){.threads = threads_of_replica(config, row)};
    CHECK(kv_type_find(row->kv_cache_dtype, &plan->kv_type));
    if (result == STATUS_OK)
        result = model_file_info(source, plan->kv_type, &plan->info, &note);
    if (result == STATUS_OK)
        result = model_file_check_ranks(source, (uint32_t)row->tensor_parallel, &note);
    model_source_close(source);
    if (result == STATUS_OK) {
        plan->context =
            row->max_model_len > 0 ? (uint64_t)row->max_model_len : plan->info.context_trained;
        input.context_max = (uint32_t)plan->context;
        input.weight_bytes = plan->info.weight_bytes;
        plan->info.kv_block_bytes *=
            rank_kv_copies(plan->info.n_kv_heads, (uint32_t)row->tensor_parallel);
        input.kv_block_bytes = plan->info.kv_block_bytes;
        result = memory_plan_kv_blocks(&input, &plan->kv_blocks, &note);
    }
    if (result != STATUS_OK) {
        error_note_prefix(&note, "%s", row->path);
        error_print(config, row, note.text);
        return false;
    }
    plan->kv_bytes = plan->kv_blocks * plan->info.kv_block_bytes;
    plan->replica_bytes = plan->info.weight_bytes + plan->kv_bytes;
    return true;
}

/* What only some families have. */
static void features_print(const struct model_info *info)
{
    if (info->n_experts > 0)
        (void)printf("  experts    %u a layer, %u for each token\n", info->n_experts,
                     info->n_experts_used);
    if (info->windowed_layers > 0)
        (void)printf(
            "  attention  %u of %u layers see the last %u tokens only; their cache is kept "
            "in full all the same\n",
            info->windowed_layers, info->n_layers, info->window);
}

static void plan_print(const struct config_model *row, const struct plan *plan, uint64_t free_bytes)
{
    uint64_t tokens = (uint64_t)plan->kv_blocks * KV_BLOCK_TOKENS;
    char a[32], b[32];

    (void)printf("model %s\n", row->name);
    (void)printf("  file       %s\n", row->path);
    (void)printf("  parameters %.1f million, %u layers, width %u\n",
                 (double)plan->info.parameter_count / 1e6, plan->info.n_layers, plan->info.d);
    features_print(&plan->info);
    (void)printf("  weights    %s a replica\n", bytes_text(plan->info.weight_bytes, a));
    if (row->tensor_parallel > 1)
        (void)printf("  ranks      %" PRId64
                     " share each replica: weights %s, KV cache %s a rank\n",
                     row->tensor_parallel,
                     bytes_text(plan->info.weight_bytes / (uint64_t)row->tensor_parallel, a),
                     bytes_text(plan->kv_bytes / (uint64_t)row->tensor_parallel, b));
    (void)printf("  context    %" PRIu64 " tokens%s\n", plan->context,
                 row->max_model_len == 0 ? " (as trained)" : "");
    (void)printf("  KV cache   %s a replica: %s, %s a token, %u blocks of %u tokens, %" PRIu64
                 " tokens\n",
                 bytes_text(plan->kv_bytes, a), kv_type_name(plan->kv_type),
                 bytes_text(plan->info.kv_block_bytes / KV_BLOCK_TOKENS, b), plan->kv_blocks,
                 KV_BLOCK_TOKENS, tokens);
    (void)printf("  sequences  %" PRId64 " at once; the cache holds %.1f of full length\n",
                 row->max_num_seqs, (double)tokens / (double)plan->context);
    (void)printf("  replicas   %" PRId64 " with %u threads each, on %u cores\n", row->replicas,
                 plan->threads, thread_core_count());
    (void)printf("  memory     %s in all; %s is free\n",
                 bytes_text(plan->replica_bytes * (uint64_t)row->replicas, a),
                 bytes_text(free_bytes, b));
}

/* What the engine would refuse, or would do otherwise than was asked. */
static bool plan_judge(const struct config *config, const struct config_model *row,
                       const struct plan *plan, uint64_t free_bytes)
{
    uint64_t tokens = (uint64_t)plan->kv_blocks * KV_BLOCK_TOKENS;
    struct error_note note;
    bool is_good = true;
    char a[32], b[32];

    if (plan->info.context_trained > 0 && plan->context > plan->info.context_trained) {
        error_note_set(
            &note, "max_model_len is beyond the %u tokens that the model was trained for; lower it",
            plan->info.context_trained);
        error_print(config, row, note.text);
        is_good = false;
    }
    if (row->max_model_len > 0 && tokens < plan->context) {
        error_note_set(&note,
                       "the KV cache (%s) cannot hold one sequence of max_model_len; raise "
                       "kv_cache_memory to %s",
                       bytes_text(plan->kv_bytes, a),
                       bytes_text((plan->context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS *
                                      plan->info.kv_block_bytes,
                                  b));
        error_print(config, row, note.text);
        is_good = false;
    }
    if (free_bytes > 0 && plan->replica_bytes > free_bytes) {
        error_note_set(&note, "a replica needs %s, and %s is free",
                       bytes_text(plan->replica_bytes, a), bytes_text(free_bytes, b));
        error_print(config, row, note.text);
        is_good = false;
    }
    return is_good;
}

/* An encoder has no cache: its weights are what it takes. */
static bool encoder_check(const struct config *config, const struct config_model *row,
                          uint64_t free_bytes, uint64_t *total_bytes)
{
    struct encoder_info info;
    struct error_note note = {""};
    char a[32], b[32];
    bool is_good = encoder_file_info(row->path, &info, &note) == STATUS_OK;

    if (!is_good) {
        error_note_prefix(&note, "%s", row->path);
        error_print(config, row, note.text);
        return false;
    }
    if (row->max_model_len > (int64_t)info.context_max) {
        error_note_set(&note,
                       "max_model_len is beyond the %u tokens that the model takes; lower it",
                       info.context_max);
        error_print(config, row, note.text);
        is_good = false;
    }
    (void)printf("model %s\n", row->name);
    (void)printf("  file       %s\n", row->path);
    (void)printf("  parameters %.1f million, %u layers, width %u\n",
                 (double)info.parameter_count / 1e6, info.layers, info.width);
    (void)printf("  weights    %s a replica\n", bytes_text(info.weight_bytes, a));
    (void)printf("  context    %u tokens\n",
                 row->max_model_len > 0 ? (unsigned)row->max_model_len : info.context_max);
    (void)printf("  makes      %s\n",
                 info.class_count > 0 ? "scores of pairs of texts" : "embeddings");
    (void)printf("  memory     %s in all; %s is free\n",
                 bytes_text(info.weight_bytes * (uint64_t)row->replicas, a),
                 bytes_text(free_bytes, b));
    *total_bytes += info.weight_bytes * (uint64_t)row->replicas;
    return is_good;
}

#define STATE_REMEDY "%.380s; mend the address, user or password, or start the server"

/* Does what is to hold keys and ledger, or limits, answer? Told at the place of its address. */
static bool state_check(const struct config *config)
{
    const struct config_state *state = &config->state;
    struct settings_report report = {.file = config->file};
    state_database *database = NULL;
    struct error_note note = {""};
    struct buffer out;

    if (state->postgres[0] != '\0' &&
        state_database_open_configured(state, &database, &note) != STATUS_OK)
        settings_fail_at(config->document, &report, &state->postgres, STATE_REMEDY, note.text);
    else if (state->postgres[0] != '\0')
        (void)printf("state\n  PostgreSQL answers, and its schema is ready\n");
    state_database_close(database);
    if (state->redis[0] != '\0' && limit_store_check(state, &note) != STATUS_OK)
        settings_fail_at(config->document, &report, &state->redis, STATE_REMEDY, note.text);
    else if (state->redis[0] != '\0')
        (void)printf("state\n  Redis answers\n");
    if (report.error_count == 0)
        return true;
    buffer_init(&out, 4096);
    settings_report_write(&report, &out);
    (void)fprintf(stderr, "%.*s", (int)out.bytes, out.data);
    buffer_deinit(&out);
    return false;
}

int verb_check(int argument_count, char **arguments)
{
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    struct device_check_options device = {.device = NULL};
    struct capacity_check_options capacity = {.prompt_tokens = 128, .output_tokens = 64};
    const struct flag flags[] = {
        {.name = "--model-path", .text = &overrides.model_path},
        {.name = "--device", .text = &device.device},
        {.name = "--tensor-parallel", .number = &device.tensor, .number_max = 64},
        {.name = "--pipeline-parallel", .number = &device.pipeline, .number_max = 64},
        {.name = "--calibration", .text = &capacity.calibration},
        {.name = "--rate", .text = &capacity.rate},
        {.name = "--prompt-tokens", .number = &capacity.prompt_tokens, .number_max = 10000000},
        {.name = "--output-tokens", .number = &capacity.output_tokens, .number_max = 10000000},
    };
    const char *config_file = NULL;
    uint64_t free_bytes = memory_available_bytes(), total_bytes = 0;
    struct config *config;
    int code = 0;

    if (!arguments_read("check", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &config_file))
        return EXIT_USAGE;
    if (config_file == NULL) {
        (void)fprintf(stderr, "penstock check: which config?\n");
        return EXIT_USAGE;
    }
    if (capacity.prompt_tokens == 0 || capacity.output_tokens == 0 ||
        (capacity.rate != NULL && capacity.calibration == NULL)) {
        (void)fprintf(stderr,
                      "penstock check: --rate needs --calibration, and requests have tokens\n");
        return EXIT_USAGE;
    }
    config = config_load_or_print(config_file, &overrides);
    if (config == NULL)
        return 1;
    for (uint32_t i = 0; i < config->models.count; i++) {
        const struct config_model *row = config_model_at(config, i);
        struct plan plan;

        if (!config_model_is_local(row)) {
            (void)printf("model %s\n  %s\n", row->name,
                         row->versions.count > 0
                             ? "a choice among its versions"
                             : ((const char *const *)row->upstream.urls.items)[0]);
            continue;
        }
        if (!config_weights_are_here(config) && access(row->path, R_OK) != 0) {
            (void)printf("model %s\n  file       %s, on the pool's machines\n", row->name,
                         row->path);
            continue;
        }
        if (encoder_can_open(row->path)) {
            code = encoder_check(config, row, free_bytes, &total_bytes) ? code : 1;
            continue;
        }
        if (device_check_is_asked(row, &device)) {
            code = device_check(config, row, &device) ? code : 1;
            continue;
        }
        if (!plan_make(config, row, free_bytes, &plan)) {
            code = 1;
            continue;
        }
        total_bytes += plan.replica_bytes * (uint64_t)row->replicas;
        plan_print(row, &plan, free_bytes);
        if (!plan_judge(config, row, &plan, free_bytes))
            code = 1;
        if (capacity.calibration != NULL &&
            !capacity_check(config, row, (uint64_t)plan.kv_blocks * KV_BLOCK_TOKENS, &capacity))
            code = 1;
    }
    if (!state_check(config))
        code = 1;
    if (free_bytes > 0 && total_bytes > free_bytes)
        (void)fprintf(stderr,
                      "%s: warning: all replicas together may use more than the free memory; set "
                      "kv_cache_memory\n",
                      config_file);
    if (code == 0)
        (void)printf("%s is good\n", config_file);
    config_destroy(config);
    return code;
}
