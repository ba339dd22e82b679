#include "adapter_builder.h"
#include "device_engine_testing.h"
#include "engine_private.h"

/* An engine on a device (the emulated one) falls asleep: the device's memory is really given back, and what it says awake again is
 * what it said before, to the token. */

enum { PROMPT = 40, OUTPUT = 4, BLOCKS = 40 };

/* memory_info leaves so much out for a product that a model in floats never makes. */
#define SET_ASIDE ((uint64_t)64 << 20)

/* What the device's runtime counts. The step thread sleeps meanwhile. */
static uint64_t taken_bytes(engine *e)
{
    uint64_t total, available;
    assert_int_equal(e->device->operations->memory_info(e->device, &total, &available), STATUS_OK);
    return total - available - SET_ASIDE;
}

static void ask(engine *e, const char *adapter, int32_t tokens[OUTPUT])
{
    int32_t prompt[PROMPT];
    engine_adapter *found = adapter != NULL ? engine_find_adapter(e, adapter) : NULL;
    assert_true((adapter == NULL) == (found == NULL));
    for (uint32_t j = 0; j < PROMPT; j++)
        prompt[j] = (int32_t)(j * 29 % 256);
    struct client *c = client_create(e, prompt, PROMPT, OUTPUT);
    c->request.sampling.ignore_eos = true;
    c->request.adapter = found;
    client_run(c);
    engine_release_adapter(found);
    assert_int_equal(c->sequences[0].token_count, OUTPUT);
    assert_int_equal(c->sequences[0].usage.cached_tokens, 0);
    memcpy(tokens, c->sequences[0].tokens, OUTPUT * sizeof *tokens);
    client_destroy(c);
    assert_becomes_empty(e);
}

static void assert_says(engine *e, const char *adapter, const int32_t wanted[OUTPUT])
{
    int32_t tokens[OUTPUT];
    ask(e, adapter, tokens);
    assert_memory_equal(tokens, wanted, sizeof tokens);
}

static void a_device_has_its_memory_back_while_the_engine_sleeps(void **state)
{
    (void)state;
    int32_t said[OUTPUT];
    engine *e = open_on(model_file, "cuda-emulated", BLOCKS * BLOCK_BYTES);
    uint64_t awake = taken_bytes(e);
    assert_true(awake > BLOCKS * BLOCK_BYTES + e->info.weight_bytes);
    ask(e, NULL, said);
    for (uint32_t level = 1; level <= 2; level++) {
        assert_int_equal(engine_sleep(e, level), STATUS_OK);
        assert_int_equal(taken_bytes(e), 0);
        assert_int_equal(engine_wake(e, NULL), STATUS_OK);
        assert_true(taken_bytes(e) >= awake);
        assert_says(e, NULL, said);
    }
    assert_int_equal(engine_sleep(e, 1), STATUS_OK); /* and deeper */
    assert_int_equal(engine_sleep(e, 2), STATUS_OK);
    assert_int_equal(engine_wake(e, NULL), STATUS_OK);
    assert_says(e, NULL, said);
    assert_int_equal(engine_sleep(e, 1), STATUS_OK);
    engine_close(e); /* asleep */
}

/* Others have taken the memory meanwhile. */
static void an_engine_without_memory_to_wake_sleeps_on(void **state)
{
    (void)state;
    int32_t said[OUTPUT];
    engine *e = open_on(model_file, "cuda-emulated", BLOCKS * BLOCK_BYTES);
    const struct backend_operations *o = e->device->operations;
    ask(e, NULL, said);
    uint64_t awake = taken_bytes(e), total, available;
    for (uint32_t level = 1; level <= 2; level++) {
        struct error_note note = {""};
        assert_int_equal(engine_sleep(e, level), STATUS_OK);
        assert_int_equal(o->memory_info(e->device, &total, &available), STATUS_OK);
        /* All but a little less than was in use; at level 2 all but the weights have room. */
        uint64_t left = awake - (level == 1 ? 1000 : e->info.weight_bytes / 2);
        void *others = o->allocate(e->device, total - left);
        assert_non_null(others);
        assert_int_equal(engine_wake(e, &note), STATUS_NO_MEMORY);
        assert_true(note.text[0] != '\0');
        assert_int_equal(engine_sleep_level(e), level);
        assert_true(taken_bytes(e) < total - left + awake / 8);
        o->release(e->device, others);
        assert_int_equal(engine_wake(e, &note), STATUS_OK);
        assert_says(e, NULL, said);
    }
    engine_close(e);
}

static void assert_loads(engine *e, const char *name, const char *folder)
{
    struct error_note note = {""};
    if (engine_load_adapter(e, name, folder, &note) != STATUS_OK)
        fail_msg("%s: %s", name, note.text);
}

/* A changed config may name one while nobody is awake. */
static void an_adapter_that_comes_while_the_engine_sleeps_is_there_when_it_wakes(void **state)
{
    (void)state;
    char folder[64];
    int32_t plain[OUTPUT], said[OUTPUT];
    struct engine_options options = options_on(model_file, "cuda-emulated", BLOCKS * BLOCK_BYTES);
    struct error_note note = {""};
    engine *e = NULL;
    options.adapters_max = 2;
    options.adapter_rank_max = ADAPTER_RANK;
    adapter_build(LAYERS, WIDTH, 1, folder);
    assert_int_equal(engine_open(&options, &e, &note), STATUS_OK);
    ask(e, NULL, plain);
    assert_loads(e, "awake", folder);
    ask(e, "awake", said);
    assert_memory_not_equal(said, plain, sizeof said);
    for (uint32_t level = 1; level <= 2; level++) {
        assert_int_equal(engine_sleep(e, level), STATUS_OK);
        assert_loads(e, "asleep", folder);
        assert_int_equal(engine_wake(e, NULL), STATUS_OK);
        assert_says(e, "asleep", said);
        assert_says(e, "awake", said); /* and it has not lost those from before */
        assert_says(e, NULL, plain);
        assert_int_equal(engine_unload_adapter(e, "asleep"), STATUS_OK);
    }
    engine_close(e);
    adapter_remove(folder);
}

int main(void)
{
    (void)setenv("PENSTOCK_FAKE_DEVICE", "memory=100663296", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_has_its_memory_back_while_the_engine_sleeps),
        cmocka_unit_test(an_engine_without_memory_to_wake_sleeps_on),
        cmocka_unit_test(an_adapter_that_comes_while_the_engine_sleeps_is_there_when_it_wakes),
    };
    return cmocka_run_group_tests(tests, build_model, remove_model);
}
