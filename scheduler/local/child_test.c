#include "unit_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

static char *const environment[] = {(char *)"COLOUR=green", NULL};

static struct child_order order_of(char *const arguments[])
{
    return (struct child_order){.program = arguments[0],
                                .arguments = arguments,
                                .environment = environment,
                                .output_fd = -1};
}

static void start(struct child *child, const struct child_order *order)
{
    struct error_note note = {""};

    *child = (struct child){.pid_fd = -1, .lifeline_fd = -1};
    if (child_start(child, order, &note) != STATUS_OK)
        fail_msg("%s", note.text);
}

static void await_end(const struct child *child)
{
    struct pollfd end = {.fd = child->pid_fd, .events = POLLIN};

    assert_int_equal(poll(&end, 1, 60000), 1);
}

static size_t output_of(char *const arguments[], const struct cpu_bind *bind, char *text,
                        size_t bytes)
{
    struct child_order order = order_of(arguments);
    struct child child;
    int ends[2];
    size_t used = 0;
    ssize_t got;
    char how[64];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    order.output_fd = ends[1];
    order.bind = bind;
    start(&child, &order);
    (void)close(ends[1]);
    while ((got = read(ends[0], text + used, bytes - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    (void)close(ends[0]);
    if (!child_collect(&child, how, sizeof how))
        fail_msg("it %s", how);
    return used;
}

static void it_has_its_environment_and_three_streams_and_its_lifeline(void **state)
{
    char *const list[] = {(char *)"/bin/sh", (char *)"-c",
                          (char *)"echo $COLOUR$HOME; cd /proc/self/fd; echo *", NULL};
    char text[256];

    (void)state;
    (void)output_of(list, NULL, text, sizeof text);
    /* The shell has the folder itself open while it lists it. */
    if (strncmp(text, "green\n0 1 2 3", 13) != 0 || strlen(text) > 18)
        fail_msg("%s", text);
}

static void it_runs_on_its_cores_with_memory_of_its_node(void **state)
{
    char *const list[] = {(char *)"/bin/grep", (char *)"-h", (char *)"_allowed_list",
                          (char *)"/proc/self/status", NULL};
    char *const policy[] = {(char *)"/bin/grep",
                            (char *)"-m1",
                            (char *)"-o",
                            (char *)"bind:0",
                            (char *)"/proc/self/numa_maps",
                            NULL};
    struct cpu_bind bind = {.nodes = {1}, .is_strict = true};
    cpu_set_t mine;
    char text[256], expected[64];
    int core = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    while (!CPU_ISSET(core, &mine))
        core++;
    CPU_SET(core, &bind.cores);
    (void)output_of(list, &bind, text, sizeof text);
    (void)snprintf(expected, sizeof expected, "Cpus_allowed_list:\t%d\n", core);
    assert_non_null(strstr(text, expected));
    if (access("/proc/self/numa_maps", R_OK) != 0)
        return; /* a kernel without NUMA */
    (void)output_of(policy, &bind, text, sizeof text);
    assert_string_equal(text, "bind:0\n");
}

static void a_core_that_is_not_there_is_told(void **state)
{
    char *const list[] = {(char *)"/bin/true", NULL};
    struct child_order order = order_of(list);
    struct cpu_bind bind = {.is_strict = false};
    struct child child = {.pid_fd = -1, .lifeline_fd = -1};
    struct error_note note = {""};

    (void)state;
    CPU_SET(CPU_SETSIZE - 1, &bind.cores);
    order.bind = &bind;
    assert_int_equal(child_start(&child, &order, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "cores"));
    assert_int_equal(child.pid, 0);
}

static void a_missing_program_is_told(void **state)
{
    char *const list[] = {(char *)"/nowhere/program", NULL};
    struct child_order order = order_of(list);
    struct child child = {.pid_fd = -1, .lifeline_fd = -1};
    struct error_note note = {""};

    (void)state;
    assert_int_equal(child_start(&child, &order, &note), STATUS_NOT_FOUND);
    assert_non_null(strstr(note.text, "/nowhere/program"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left behind */
}

static void it_dies_when_its_lifeline_is_cut(void **state)
{
    char *const list[] = {(char *)"/bin/sleep", (char *)"600", NULL};
    struct child_order order = order_of(list);
    struct child child;
    char text[64];

    (void)state;
    start(&child, &order);
    (void)close(child.lifeline_fd);
    child.lifeline_fd = -1;
    await_end(&child);
    assert_false(child_collect(&child, text, sizeof text));
    assert_string_equal(text, "was ended by signal 9 (SIGKILL)");
}

static void it_lives_on_with_a_copy_of_its_lifeline(void **state)
{
    char *const list[] = {(char *)"/bin/sleep", (char *)"600", NULL};
    struct child_order order = order_of(list);
    struct child child, next = {.pid_fd = -1, .lifeline_fd = -1};
    struct pollfd end;
    char text[64];
    pid_t pid;

    (void)state;
    start(&child, &order);
    pid = child.pid;
    child_adopt(&next, child.pid, dup(child.pid_fd), dup(child.lifeline_fd));
    child_forget(&child);
    end = (struct pollfd){.fd = next.pid_fd, .events = POLLIN};
    assert_int_equal(poll(&end, 1, 50), 0);
    child_signal(&next, SIGTERM);
    await_end(&next);
    assert_true(child_collect(&next, text, sizeof text));
    assert_string_equal(text, "has ended");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void how_it_ended_is_told(void **state)
{
    char *const list[] = {(char *)"/bin/sh", (char *)"-c", (char *)"exit 3", NULL};
    struct child_order order = order_of(list);
    struct child child;
    char text[64];

    (void)state;
    start(&child, &order);
    await_end(&child);
    assert_false(child_collect(&child, text, sizeof text));
    assert_string_equal(text, "ended with code 3");
}

static void it_leads_a_group_of_its_own(void **state)
{
    char *const list[] = {(char *)"/bin/sleep", (char *)"600", NULL};
    struct child_order order = order_of(list);
    struct child child;
    char text[64];

    (void)state;
    start(&child, &order);
    assert_int_equal(getpgid(child.pid), child.pid);
    child_signal(&child, SIGKILL);
    await_end(&child);
    (void)child_collect(&child, text, sizeof text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_its_environment_and_three_streams_and_its_lifeline),
        cmocka_unit_test(it_runs_on_its_cores_with_memory_of_its_node),
        cmocka_unit_test(a_core_that_is_not_there_is_told),
        cmocka_unit_test(a_missing_program_is_told),
        cmocka_unit_test(it_dies_when_its_lifeline_is_cut),
        cmocka_unit_test(it_lives_on_with_a_copy_of_its_lifeline),
        cmocka_unit_test(how_it_ended_is_told),
        cmocka_unit_test(it_leads_a_group_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
