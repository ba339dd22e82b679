/* http_fetch against a server of one canned answer, on a Unix socket. */
#include "unit_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "http_fetch.h"

#define LISTENER_BACKLOG 1

struct server {
    char folder[32], path[64];
    int listener;
    const char *answer; /* NULL: it never answers */
    char asked[4096];   /* the last request */
    unsigned answer_count, answers_max;
    pthread_t thread;
};

/* One request, to its end. False: the other side has closed. */
static bool request_read(struct server *server, int fd)
{
    size_t used = 0;
    ssize_t got;

    while (used < sizeof(server->asked) - 1 &&
           (got = recv(fd, server->asked + used, sizeof(server->asked) - 1 - used, 0)) > 0) {
        used += (size_t)got;
        server->asked[used] = '\0';
        if (server->answer != NULL && strstr(server->asked, "\r\n\r\n") != NULL &&
            (strncmp(server->asked, "POST", 4) != 0 || strchr(server->asked, '}') != NULL))
            return true;
    }
    return false;
}

/* One connection. */
static void *serve(void *context)
{
    struct server *server = context;
    int fd = accept(server->listener, NULL, NULL);

    while (request_read(server, fd)) {
        (void)send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL);
        if (++server->answer_count >= server->answers_max)
            break;
    }
    close(fd);
    return NULL;
}

static void server_start_for(struct server *server, const char *answer, unsigned answers_max)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *server = (struct server){
        .folder = "/tmp/fetch_XXXXXX", .answer = answer, .answers_max = answers_max};
    assert_non_null(mkdtemp(server->folder));
    (void)snprintf(server->path, sizeof(server->path), "%s/socket", server->folder);
    memcpy(address.sun_path, server->path, strlen(server->path) + 1);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->listener, LISTENER_BACKLOG), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_start(struct server *server, const char *answer)
{
    server_start_for(server, answer, 1);
}

static void server_stop(struct server *server)
{
    (void)shutdown(server->listener, SHUT_RDWR); /* where nobody came, it does not wait on */
    (void)pthread_join(server->thread, NULL);
    close(server->listener);
    (void)unlink(server->path);
    (void)rmdir(server->folder);
}

static status fetch_from(struct server *server, struct http_fetch fetch, int *code,
                         struct buffer *body, struct error_note *note)
{
    fetch.url = "http://replica/path";
    fetch.unix_socket = server->path;
    if (fetch.timeout_ns == 0)
        fetch.timeout_ns = 60 * NS_PER_SECOND;
    return http_fetch(&fetch, code, body, note);
}

static void an_answer_is_taken_whatever_its_status(void **state)
{
    const struct http_header header = {text_slice_of("x-key"), text_slice_of("value")};
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    server_start(&server, "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n"
                          "4\r\ngone\r\n0\r\n\r\n");
    buffer_init(&body, 16);
    assert_int_equal(fetch_from(&server, (struct http_fetch){.headers = &header, .header_count = 1},
                                &code, &body, &note),
                     STATUS_OK);
    server_stop(&server);
    assert_int_equal(code, 404);
    assert_int_equal(body.bytes, 4);
    assert_memory_equal(body.data, "gone", 4);
    assert_non_null(strstr(server.asked, "GET /path HTTP/1.1\r\n"));
    assert_non_null(strstr(server.asked, "Host: replica\r\n"));
    assert_non_null(strstr(server.asked, "x-key: value\r\n"));
    buffer_deinit(&body);
}

static void a_body_is_posted_as_json(void **state)
{
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    server_start(&server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    buffer_init(&body, 16);
    assert_int_equal(fetch_from(&server, (struct http_fetch){.body = text_slice_of("{\"a\":1}")},
                                &code, &body, &note),
                     STATUS_OK);
    server_stop(&server);
    assert_int_equal(code, 200);
    assert_non_null(strstr(server.asked, "POST /path HTTP/1.1\r\n"));
    assert_non_null(strstr(server.asked, "content-type: application/json\r\n"));
    assert_non_null(strstr(server.asked, "{\"a\":1}"));
    buffer_deinit(&body);
}

static void a_bodys_type_is_said_and_how_long_to_wait_is_heard(void **state)
{
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    uint64_t wait_s = 99;
    int code = 0;

    (void)state;
    server_start_for(&server,
                     "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", 1);
    buffer_init(&body, 16);
    assert_int_equal(fetch_from(&server,
                                (struct http_fetch){.body = text_slice_of("{}"),
                                                    .method = "PATCH",
                                                    .content_type = "application/merge-patch+json",
                                                    .retry_after_s = &wait_s},
                                &code, &body, &note),
                     STATUS_OK);
    server_stop(&server);
    assert_int_equal(code, 429);
    assert_int_equal(wait_s, 7);
    assert_non_null(strstr(server.asked, "PATCH /path HTTP/1.1\r\n"));
    assert_non_null(strstr(server.asked, "content-type: application/merge-patch+json\r\n"));
    assert_null(strstr(server.asked, "application/json"));
    assert_null(strstr(server.asked, "Expect"));
    buffer_deinit(&body);
}

static void a_header_that_is_too_long_is_never_sent(void **state)
{
    static char value[70000];
    const struct http_header header = {text_slice_of("authorization"), {value, sizeof(value)}};
    struct error_note note = {""};
    struct http_fetch fetch = {.url = "http://127.0.0.1:1/",
                               .headers = &header,
                               .header_count = 1,
                               .timeout_ns = 60 * NS_PER_SECOND};
    struct buffer body;
    int code = 0;

    (void)state;
    memset(value, 'x', sizeof(value));
    buffer_init(&body, 16);
    assert_int_equal(http_fetch(&fetch, &code, &body, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "too long"));
    buffer_deinit(&body);
}

static void an_answer_beyond_the_bodys_ceiling_is_an_error(void **state)
{
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    server_start(&server, "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n01234567890123456789");
    buffer_init(&body, 16);
    assert_int_equal(fetch_from(&server, (struct http_fetch){0}, &code, &body, &note),
                     STATUS_TOO_LARGE);
    server_stop(&server);
    assert_string_equal(note.text, "the answer is too long");
    buffer_deinit(&body);
}

static void an_answer_that_is_cut_off_is_an_error(void **state)
{
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    server_start(&server, "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123");
    buffer_init(&body, 64);
    assert_int_equal(fetch_from(&server, (struct http_fetch){0}, &code, &body, &note),
                     STATUS_CLOSED);
    server_stop(&server);
    assert_true(note.text[0] != '\0');
    buffer_deinit(&body);
}

static void no_answer_in_time_is_an_error(void **state)
{
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    server_start(&server, NULL);
    buffer_init(&body, 64);
    assert_int_equal(
        fetch_from(&server, (struct http_fetch){.timeout_ns = 50 * NS_PER_MS}, &code, &body, &note),
        STATUS_TIMEOUT);
    server_stop(&server);
    buffer_deinit(&body);
}

static bool is_over(const void *context)
{
    (void)context;
    return true;
}

static void who_no_longer_waits_ends_it(void **state)
{
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    server_start(&server, NULL);
    buffer_init(&body, 64);
    assert_int_equal(
        fetch_from(&server, (struct http_fetch){.is_over = is_over}, &code, &body, &note),
        STATUS_CANCELLED);
    server_stop(&server);
    buffer_deinit(&body);
}

static void nobody_there_is_an_error_with_a_reason(void **state)
{
    const struct http_fetch fetch = {.url = "http://replica/",
                                     .unix_socket = "/nonexistent/socket",
                                     .timeout_ns = NS_PER_SECOND};
    struct error_note note = {""};
    struct buffer body;
    int code = 0;

    (void)state;
    buffer_init(&body, 64);
    assert_int_equal(http_fetch(&fetch, &code, &body, &note), STATUS_CLOSED);
    assert_true(note.text[0] != '\0');
    buffer_deinit(&body);
}

static void a_session_keeps_its_connection_and_forgets_the_request(void **state)
{
    struct http_fetch_session *session = http_fetch_session_create();
    struct error_note note = {""};
    struct server server;
    struct buffer body;
    int code = 0;

    (void)state;
    assert_non_null(session);
    /* Over the one connection that it accepts. */
    server_start_for(&server, "HTTP/1.1 304 Not Modified\r\n\r\n", 3);
    buffer_init(&body, 64);
    assert_int_equal(
        fetch_from(
            &server,
            (struct http_fetch){.session = session, .body = text_slice_of("{}"), .method = "POST"},
            &code, &body, &note),
        STATUS_OK);
    assert_int_equal(fetch_from(&server,
                                (struct http_fetch){.session = session, .method = "DELETE"}, &code,
                                &body, &note),
                     STATUS_OK);
    assert_true(strncmp(server.asked, "DELETE /path HTTP/1.1", 21) == 0);
    assert_int_equal(
        fetch_from(&server, (struct http_fetch){.session = session}, &code, &body, &note),
        STATUS_OK);
    assert_int_equal(code, 304);
    assert_true(strncmp(server.asked, "GET ", 4) == 0);
    http_fetch_session_destroy(session);
    server_stop(&server);
    assert_int_equal(server.answer_count, 3);
    buffer_deinit(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_taken_whatever_its_status),
        cmocka_unit_test(a_body_is_posted_as_json),
        cmocka_unit_test(a_bodys_type_is_said_and_how_long_to_wait_is_heard),
        cmocka_unit_test(a_header_that_is_too_long_is_never_sent),
        cmocka_unit_test(an_answer_beyond_the_bodys_ceiling_is_an_error),
        cmocka_unit_test(an_answer_that_is_cut_off_is_an_error),
        cmocka_unit_test(no_answer_in_time_is_an_error),
        cmocka_unit_test(who_no_longer_waits_ends_it),
        cmocka_unit_test(a_session_keeps_its_connection_and_forgets_the_request),
        cmocka_unit_test(nobody_there_is_an_error_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
