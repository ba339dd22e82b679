#include "unit_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "buffer.h"
#include "check.h"
#include "memory.h"

/* Runs `act` in a child whose stderr we read. Returns the child's wait status and its words. */
static int run_in_child(void (*act)(void), char *said, size_t said_bytes)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(ends[1]);
    size_t at = 0;
    for (ssize_t got = 1; got > 0 && at < said_bytes - 1; at += (size_t)got) {
        got = read(ends[0], said + at, said_bytes - 1 - at);
        assert_true(got >= 0);
    }
    said[at] = '\0';
    close(ends[0]);
    int ended = 0;
    assert_int_equal(waitpid(child, &ended, 0), child);
    return ended;
}

static void fail_a_check(void)
{
    CHECK(1 + 1 == 3);
}

static void a_failed_check_names_its_place_and_aborts(void **state)
{
    (void)state;
    char said[4096];
    int ended = run_in_child(fail_a_check, said, sizeof said);
    assert_true(WIFSIGNALED(ended));
    assert_int_equal(WTERMSIG(ended), SIGABRT);
    assert_non_null(strstr(said, "check_test.c:"));
    assert_non_null(strstr(said, "1 + 1 == 3"));
}

static void good_checks_have_no_effect(void **state)
{
    (void)state;
    CHECK(true);
    DCHECK(true);
}

#ifndef NDEBUG

static void allocate_under_guard(void)
{
    alloc_guard_begin();
    memory_release(memory_allocate(1));
}

static void grow_a_buffer_under_guard(void)
{
    struct buffer buffer;
    buffer_init(&buffer, 100);
    alloc_guard_begin();
    buffer_append_text(&buffer, "x");
}

static void grow_an_arena_under_guard(void)
{
    arena *a;
    if (arena_create(100, &a) == STATUS_OK) {
        alloc_guard_begin();
        (void)arena_allocate(a, 10);
    }
}

static void the_guard_aborts_every_allocator(void **state)
{
    (void)state;
    void (*const acts[])(void) = {allocate_under_guard, grow_a_buffer_under_guard,
                                  grow_an_arena_under_guard};
    for (size_t i = 0; i < ARRAY_COUNT(acts); i++) {
        char said[4096];
        int ended = run_in_child(acts[i], said, sizeof said);
        if (!WIFSIGNALED(ended))
            fail_msg("allocator %zu was let through", i);
        assert_non_null(strstr(said, "alloc_guard_is_on"));
    }
}

#endif

static void work_inside_what_is_allocated(void)
{
    struct buffer buffer;
    buffer_init(&buffer, 100);
    if (buffer_reserve(&buffer, 50) != STATUS_OK)
        _exit(1);
    void *block = memory_allocate(10);
    alloc_guard_begin();
    buffer_append_text(&buffer, "fits");
    memory_release(block);
    alloc_guard_end();
    buffer_deinit(&buffer);
}

static void the_guard_lets_use_and_release_through(void **state)
{
    (void)state;
    char said[4096];
    int ended = run_in_child(work_inside_what_is_allocated, said, sizeof said);
    assert_true(WIFEXITED(ended));
    assert_int_equal(WEXITSTATUS(ended), 0);
}

static void guards_nest(void **state)
{
    (void)state;
    assert_false(alloc_guard_is_on());
    alloc_guard_begin();
    alloc_guard_begin();
    alloc_guard_end();
    assert_true(alloc_guard_is_on());
    alloc_guard_end();
    assert_false(alloc_guard_is_on());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_check_names_its_place_and_aborts),
        cmocka_unit_test(good_checks_have_no_effect),
#ifndef NDEBUG
        cmocka_unit_test(the_guard_aborts_every_allocator),
#endif
        cmocka_unit_test(the_guard_lets_use_and_release_through),
        cmocka_unit_test(guards_nest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
