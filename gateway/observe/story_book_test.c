#include "story_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fail_nth.h"

/* WRAP: malloc calloc realloc aligned_alloc */

#define SEEN_MAX 64u

struct seen {
    uint32_t count, most;
    uint64_t numbers[SEEN_MAX];
    bool is_over[SEEN_MAX];
};

static bool see(void *context, const struct request_story *story)
{
    struct seen *seen = context;

    seen->numbers[seen->count] = story->number;
    seen->is_over[seen->count++] = story->is_over;
    return seen->count < seen->most;
}

static struct seen look(const story_book *book, uint32_t most)
{
    struct seen seen = {.most = most};

    story_book_visit(book, see, &seen);
    return seen;
}

static void the_newest_come_first_and_those_under_way_before(void **state)
{
    struct request_story *stories[6];
    story_book *book;
    struct seen seen;

    (void)state;
    assert_int_equal(story_book_create(3, 3, &book), STATUS_OK);
    for (uint32_t i = 0; i < 6; i++)
        stories[i] = story_book_begin(book, i);
    assert_int_equal(stories[5]->loop, 3);
    assert_int_equal(stories[5]->start_ns, 5);
    story_book_end(book, stories[4]);
    story_book_end(book, stories[0]);
    story_book_end(book, stories[2]);
    story_book_end(book, stories[5]); /* the first that has ended is not kept any more */
    seen = look(book, SEEN_MAX);
    assert_int_equal(seen.count, 5);
    const uint64_t numbers[] = {4, 2, 6, 3, 1};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(seen.numbers[i], numbers[i]);
        assert_int_equal(seen.is_over[i], i >= 2);
    }
    assert_int_equal(look(book, 1).count, 1);
    assert_int_equal(look(book, 3).count, 3);
    story_book_destroy(book);
}

static void a_story_begins_empty_in_memory_that_was_used_before(void **state)
{
    story_book *book;
    struct request_story *first, *second;

    (void)state;
    assert_int_equal(story_book_create(0, 0, &book), STATUS_OK);
    first = story_book_begin(book, 1);
    first->retries = 7;
    first->model = "some";
    story_book_end(book, first);
    assert_int_equal(look(book, SEEN_MAX).count, 0); /* none are kept */
    second = story_book_begin(book, 2);
    assert_ptr_equal(first, second);
    assert_int_equal(second->retries, 0);
    assert_int_equal(second->number, 2);
    assert_string_equal(second->model, "");
    assert_int_equal(second->cost_nano, STORY_NO_COST);
    story_book_destroy(book);
}

static void without_memory_there_is_no_story(void **state)
{
    story_book *book;

    (void)state;
    fail_nth_begin(1);
    assert_int_equal(story_book_create(0, 8, &book), STATUS_NO_MEMORY);
    assert_true(fail_nth_end());
    assert_int_equal(story_book_create(0, 8, &book), STATUS_OK);
    fail_nth_begin(1);
    assert_null(story_book_begin(book, 1));
    assert_true(fail_nth_end());
    assert_non_null(story_book_begin(book, 1));
    story_book_destroy(book);
    story_book_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_come_first_and_those_under_way_before),
        cmocka_unit_test(a_story_begins_empty_in_memory_that_was_used_before),
        cmocka_unit_test(without_memory_there_is_no_story),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
