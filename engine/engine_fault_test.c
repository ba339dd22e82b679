#include "device_engine_testing.h"
#include "engine_private.h"

#include <sys/mman.h>
#include <sys/wait.h>

/* A device that fails in the middle: whoever was waiting is told, what was said before is a beginning of the right answer, and
 * the engine says that it is dead. Each fault is that of a process of its own, whose device is told by the environment
 * (kernels/cuda/runtime/fake_runtime.h). */

enum { CLIENTS = 3, OUTPUT = 12, PATIENCE_S = 120 };

struct outcome {
    bool is_over; /* the process came to its end */
    status opened;
    char note[160];
    bool was_alive, all_ended;
    uint64_t host_bytes; /* below its cache */
    struct {
        uint32_t token_count;
        int32_t tokens[OUTPUT];
        enum finish_reason finish;
    } clients[CLIENTS];
};

static struct outcome *whole, *shared; /* in memory that the processes share */
static uint64_t host_bytes_wanted = 64 * BLOCK_BYTES;

static struct client *ask(engine *e, uint32_t i)
{
    static int32_t prompts[CLIENTS][40];
    uint32_t count = 10 + 9 * i;
    for (uint32_t j = 0; j < count; j++)
        prompts[i][j] = (int32_t)((j * 11 + i * 37) % 256);
    struct client *c = client_create(e, prompts[i], count, OUTPUT);
    c->request.sampling.ignore_eos = true;
    return c;
}

/* The engine is waited for as long as it is alive or tells that it has failed: a device may hang. Who comes when it has failed
 * is not taken. */
static void run_clients(engine *e, uint64_t limit_ns, struct outcome *out)
{
    struct client *clients[CLIENTS];
    bool is_taken[CLIENTS];
    out->all_ended = true;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = ask(e, i);
        is_taken[i] = engine_submit(e, &clients[i]->request) == STATUS_OK;
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        const struct client_sequence *s = &clients[i]->sequences[0];
        out->clients[i].finish = FINISH_ERROR;
        if (!is_taken[i])
            continue;
        while (sem_trywait(&clients[i]->last) != 0 &&
               (atomic_load(&e->is_failed) || engine_is_alive(e, clock_now_ns(), limit_ns)))
            usleep(2000);
        out->clients[i].token_count = s->token_count;
        out->clients[i].finish = s->finish;
        memcpy(out->clients[i].tokens, s->tokens, s->token_count * sizeof s->tokens[0]);
        out->all_ended = out->all_ended && clients[i]->got_last;
    }
    out->was_alive = engine_is_alive(e, clock_now_ns(), limit_ns);
}

static void be_the_process(const char *faults, uint64_t limit_ns, struct outcome *out)
{
    struct engine_options options = options_on(model_file, "cuda-emulated", 64 * BLOCK_BYTES);
    struct error_note note = {""};
    engine *e = NULL;
    options.host_bytes = host_bytes_wanted;
    (void)setenv("PENSTOCK_FAKE_DEVICE", faults, 1);
    out->opened = engine_open(&options, &e, &note);
    (void)snprintf(out->note, sizeof out->note, "%.159s", note.text);
    if (out->opened == STATUS_OK) {
        out->host_bytes = engine_get_info(e)->host_bytes;
        run_clients(e, limit_ns, out);
        if (out->all_ended) /* one that hangs cannot be closed, only ended */
            engine_close(e);
    }
    out->is_over = true;
    _exit(0);
}

/* `limit_s`: a step that takes longer hangs. */
static void run_with(const char *faults, uint64_t limit_s, struct outcome *out)
{
    memset(out, 0, sizeof *out);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        be_the_process(faults, limit_s * NS_PER_SECOND, out);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0 || !out->is_over)
        fail_msg("%s: the process ended with %x", faults, (unsigned)how);
}

static void assert_is_a_beginning(const char *faults, const struct outcome *out)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t count = out->clients[i].token_count;
        if (memcmp(out->clients[i].tokens, whole->clients[i].tokens, count * sizeof(int32_t)) != 0)
            fail_msg("%s: client %u was told something wrong", faults, i);
        assert_true(count == OUTPUT || out->clients[i].finish != FINISH_LENGTH);
    }
}

static int run_without_faults(void **state)
{
    size_t bytes = 2 * sizeof *whole;
    whole = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(whole != MAP_FAILED);
    shared = whole + 1;
    if (build_model(state) != 0)
        return -1;
    run_with("seed=1", PATIENCE_S, whole);
    assert_int_equal(whole->opened, STATUS_OK);
    assert_true(whole->all_ended && whole->was_alive);
    assert_int_equal(whole->host_bytes, host_bytes_wanted);
    return 0;
}

/* Whatever fails, and when. True: it was in the middle. */
static bool fail_at(const char *what, uint32_t number)
{
    char faults[64];
    (void)snprintf(faults, sizeof faults, "%s=%u", what, number);
    run_with(faults, PATIENCE_S, shared);
    if (shared->opened != STATUS_OK) {
        if (shared->note[0] == '\0')
            fail_msg("%s: %s, and no word why", faults, status_name(shared->opened));
        return false;
    }
    assert_true(shared->all_ended);
    assert_is_a_beginning(faults, shared);
    bool is_whole = true;
    for (uint32_t i = 0; i < CLIENTS; i++)
        is_whole = is_whole && shared->clients[i].finish == FINISH_LENGTH;
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_true(is_whole || shared->clients[i].finish == FINISH_LENGTH ||
                    shared->clients[i].finish == FINISH_ERROR);
    assert_true(is_whole || !shared->was_alive);
    return !is_whole;
}

static void a_device_that_fails_tells_everybody_and_nothing_wrong(void **state)
{
    (void)state;
    static const char *const kinds[] = {"launch", "sticky"};
    for (size_t kind = 0; kind < ARRAY_COUNT(kinds); kind++) {
        uint32_t in_the_middle = 0;
        for (uint32_t number = 20; number < 400; number += number / 2)
            in_the_middle += fail_at(kinds[kind], number);
        assert_true(in_the_middle >= 2);
    }
}

static void a_device_without_memory_is_told_at_the_start(void **state)
{
    (void)state;
    for (uint32_t number = 1; number < 60; number += 6)
        assert_false(fail_at("allocation", number));
    assert_false(fail_at("memory", 100000));
    assert_true(shared->opened != STATUS_OK);
}

static void a_host_without_memory_to_pin_goes_on_without(void **state)
{
    (void)state;
    uint64_t before = host_bytes_wanted;
    host_bytes_wanted = (uint64_t)1 << 30;
    run_with("pinned=268435456", PATIENCE_S, shared);
    host_bytes_wanted = before;
    assert_int_equal(shared->opened, STATUS_OK);
    assert_int_equal(shared->host_bytes, 0);
    assert_true(shared->all_ended && shared->was_alive);
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_int_equal(shared->clients[i].finish, FINISH_LENGTH);
    assert_is_a_beginning("pinned", shared);
}

static void a_device_that_hangs_is_not_alive_and_says_nothing_wrong(void **state)
{
    (void)state;
    run_with("hang=150", 5, shared);
    assert_int_equal(shared->opened, STATUS_OK);
    assert_false(shared->all_ended);
    assert_false(shared->was_alive);
    assert_is_a_beginning("hang", shared);
}

static int end(void **state)
{
    (void)munmap(whole, 2 * sizeof *whole);
    return remove_model(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_fails_tells_everybody_and_nothing_wrong),
        cmocka_unit_test(a_device_that_hangs_is_not_alive_and_says_nothing_wrong),
        cmocka_unit_test(a_device_without_memory_is_told_at_the_start),
        cmocka_unit_test(a_host_without_memory_to_pin_goes_on_without),
    };
    return cmocka_run_group_tests(tests, run_without_faults, end);
}
