#include "device_engine_testing.h"
#include "device_plan.h"
#include "engine_private.h"
#include "model_parts.h"

/* A device with no more memory than the plan says, and a little: the engine opens, and its largest steps find all that they need.
 * What they need is not far less than the plan either. */

enum { SEQUENCES = 24, ROWS = 600, BLOCKS = 24 * 16, OUTPUT = 3 };
/* memory_info leaves so much out for a product that a model in floats never makes. */
#define SET_ASIDE ((uint64_t)64 << 20)

static struct engine_options options_of(void)
{
    struct engine_options options = options_on(model_file, "cuda-emulated", BLOCKS * BLOCK_BYTES);
    options.sequence_count_max = SEQUENCES;
    options.batch_tokens_max = ROWS;
    options.host_bytes = 16 * BLOCK_BYTES;
    return options;
}

static uint64_t planned_bytes(void)
{
    struct error_note note = {""};
    model_source *source = NULL;
    struct model_info info;
    struct model_parts parts;
    struct device_plan plan;
    const struct device_figures *device = device_figures_find("H200");
    assert_int_equal(model_source_open(model_file, &source, &note), STATUS_OK);
    assert_int_equal(model_file_info(source, KV_F16, &info, &note), STATUS_OK);
    model_parts_count(source, &info, &parts);
    model_source_close(source);
    const struct device_plan_input input = {.model = &info,
                                            .parts = &parts,
                                            .device = device,
                                            .tensor = 1,
                                            .pipeline = 1,
                                            .sequence_count_max = SEQUENCES,
                                            .context_max = CONTEXT,
                                            .batch_tokens_max = ROWS,
                                            .prompt_tokens = CONTEXT,
                                            .kv_bytes = BLOCKS * BLOCK_BYTES};
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_OK);
    return plan.weight_bytes + plan.activation_bytes + plan.kv_bytes;
}

static uint64_t taken_bytes(engine *e)
{
    uint64_t total, available;
    assert_int_equal(e->device->operations->memory_info(e->device, &total, &available), STATUS_OK);
    return total - available - SET_ASIDE;
}

/* All slots at once: prompts that fill whole steps, then as many decodes as there are slots. */
static void run_all_slots(engine *e)
{
    struct client *clients[SEQUENCES];
    static int32_t prompts[SEQUENCES][CONTEXT];
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        for (uint32_t j = 0; j < 60; j++)
            prompts[i][j] = (int32_t)((j * 7 + i * 31) % 256);
        clients[i] = client_create(e, prompts[i], 60, OUTPUT);
        clients[i]->request.sampling.ignore_eos = true;
        clients[i]->request.sampling.repetition_penalty = 1.2f;
        client_submit(clients[i]);
    }
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        client_wait(clients[i]);
        assert_int_equal(clients[i]->sequences[0].token_count, OUTPUT);
        client_destroy(clients[i]);
    }
}

static void the_largest_steps_fit_into_what_was_planned(void **state)
{
    (void)state;
    char memory[64];
    struct engine_options options = options_of();
    struct error_note note = {""};
    engine *e = NULL;
    uint64_t planned = planned_bytes();
    (void)snprintf(memory, sizeof memory, "memory=%llu",
                   (unsigned long long)(SET_ASIDE + planned + planned / 50));
    (void)setenv("PENSTOCK_FAKE_DEVICE", memory, 1);
    status s = engine_open(&options, &e, &note);
    if (s != STATUS_OK)
        fail_msg("%s, planned are %llu bytes", note.text, (unsigned long long)planned);
    uint64_t taken = taken_bytes(e);
    run_all_slots(e);
    assert_becomes_empty(e);
    assert_int_equal(taken_bytes(e), taken); /* a step takes nothing more */
    assert_true(taken <= planned && taken > planned / 2);
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_steps_fit_into_what_was_planned),
    };
    return cmocka_run_group_tests(tests, build_model, remove_model);
}
