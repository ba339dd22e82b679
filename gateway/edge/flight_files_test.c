#include "unit_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flight_files.h"

static char folder[] = "/tmp/penstock-flight-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void address_of(uint32_t replica, char out[FLIGHT_PATH_BYTES])
{
    (void)snprintf(out, FLIGHT_PATH_BYTES, "unix:%s/0-m-%u.sock", folder, replica);
}

/* As a replica that was killed. */
static void leave_recording(const char *address)
{
    char path[FLIGHT_PATH_BYTES];

    assert_true(flight_path(address, path));
    assert_true(flight_make(address));
    assert_int_equal(truncate(path, 10), 0);
}

static void a_recording_that_was_left_gets_a_name_of_its_own(void **state)
{
    char address[FLIGHT_PATH_BYTES], kept[FLIGHT_PATH_BYTES], expected[FLIGHT_PATH_BYTES + 64];

    (void)state;
    address_of(1, address);
    assert_false(flight_keep(address, 42, 8, 1000000000, kept)); /* it has ended well */
    assert_true(flight_make(address));
    assert_false(flight_keep(address, 42, 8, 1000000000, kept)); /* nor has one that has no steps */
    leave_recording(address);
    assert_true(flight_keep(address, 42, 8, 1000000000, kept));
    (void)snprintf(expected, sizeof(expected), "%s/0-m-1.20010909T014640Z-42.flight", folder);
    assert_string_equal(kept, expected);
    assert_int_equal(access(kept, F_OK), 0);
    assert_false(flight_keep(address, 42, 8, 1000000000, kept));
    assert_int_equal(unlink(expected), 0);
}

static void the_oldest_go(void **state)
{
    char address[FLIGHT_PATH_BYTES], live[FLIGHT_PATH_BYTES], path[FLIGHT_PATH_BYTES],
        kept[4][FLIGHT_PATH_BYTES];

    (void)state;
    address_of(0, address);
    leave_recording(address); /* of one that runs, and stays */
    assert_true(flight_path(address, live));
    for (uint32_t i = 0; i < 4; i++) {
        const struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};

        address_of(1 + i, address);
        leave_recording(address);
        assert_true(flight_path(address, path));
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        assert_true(flight_keep(address, 7, 2, 1000000000 + i, kept[i]));
    }
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(access(kept[i], F_OK), i < 2 ? -1 : 0);
    assert_int_equal(access(live, F_OK), 0);
    address_of(9, address);
    leave_recording(address);
    assert_false(flight_keep(address, 7, 0, 1000000000, path)); /* none are wanted */
    assert_true(flight_path(address, path));
    (void)unlink(path);
    (void)unlink(live);
    (void)unlink(kept[2]);
    (void)unlink(kept[3]);
}

static void only_sockets_have_recordings(void **state)
{
    char address[2 * FLIGHT_PATH_BYTES], out[FLIGHT_PATH_BYTES];

    (void)state;
    assert_false(flight_path("https://elsewhere:1", out));
    assert_false(flight_make("https://elsewhere:1"));
    memset(address, 'a', sizeof(address));
    memcpy(address, "unix:", 5);
    address[sizeof(address) - 1] = '\0';
    assert_false(flight_path(address, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recording_that_was_left_gets_a_name_of_its_own),
        cmocka_unit_test(the_oldest_go),
        cmocka_unit_test(only_sockets_have_recordings),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
