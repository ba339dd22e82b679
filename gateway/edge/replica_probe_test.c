#include "unit_test.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "replica_probe.h"

static char address[64];

/* A socket that listens at `address`. */
static int listen_there(void)
{
    struct sockaddr_un target = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address, sizeof(address), "unix:/tmp/penstock_probe_%d.sock", (int)getpid());
    (void)snprintf(target.sun_path, sizeof(target.sun_path), "%s", address + 5);
    (void)unlink(address + 5);
    assert_int_equal(bind(fd, (struct sockaddr *)&target, sizeof(target)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* The probe's result when the other side answers so (NULL: closes at once). */
static enum probe_result result_of(int listener, const char *answer)
{
    struct replica_probe probe;
    char request[256];
    int other;

    replica_probe_init(&probe);
    assert_int_equal(replica_probe_start(&probe, address, PROBE_READINESS, 0), PROBE_PENDING);
    other = accept(listener, NULL, NULL);
    assert_true(recv(other, request, sizeof(request), 0) > 0);
    assert_memory_equal(request, "GET /readyz HTTP/1.1\r\n", 22);
    assert_int_equal(replica_probe_read(&probe, 1), PROBE_PENDING);
    for (const char *byte = answer; byte != NULL && *byte != '\0'; byte++) {
        enum probe_result result;

        assert_int_equal(send(other, byte, 1, MSG_NOSIGNAL), 1);
        result = replica_probe_read(&probe, 1);
        if (result != PROBE_PENDING) {
            close(other);
            assert_int_equal(probe.fd, -1);
            return result;
        }
    }
    close(other);
    return replica_probe_read(&probe, 1);
}

static void only_200_is_ready(void **state)
{
    int listener = listen_there();

    (void)state;
    assert_int_equal(result_of(listener, "HTTP/1.1 200 OK\r\n"), PROBE_READY);
    assert_int_equal(result_of(listener, "HTTP/1.1 503 Service Unavailable\r\n"), PROBE_NOT_READY);
    assert_int_equal(result_of(listener, "HTTP/1.0 404 Not Found\r\n"), PROBE_NOT_READY);
    assert_int_equal(result_of(listener, "SSH-2.0-OpenSSH_9.2"), PROBE_SILENT);
    assert_int_equal(result_of(listener, "HTTP/1.1"), PROBE_SILENT);
    assert_int_equal(result_of(listener, NULL), PROBE_SILENT);
    close(listener);
}

static void a_ready_replica_tells_what_it_serves(void **state)
{
    struct replica_probe probe = {.fd = -1};
    uint32_t context_max = 0, capabilities = 0;

    (void)state;
    probe.bytes = (uint32_t)snprintf(probe.answer, sizeof(probe.answer),
                                     "HTTP/1.1 200 OK\r\nserver: penstock\r\n"
                                     "x-penstock-model: context=2048, capabilities=19\r\n\r\n");
    assert_true(replica_probe_model(&probe, &context_max, &capabilities));
    assert_int_equal(context_max, 2048);
    assert_int_equal(capabilities, 19);
    probe.bytes = (uint32_t)snprintf(probe.answer, sizeof(probe.answer), "HTTP/1.1 200 OK\r\n\r\n");
    assert_false(replica_probe_model(&probe, &context_max, &capabilities));
}

static void nobody_there_and_no_answer_in_time_are_silence(void **state)
{
    struct replica_probe probe;
    int listener = listen_there();

    (void)state;
    replica_probe_init(&probe);
    assert_int_equal(replica_probe_start(&probe, address, PROBE_READINESS, 5), PROBE_PENDING);
    assert_int_equal(replica_probe_read(&probe, 5 + REPLICA_PROBE_TIMEOUT_NS - 1), PROBE_PENDING);
    assert_int_equal(replica_probe_read(&probe, 5 + REPLICA_PROBE_TIMEOUT_NS), PROBE_SILENT);
    close(listener);
    assert_int_equal(replica_probe_start(&probe, address, PROBE_READINESS, 5), PROBE_SILENT);
    (void)unlink(address + 5);
    assert_int_equal(replica_probe_start(&probe, address, PROBE_READINESS, 5), PROBE_SILENT);
    assert_int_equal(probe.fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_200_is_ready),
        cmocka_unit_test(a_ready_replica_tells_what_it_serves),
        cmocka_unit_test(nobody_there_and_no_answer_in_time_are_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
