#include "unit_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared_page.h"

static char folder[] = "/tmp/shared-page-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/page", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void what_the_replica_writes_the_gateway_reads(void **state)
{
    struct shared_page_state in = {.running = 3,
                                   .waiting_tokens = 1ull << 40,
                                   .step_ms = 2.5f,
                                   .output_squares = 7},
                             out;
    shared_page *page = NULL;
    shared_page_writer *writer = NULL;
    struct stat info;

    (void)state;
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_NOT_FOUND);
    assert_int_equal(shared_page_create(path, &page), STATUS_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_false(shared_page_read(page, &out)); /* nobody has written */
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_OK);
    assert_false(shared_page_read(page, &out));
    shared_page_write(writer, &in);
    assert_true(shared_page_read(page, &out));
    assert_memory_equal(&in, &out, sizeof(in));
    assert_true(shared_page_bytes_per_token(page) == 0);
    shared_page_note_text(writer, 400, 100);
    assert_true(shared_page_bytes_per_token(page) == 4);
    shared_page_note(writer, 77, true);
    assert_true(shared_page_has(page, 77));
    for (uint32_t i = 0; i < START_MOMENTS; i++)
        assert_true(shared_page_moment(page, (enum start_moment)i) == 0);
    shared_page_note_moment(writer, START_MAPPED, 1ull << 50);
    assert_true(shared_page_moment(page, START_MAPPED) == 1ull << 50);
    assert_true(shared_page_moment(page, START_WARMED) == 0);
    shared_page_writer_close(writer);
    /* The next generation knows nothing. */
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_OK);
    assert_true(shared_page_moment(page, START_MAPPED) == 0);
    assert_false(shared_page_read(page, &out));
    assert_false(shared_page_has(page, 77));
    shared_page_writer_close(writer);
    shared_page_destroy(page, path);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_file_of_another_size_is_refused(void **state)
{
    shared_page_writer *writer = NULL;
    int fd = open(path, O_CREAT | O_RDWR, 0600);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_INVALID);
    assert_int_equal(unlink(path), 0);
}

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((random_state >> 33) % limit);
}

/* Names that begin alike in the table's order, so that runs collide and close up; against counts that a plain array keeps. */
static void the_set_is_what_was_given_and_not_taken_back(void **state)
{
    enum { NAMES = 400 };
    static uint32_t given[NAMES];
    shared_page *page = NULL;
    shared_page_writer *writer = NULL;
    uint32_t present = 0;
    static uint64_t names[NAMES + 1];

    (void)state;
    assert_int_equal(shared_page_create(path, &page), STATUS_OK);
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_OK);
    for (uint32_t round = 0; round < 100000; round++) {
        uint32_t i = random_below(NAMES);
        uint64_t hash = ((uint64_t)(i + 1) << 32) | (32768 - 50 + i / 7);
        bool is_given = random_below(100) < (round / 10000 % 2 == 0 ? 60 : 40);

        if (!is_given && given[i] == 0)
            continue;
        given[i] += is_given ? 1 : -1u;
        shared_page_note(writer, hash, is_given);
        assert_true(shared_page_has(page, hash) == (given[i] > 0));
    }
    for (uint32_t i = 0; i < NAMES; i++) {
        uint64_t hash = ((uint64_t)(i + 1) << 32) | (32768 - 50 + i / 7);

        assert_true(shared_page_has(page, hash) == (given[i] > 0));
        present += given[i] > 0;
    }
    assert_int_equal(shared_page_names(page, names, NAMES + 1), present);
    assert_true(present > 0 && present < NAMES);
    shared_page_writer_close(writer);
    shared_page_destroy(page, path);
}

static void a_full_set_leaves_names_out_and_stays_whole(void **state)
{
    shared_page *page = NULL;
    shared_page_writer *writer = NULL;
    static uint64_t names[SHARED_PAGE_NAMES_MAX + 100];

    (void)state;
    assert_int_equal(shared_page_create(path, &page), STATUS_OK);
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_OK);
    for (uint32_t i = 0; i < SHARED_PAGE_NAMES_MAX + 100; i++)
        shared_page_note(writer, (i + 1) * 0x9E3779B97F4A7C15ull, true);
    assert_int_equal(shared_page_names(page, names, SHARED_PAGE_NAMES_MAX + 100),
                     SHARED_PAGE_NAMES_MAX);
    for (uint32_t i = 0; i < SHARED_PAGE_NAMES_MAX + 100; i++)
        shared_page_note(writer, (i + 1) * 0x9E3779B97F4A7C15ull, false);
    assert_int_equal(shared_page_names(page, names, 10), 0);
    shared_page_writer_close(writer);
    shared_page_destroy(page, path);
}

static void the_longest_beginning_that_is_there_is_found(void **state)
{
    shared_page *page = NULL;
    shared_page_writer *writer = NULL;
    uint64_t hashes[20];

    (void)state;
    assert_int_equal(shared_page_create(path, &page), STATUS_OK);
    assert_int_equal(shared_page_writer_open(path, &writer), STATUS_OK);
    for (uint64_t i = 0; i < 20; i++)
        hashes[i] = (i + 1) * 0x9E3779B97F4A7C15ull;
    for (uint32_t there = 0; there <= 20; there++) {
        for (uint32_t count = 0; count <= 20; count++)
            assert_int_equal(shared_page_match(page, hashes, count), there < count ? there : count);
        if (there < 20)
            shared_page_note(writer, hashes[there], true);
    }
    shared_page_writer_close(writer);
    shared_page_destroy(page, path);
}

struct race {
    shared_page *page;
    shared_page_writer *writer;
    _Atomic bool is_over;
};

static void *write_on(void *context)
{
    struct race *race = context;

    for (uint32_t i = 1; i <= 200000; i++) {
        struct shared_page_state state = {
            .running = i, .waiting = i, .waiting_tokens = i, .steps = i, .last_step_ns = i};

        shared_page_write(race->writer, &state);
        shared_page_note(race->writer, i % 97 + 1, i / 97 % 2 == 0);
    }
    atomic_store(&race->is_over, true);
    return NULL;
}

static void a_reader_never_sees_half_of_what_is_written(void **state)
{
    struct race race = {NULL, NULL, false};
    struct shared_page_state seen = {0};
    pthread_t thread;
    uint64_t last = 0;

    (void)state;
    assert_int_equal(shared_page_create(path, &race.page), STATUS_OK);
    assert_int_equal(shared_page_writer_open(path, &race.writer), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, write_on, &race), 0);
    while (!atomic_load(&race.is_over)) {
        (void)shared_page_has(race.page, 5);
        if (!shared_page_read(race.page, &seen))
            continue;
        assert_true(seen.running == seen.waiting && seen.waiting_tokens == seen.running &&
                    seen.steps == seen.running && seen.last_step_ns == seen.running);
        assert_true(seen.steps >= last);
        last = seen.steps;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(shared_page_read(race.page, &seen));
    assert_int_equal(seen.steps, 200000);
    shared_page_writer_close(race.writer);
    shared_page_destroy(race.page, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_replica_writes_the_gateway_reads),
        cmocka_unit_test(a_file_of_another_size_is_refused),
        cmocka_unit_test(the_set_is_what_was_given_and_not_taken_back),
        cmocka_unit_test(a_full_set_leaves_names_out_and_stays_whole),
        cmocka_unit_test(the_longest_beginning_that_is_there_is_found),
        cmocka_unit_test(a_reader_never_sees_half_of_what_is_written),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
