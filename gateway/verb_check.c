/* penstock check: is the config right, and does what it asks for fit into this machine? Prints one
 * plan a model from the file's hyperparameters alone; nothing is loaded. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "model.h"
#include "thread.h"
#include "verbs.h"

struct plan {
    struct model_info info;
    uint64_t context, kv_token_bytes, kv_bytes, kv_wanted_bytes, total_bytes; /* bytes a replica */
    uint32_t threads;
};

/* MemAvailable of /proc/meminfo; 0 when it cannot be read. */
static uint64_t memory_available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    uint64_t kib = 0;

    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1)
            break;
    }
    (void)fclose(file);
    return kib * 1024;
}

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

static bool plan_make(const struct config *config, const struct config_model *row,
                      struct plan *plan)
{
    struct error_note note = {""};
    gguf *file = NULL;
    status result = gguf_open(row->path, &file, &note);

    *plan = (struct plan){0};
    if (result == STATUS_OK)
        result = model_file_info(file, KV_F16, &plan->info, &note);
    if (result != STATUS_OK) {
        (void)fprintf(stderr, "%s: error: model %s: %s: %s\n", config->file, row->name, row->path,
                      note.text);
        gguf_close(file);
        return false;
    }
    plan->context =
        row->max_model_len > 0 ? (uint64_t)row->max_model_len : plan->info.context_trained;
    plan->kv_token_bytes = plan->info.kv_block_bytes / KV_BLOCK_TOKENS;
    plan->kv_wanted_bytes = (uint64_t)row->max_num_seqs *
                            ((plan->context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS) *
                            plan->info.kv_block_bytes;
    plan->kv_bytes = row->kv_cache_memory > 0 ? row->kv_cache_memory : plan->kv_wanted_bytes;
    plan->total_bytes = plan->info.weight_bytes + plan->kv_bytes;
    plan->threads = threads_of_replica(config, row);
    gguf_close(file);
    return true;
}

static void plan_print(const struct config_model *row, const struct plan *plan, uint64_t free_bytes)
{
    char a[32], b[32];
    uint64_t blocks =
        plan->info.kv_block_bytes > 0 ? plan->kv_bytes / plan->info.kv_block_bytes : 0;
    uint64_t tokens = blocks * KV_BLOCK_TOKENS;

    (void)printf("model %s\n", row->name);
    (void)printf("  file            %s\n", row->path);
    (void)printf("  parameters      %.1f million, %u layers, width %u\n",
                 (double)plan->info.parameter_count / 1e6, plan->info.n_layers, plan->info.d);
    (void)printf("  weights         %s, shared by the replicas of this machine while mapped\n",
                 bytes_text(plan->info.weight_bytes, a));
    (void)printf("  context         %" PRIu64 " tokens%s\n", plan->context,
                 row->max_model_len == 0 ? " (as trained)" : "");
    (void)printf("  KV cache        %s a replica%s: %s a token, %" PRIu64
                 " blocks of %u tokens, %" PRIu64 " tokens\n",
                 bytes_text(plan->kv_bytes, a), row->kv_cache_memory == 0 ? " (at most)" : "",
                 bytes_text(plan->kv_token_bytes, b), blocks, KV_BLOCK_TOKENS, tokens);
    (void)printf("  sequences       %" PRId64 " at once; the cache holds %.1f of full length\n",
                 row->max_num_seqs,
                 plan->context > 0 ? (double)tokens / (double)plan->context : 0.0);
    (void)printf("  replicas        %" PRId64 " with %u threads each, on %u cores\n", row->replicas,
                 plan->threads, thread_core_count());
    (void)printf("  memory          %s in all; %s is free\n",
                 bytes_text(plan->info.weight_bytes + plan->kv_bytes * (uint64_t)row->replicas, a),
                 bytes_text(free_bytes, b));
}

/* What is certain to fail is an error; what is only unwise is said. */
static bool plan_judge(const struct config *config, const struct config_model *row,
                       const struct plan *plan, uint64_t free_bytes)
{
    uint64_t sequence_bytes =
        (plan->context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS * plan->info.kv_block_bytes;
    bool is_good = true;
    char a[32], b[32];

    if (row->kv_cache_memory > 0 && row->kv_cache_memory < sequence_bytes) {
        (void)fprintf(stderr,
                      "%s: error: model %s: kv_cache_memory (%s) cannot hold one sequence of "
                      "max_model_len; it "
                      "needs %s\n",
                      config->file, row->name, bytes_text(row->kv_cache_memory, a),
                      bytes_text(sequence_bytes, b));
        is_good = false;
    }
    if (row->max_model_len > plan->info.context_trained && plan->info.context_trained > 0)
        (void)fprintf(
            stderr,
            "%s: warning: model %s: max_model_len is beyond the %u tokens it was trained for\n",
            config->file, row->name, plan->info.context_trained);
    if (free_bytes > 0 && plan->info.weight_bytes > free_bytes) {
        (void)fprintf(
            stderr, "%s: error: model %s: the weights (%s) are larger than the free memory (%s)\n",
            config->file, row->name, bytes_text(plan->info.weight_bytes, a),
            bytes_text(free_bytes, b));
        is_good = false;
    } else if (free_bytes > 0 && plan->total_bytes > free_bytes) {
        (void)fprintf(
            stderr,
            "%s: warning: model %s: the full KV cache does not fit into the free memory (%s); "
            "set kv_cache_memory, or lower max_num_seqs or max_model_len\n",
            config->file, row->name, bytes_text(free_bytes, b));
    }
    return is_good;
}

int verb_check(int argument_count, char **arguments)
{
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    const struct flag flags[] = {{"--model-path", &overrides.model_path, NULL, 0}};
    const char *config_file = NULL;
    uint64_t free_bytes = memory_available_bytes();
    struct config *config;
    int code = 0;

    if (!arguments_read("check", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &config_file))
        return EXIT_USAGE;
    if (config_file == NULL) {
        (void)fprintf(stderr, "penstock check: which config?\n");
        return EXIT_USAGE;
    }
    config = config_load_or_print(config_file, &overrides);
    if (config == NULL)
        return 1;
    for (uint32_t i = 0; i < config->models.count; i++) {
        const struct config_model *row = config_model_at(config, i);
        struct plan plan;

        if (!plan_make(config, row, &plan)) {
            code = 1;
            continue;
        }
        plan_print(row, &plan, free_bytes);
        if (!plan_judge(config, row, &plan, free_bytes))
            code = 1;
    }
    if (code == 0)
        (void)printf("%s is good\n", config_file);
    config_destroy(config);
    return code;
}
