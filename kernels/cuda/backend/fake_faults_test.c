/* A device that fails, at each place where it may: whoever waits is told, no token that differs from those of a run without
 * faults is ever given, and everything can be closed. Memory that is not there is an answer, not a failure. */

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda_backend.h"
#include "fake_runtime.h"
#include "net_testing.h"

status penstock_cuda_open(const struct backend_options *options, backend **out,
                          struct error_note *note);

#define SEQUENCES 3u
#define STEPS     7u

/* What came of a run: the tokens of the steps that were waited for with success. */
struct run {
    status opened, ended;
    uint32_t step_count;
    int32_t tokens[STEPS][SEQUENCES];
};

static void describe(struct net_step *step, uint32_t index)
{
    uint32_t first[SEQUENCES], counts[SEQUENCES];
    int32_t tokens[SEQUENCES * 2];
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        first[s] = index == 0 ? 0 : index + 1;
        counts[s] = index == 0 ? 2 : 1;
        tokens[s] = index == 0 ? (int32_t)(9 * s + 4) : -1 - (int32_t)s;
        tokens[SEQUENCES + s] = 5;
    }
    step->is_usual = true;
    net_describe(step, first, counts, SEQUENCES, tokens);
}

static status collect(struct net *net, uint64_t ticket, struct run *run)
{
    const struct device_sample_result *results;
    status s = net->o->step_wait(net->b, ticket, &results);
    for (uint32_t i = 0; i < SEQUENCES && s == STATUS_OK; i++) {
        assert_int_equal(results[i].status, STATUS_OK);
        run->tokens[run->step_count][i] = results[i].token;
    }
    run->step_count += s == STATUS_OK ? 1 : 0;
    return s;
}

/* Steps, one ahead, until one fails. */
static status run_steps(struct net *net, struct run *run)
{
    struct net_step step;
    uint64_t ticket, before = 0;
    status s = STATUS_OK;
    for (uint32_t i = 0; i < STEPS && s == STATUS_OK; i++) {
        describe(&step, i);
        s = net_launch(net, &step, &ticket);
        if (s == STATUS_OK && i > 0)
            s = collect(net, before, run);
        before = ticket;
    }
    return s == STATUS_OK ? collect(net, before, run) : s;
}

static struct run run_with(const struct fake_faults *faults, uint64_t seed)
{
    const struct backend_options options = {.path = BACKEND_CUDA_EMULATED, .threads = 2};
    struct error_note note;
    struct run run = {.ended = STATUS_OK};
    struct net net;
    backend *b;
    fake_runtime_set_seed(seed);
    fake_runtime_set_faults(faults);
    run.opened = penstock_cuda_open(&options, &b, &note);
    if (run.opened != STATUS_OK)
        return run;
    run.opened = net_open(&net, b);
    if (run.opened == STATUS_OK)
        run.ended = run_steps(&net, &run);
    net_close(&net);
    return run;
}

static struct run expected;
static struct fake_counts needed;

static int run_without_faults(void **state)
{
    (void)state;
    const struct fake_faults none = {.hang = 0};
    expected = run_with(&none, 1);
    needed = fake_runtime_counts();
    assert_int_equal(expected.opened, STATUS_OK);
    assert_int_equal(expected.ended, STATUS_OK);
    assert_int_equal(expected.step_count, STEPS);
    return 0;
}

static void check_run(const struct run *run, const char *what, uint64_t n)
{
    status failed = run->opened != STATUS_OK ? run->opened : run->ended;
    if (failed != STATUS_INTERNAL && failed != STATUS_NO_MEMORY)
        fail_msg("%s %llu gave %s", what, (unsigned long long)n, status_name(failed));
    for (uint32_t i = 0; i < run->step_count; i++)
        assert_memory_equal(run->tokens[i], expected.tokens[i], sizeof(run->tokens[i]));
}

/* So many of all places. */
#define PLACES 20u

static void whatever_operation_fails_the_steps_behind_it_are_not_answered(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < PLACES; i++) {
        const struct fake_faults faults = {.sticky = 1 + i * (needed.runs - 1) / PLACES};
        struct run run = run_with(&faults, i);
        check_run(&run, "operation", faults.sticky);
        assert_true(run.step_count < STEPS);
    }
}

static void whatever_launch_is_refused_the_steps_behind_it_are_not_answered(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < PLACES; i++) {
        const struct fake_faults faults = {.launch = 1 + i * (needed.launches - 1) / PLACES};
        struct run run = run_with(&faults, i);
        check_run(&run, "launch", faults.launch);
        assert_true(run.step_count < STEPS);
    }
}

static void memory_that_is_missing_anywhere_is_told_when_things_are_made(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= needed.allocations; n++) {
        const struct fake_faults faults = {.allocation = n};
        struct run run = run_with(&faults, n);
        assert_int_equal(run.opened, STATUS_NO_MEMORY);
        assert_int_equal(run.step_count, 0);
    }
}

static void steps_allocate_nothing_on_the_device(void **state)
{
    (void)state;
    const struct fake_faults none = {.hang = 0};
    const struct backend_options options = {.path = BACKEND_CUDA_EMULATED, .threads = 2};
    struct error_note note;
    struct net net;
    struct run run = {.ended = STATUS_OK};
    backend *b;
    assert_int_equal(penstock_cuda_open(&options, &b, &note), STATUS_OK);
    assert_int_equal(net_open(&net, b), STATUS_OK);
    fake_runtime_set_faults(&none);
    assert_int_equal(run_steps(&net, &run), STATUS_OK);
    assert_int_equal(fake_runtime_counts().allocations, 0);
    net_close(&net);
}

static void *run_until_it_hangs(void *context)
{
    const struct fake_faults faults = {.hang = needed.runs * 3 / 4};
    (void)context;
    (void)run_with(&faults, 1);
    _exit(1); /* it came back */
}

/* A wait that never ends is for the replica's watchdog to end: here, that it is one. In a process of its own. */
static void a_device_that_hangs_answers_nothing(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_until_it_hangs, NULL) != 0)
            _exit(2);
        while (!fake_runtime_is_hanging())
            (void)usleep(1000);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_operation_fails_the_steps_behind_it_are_not_answered),
        cmocka_unit_test(whatever_launch_is_refused_the_steps_behind_it_are_not_answered),
        cmocka_unit_test(memory_that_is_missing_anywhere_is_told_when_things_are_made),
        cmocka_unit_test(steps_allocate_nothing_on_the_device),
        cmocka_unit_test(a_device_that_hangs_answers_nothing),
    };
    return cmocka_run_group_tests(tests, run_without_faults, NULL);
}
