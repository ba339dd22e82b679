#include "device_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "device_plan.h"

/* Of the prompt whose times are told. */
#define PROMPT_TOKENS 2048u

/* What the files say of a model. */
struct model_reading {
    struct model_info info;
    struct model_parts parts;
};

static bool reading_make(const struct config *config, const struct config_model *row,
                         struct model_reading *out)
{
    struct error_note note = {""};
    model_source *source = NULL;
    enum kv_type kv_type;
    status result = model_source_open(row->path, &source, &note);

    CHECK(kv_type_find(row->kv_cache_dtype, &kv_type));
    if (result == STATUS_OK)
        result = model_file_info(source, kv_type, &out->info, &note);
    if (result == STATUS_OK)
        model_parts_count(source, &out->info, &out->parts);
    model_source_close(source);
    if (result != STATUS_OK)
        (void)fprintf(stderr, "%s: error: model %s: %s: %s\n", config->file, row->name, row->path,
                      note.text);
    return result == STATUS_OK;
}

bool device_check_is_asked(const struct config_model *row,
                           const struct device_check_options *options)
{
    return options->device != NULL || strncmp(row->backend, "cuda", 4) == 0 ||
           device_figures_find(row->placement.product) != NULL;
}

static struct device_plan_input input_of(const struct config_model *row,
                                         const struct device_check_options *options,
                                         const struct model_reading *reading)
{
    uint32_t context =
        row->max_model_len > 0 ? (uint32_t)row->max_model_len : reading->info.context_trained;

    return (struct device_plan_input){
        .model = &reading->info,
        .parts = &reading->parts,
        .tensor = (uint32_t)(options->tensor > 0 ? options->tensor : row->tensor_parallel),
        .pipeline = options->pipeline > 0 ? (uint32_t)options->pipeline : 1,
        .sequence_count_max = (uint32_t)row->max_num_seqs,
        .context_max = context > 0 ? context : 1,
        .batch_tokens_max = (uint32_t)row->max_num_batched_tokens,
        .prompt_tokens = context > 0 && context < PROMPT_TOKENS ? context : PROMPT_TOKENS,
        .kv_bytes = row->kv_cache_memory,
    };
}

/* What the ranks together pin, and how many tokens' keys and values it holds. */
static void host_print(const struct config_model *row, const struct device_plan_input *input,
                       const struct device_plan *plan)
{
    uint64_t token_bytes = plan->kv_token_bytes * input->tensor * input->pipeline;

    if (row->kv_host_memory > 0)
        (void)printf("  host       %.2f GB pinned below the cache: %" PRIu64 " tokens\n",
                     (double)row->kv_host_memory / 1e9, row->kv_host_memory / token_bytes);
}

static void plan_print(const struct device_plan_input *input, const struct device_plan *plan)
{
    const double gb = 1e9, ms = 1e3;

    (void)printf("  device     %s, %.0f GB: %u ranks (tensor %u x pipeline %u)\n",
                 input->device->name, (double)input->device->memory_bytes / gb,
                 input->tensor * input->pipeline, input->tensor, input->pipeline);
    (void)printf("  a rank     weights %.2f GB, activations %.2f GB, KV cache %.2f GB, set aside "
                 "%.2f GB\n",
                 (double)plan->weight_bytes / gb, (double)plan->activation_bytes / gb,
                 (double)plan->kv_bytes / gb, (double)plan->reserved_bytes / gb);
    (void)printf("  KV cache   %" PRIu64 " tokens, %" PRIu64 " bytes a token and rank\n",
                 plan->kv_tokens, plan->kv_token_bytes);
    (void)printf("  predicted  first token of a prompt of %u tokens %.1f ms; then one every %.2f "
                 "ms\n",
                 input->prompt_tokens, plan->first_token_s * ms, plan->inter_token_s * ms);
    (void)printf("             with %u streams of that length one every %.2f ms each, %.0f "
                 "tokens a second in all\n",
                 plan->full_streams, plan->inter_token_full_s * ms, plan->output_tokens_s);
    if (input->device->is_planned_only)
        (void)printf("  note       a roofline only: the backend is CUDA's, and no replica of this "
                     "version runs on this device\n");
    if (input->pipeline > 1)
        (void)printf("  note       replicas of this version are tensor parallel only: stages are "
                     "reckoned, not run\n");
}

static void line_print(const struct device_plan_input *input)
{
    struct error_note note = {""};
    struct device_plan plan;

    if (device_plan_make(input, &plan, &note) != STATUS_OK)
        (void)printf("  %-10s %s\n", input->device->name, note.text);
    else
        (void)printf("  %-10s weights %.2f GB a rank, KV cache %" PRIu64
                     " tokens; predicted first token %.1f ms, then one every %.2f ms\n",
                     input->device->name, (double)plan.weight_bytes / 1e9, plan.kv_tokens,
                     plan.first_token_s * 1e3, plan.inter_token_s * 1e3);
}

static bool refuse_device(const struct config *config, const struct config_model *row,
                          const char *name)
{
    (void)fprintf(stderr, "%s: error: model %s: no figures of a device \"%s\"; known are",
                  config->file, row->name, name);
    for (uint32_t i = 0; device_figures_at(i) != NULL; i++)
        (void)fprintf(stderr, "%s %s", i > 0 ? "," : "", device_figures_at(i)->name);
    (void)fprintf(stderr, "\n");
    return false;
}

static void model_print(const struct config_model *row, const struct model_reading *reading)
{
    const struct model_info *info = &reading->info;

    (void)printf("model %s\n", row->name);
    (void)printf("  file       %s\n", row->path);
    (void)printf("  parameters %.1f billion, %u layers, width %u",
                 (double)info->parameter_count / 1e9, info->n_layers, info->d);
    if (info->n_experts > 0)
        (void)printf(", %u experts a layer, %u for each token", info->n_experts,
                     info->n_experts_used);
    (void)printf("\n");
}

bool device_check(const struct config *config, const struct config_model *row,
                  const struct device_check_options *options)
{
    const char *product = options->device != NULL ? options->device : row->placement.product;
    struct model_reading reading;
    struct device_plan_input input;
    struct device_plan plan;
    struct error_note note = {""};

    if (!reading_make(config, row, &reading))
        return false;
    model_print(row, &reading);
    input = input_of(row, options, &reading);
    if (product[0] == '\0') {
        for (uint32_t i = 0; (input.device = device_figures_at(i)) != NULL; i++)
            line_print(&input);
        return true;
    }
    input.device = device_figures_find(product);
    if (input.device == NULL)
        return refuse_device(config, row, product);
    if (device_plan_make(&input, &plan, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s: error: model %s: %s\n", config->file, row->name, note.text);
        return false;
    }
    plan_print(&input, &plan);
    host_print(row, &input, &plan);
    return true;
}
