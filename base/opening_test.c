#include "unit_test.h"

#include "opening.h"
#include "thread.h"

struct opener {
    struct opening opening;
    status result;
    int opened;
};

static void *open_it(void *context)
{
    struct opener *opener = context;
    opener->opened = 17;
    if (opener->result != STATUS_OK)
        error_note_set(&opener->opening.note, "no file");
    opening_tell(&opener->opening, opener->result);
    return NULL;
}

static void wait_for(status result, struct error_note *note)
{
    struct opener opener = {.result = result};
    pthread_t thread;
    assert_int_equal(thread_start(&thread, "opener", open_it, &opener), STATUS_OK);
    assert_int_equal(opening_wait(&opener.opening, note), result);
    assert_int_equal(opener.opened, 17);
    pthread_join(thread, NULL);
}

static void the_waiter_sees_what_was_opened(void **state)
{
    (void)state;
    struct error_note note = {"untouched"};
    for (int i = 0; i < 100; i++)
        wait_for(STATUS_OK, &note);
    assert_string_equal(note.text, "untouched");
}

static void the_waiter_is_told_why_it_failed(void **state)
{
    (void)state;
    struct error_note note = {""};
    wait_for(STATUS_IO, &note);
    assert_string_equal(note.text, "no file");
    wait_for(STATUS_IO, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_waiter_sees_what_was_opened),
        cmocka_unit_test(the_waiter_is_told_why_it_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
