#include "unit_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "key_store.h"
#include "scope.h"
#include "test_state.h"

#define NOW 1000000u

struct fixture {
    char folder[64], path[128];
    state_database *database;
};

static const struct key_new someone = {.name = "one",
                                       .organisation = "acme",
                                       .team = "red",
                                       .models = "llama-*",
                                       .scopes = SCOPE_INFERENCE,
                                       .weight = 50,
                                       .priority_max = -3,
                                       .ttft_slo_ms = 250};

static int make(void **state)
{
    static struct fixture fixture;
    struct error_note note;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/key_store_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    (void)snprintf(fixture.path, sizeof(fixture.path), "%s/state.db", fixture.folder);
    *state = &fixture;
    return test_state_open_empty(fixture.path, &fixture.database, &note) == STATUS_OK ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    state_database_close(fixture->database);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static void create(struct fixture *fixture, char id[KEY_ID_BYTES], char secret[KEY_SECRET_BYTES])
{
    struct error_note note = {""};

    assert_int_equal(key_store_create(fixture->database, &someone, NOW, id, secret, &note),
                     STATUS_OK);
}

/* Whether the secret is good at the time, as the loops would see it. */
static bool is_good(state_database *database, const char *secret, uint64_t now_s)
{
    struct key_table *table;
    struct error_note note;
    uint8_t hash[KEY_HASH_BYTES];
    bool found;

    assert_int_equal(key_store_load(database, now_s, &table, &note), STATUS_OK);
    assert_true(key_hash(text_slice_of(secret), hash));
    found = key_table_find(table, hash, now_s) != NULL;
    key_table_destroy(table);
    return found;
}

static void a_key_comes_back_as_it_was_made(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES];
    const struct key_identity *found;
    struct key_table *table;
    struct error_note note;
    uint8_t hash[KEY_HASH_BYTES];

    create(fixture, id, secret);
    assert_int_equal(strlen(secret), 51);
    assert_int_equal(key_store_load(fixture->database, NOW, &table, &note), STATUS_OK);
    assert_true(key_hash(text_slice_of(secret), hash));
    found = key_table_find(table, hash, NOW);
    assert_string_equal(found->id, id);
    assert_string_equal(found->name, "one");
    assert_string_equal(found->organisation, "acme");
    assert_string_equal(found->team, "red");
    assert_string_equal(found->models, "llama-*");
    assert_int_equal(found->scopes, SCOPE_INFERENCE);
    assert_int_equal(found->weight, 50);
    assert_int_equal(found->priority_max, -3);
    assert_int_equal(found->ttft_slo_ns, 250000000);
    key_table_destroy(table);
}

static void the_file_holds_no_secret_and_is_the_owners(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES], command[256];
    struct stat info;

    if (test_state_is_server())
        skip(); /* of files */
    create(fixture, id, secret);
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    (void)snprintf(command, sizeof(command), "grep -qs %s %s/*", secret + 3, fixture->folder);
    assert_int_not_equal(system(command), 0); // NOLINT: the folder is ours
    (void)snprintf(command, sizeof(command), "grep -qs %s %s/*", id, fixture->folder);
    assert_int_equal(system(command), 0); // NOLINT: the folder is ours
}

static void both_secrets_are_good_while_one_replaces_the_other(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], first[KEY_SECRET_BYTES], second[KEY_SECRET_BYTES];
    struct error_note note;

    create(fixture, id, first);
    assert_int_equal(key_store_rotate(fixture->database, id, NOW, 60, second, &note), STATUS_OK);
    assert_true(is_good(fixture->database, first, NOW + 59));
    assert_true(is_good(fixture->database, second, NOW + 59));
    assert_false(is_good(fixture->database, first, NOW + 60));
    assert_true(is_good(fixture->database, second, NOW + 60));
    /* A second rotation does not give the first secret more time. */
    assert_int_equal(key_store_rotate(fixture->database, id, NOW, 600, first, &note), STATUS_OK);
    assert_true(is_good(fixture->database, second, NOW + 599));
    assert_false(is_good(fixture->database, second, NOW + 600));
}

static void a_revoked_key_is_good_no_more_and_stays_so(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES];
    struct error_note note;

    create(fixture, id, secret);
    assert_int_equal(key_store_revoke(fixture->database, id, NOW, &note), STATUS_OK);
    assert_false(is_good(fixture->database, secret, NOW));
    assert_int_equal(key_store_revoke(fixture->database, id, NOW, &note), STATUS_NOT_FOUND);
    assert_int_equal(key_store_rotate(fixture->database, id, NOW, 1, secret, &note),
                     STATUS_NOT_FOUND);
    create(fixture, id, secret); /* its name is free again */
    assert_int_equal(key_store_revoke(fixture->database, "key_none", NOW, &note), STATUS_NOT_FOUND);
}

static void a_name_is_taken_once_in_an_organisation(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES];
    struct error_note note;
    struct key_new other = someone;

    create(fixture, id, secret);
    assert_int_equal(key_store_create(fixture->database, &someone, NOW, id, secret, &note),
                     STATUS_INVALID);
    assert_non_null(strstr(note.text, "'one' of acme"));
    other.organisation = "other";
    assert_int_equal(key_store_create(fixture->database, &other, NOW, id, secret, &note),
                     STATUS_OK);
}

static void an_expired_key_is_not_loaded(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES];
    struct error_note note;
    struct key_new key = someone;

    key.expires_s = NOW + 10;
    assert_int_equal(key_store_create(fixture->database, &key, NOW, id, secret, &note), STATUS_OK);
    assert_true(is_good(fixture->database, secret, NOW + 9));
    assert_false(is_good(fixture->database, secret, NOW + 10));
}

static void row_take(void *context, const struct key_row *row)
{
    struct key_row *last = context;

    *last = *row;
    last->identity.id = NULL;
}

static void another_connection_sees_that_something_changed(void **state)
{
    struct fixture *fixture = *state;
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES];
    struct key_row row = {0};
    state_database *other;
    struct error_note note;
    bool has_changed = true;

    assert_int_equal(test_state_open(fixture->path, &other, &note), STATUS_OK);
    assert_int_equal(state_database_has_changed(other, &has_changed, &note), STATUS_OK);
    assert_false(has_changed);
    create(fixture, id, secret);
    /* A server tells of it a moment later. */
    for (int looks = 0; !has_changed && looks < 10000; looks++) {
        assert_int_equal(state_database_has_changed(other, &has_changed, &note), STATUS_OK);
        (void)usleep(test_state_is_server() && !has_changed ? 1000 : 0);
    }
    assert_true(has_changed);
    assert_int_equal(state_database_has_changed(other, &has_changed, &note), STATUS_OK);
    assert_false(has_changed);
    assert_int_equal(key_store_list(other, NOW, row_take, &row, &note), STATUS_OK);
    assert_int_equal(row.created_s, NOW);
    assert_int_equal(row.secret_count, 1);
    state_database_close(other);
}

/* Whether another process would find a lock on the file, of any connection. */
static bool is_locked(const char *path)
{
    int code = 0;
    pid_t child = fork();

    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int descriptor = open(path, O_RDWR | O_CLOEXEC);

        _exit(descriptor >= 0 && fcntl(descriptor, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK
                  ? 1
                  : 0);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    return WEXITSTATUS(code) == 1;
}

static void a_second_connection_leaves_the_locks_of_the_first(void **state)
{
    struct fixture *fixture = *state;
    state_database *other;
    struct error_note note;

    if (test_state_is_server())
        skip(); /* of files */
    assert_true(is_locked(fixture->path));
    assert_int_equal(state_database_open(fixture->path, &other, &note), STATUS_OK);
    assert_true(is_locked(fixture->path));
    state_database_close(other);
    assert_true(is_locked(fixture->path));
}

static void a_file_that_is_no_database_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct error_note note = {""};
    state_database *other;
    char path[160];
    FILE *file;

    if (test_state_is_server())
        skip(); /* of files */
    (void)snprintf(path, sizeof(path), "%s/none", fixture->folder);
    file = fopen(path, "w");
    for (unsigned i = 0; i < 1000; i++)
        (void)fputs("no database\n", file);
    (void)fclose(file);
    assert_int_equal(state_database_open(path, &other, &note), STATUS_IO);
    assert_non_null(strstr(note.text, "database"));
    assert_int_equal(state_database_open("/nowhere/state.db", &other, &note), STATUS_IO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_second_connection_leaves_the_locks_of_the_first, make,
                                        drop),
        TEST(a_key_comes_back_as_it_was_made),
        TEST(the_file_holds_no_secret_and_is_the_owners),
        TEST(both_secrets_are_good_while_one_replaces_the_other),
        TEST(a_revoked_key_is_good_no_more_and_stays_so),
        TEST(a_name_is_taken_once_in_an_organisation),
        TEST(an_expired_key_is_not_loaded),
        TEST(another_connection_sees_that_something_changed),
        TEST(a_file_that_is_no_database_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
