/* http_stream against servers on Unix sockets that say what they say when they are told to. */
#include "unit_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "http_stream.h"

#define HEAD "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

/* One connection: what is written into `words` goes out to it; its end is the connection's end. */
struct server {
    char folder[32], path[64];
    int listener, words[2];
    char asked[2048];
    pthread_t thread;
};

static void *serve(void *context)
{
    struct server *server = context;
    int fd = accept(server->listener, NULL, NULL);
    char piece[4096];
    ssize_t bytes = recv(fd, server->asked, sizeof(server->asked) - 1, 0);

    if (bytes >= 0)
        server->asked[bytes] = '\0';
    while ((bytes = read(server->words[0], piece, sizeof(piece))) > 0)
        (void)send(fd, piece, (size_t)bytes, MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void server_start(struct server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *server = (struct server){.folder = "/tmp/stream_XXXXXX"};
    assert_non_null(mkdtemp(server->folder));
    (void)snprintf(server->path, sizeof(server->path), "%s/socket", server->folder);
    memcpy(address.sun_path, server->path, strlen(server->path) + 1);
    assert_int_equal(pipe(server->words), 0);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_say(struct server *server, const char *text)
{
    assert_int_equal(write(server->words[1], text, strlen(text)), (ssize_t)strlen(text));
}

static void server_hang_up(struct server *server)
{
    close(server->words[1]);
    (void)shutdown(server->listener, SHUT_RDWR); /* where nobody came, it does not wait on */
    (void)pthread_join(server->thread, NULL);
    close(server->words[0]);
    close(server->listener);
    (void)unlink(server->path);
    (void)rmdir(server->folder);
}

struct listener {
    struct server server;
    struct buffer body;
    struct http_stream *stream;
};

static void listener_open(struct listener *listener, struct http_streams *streams, size_t ceiling)
{
    struct http_fetch fetch = {.url = "http://cluster/watch", .timeout_ns = 60 * NS_PER_SECOND};

    server_start(&listener->server);
    buffer_init(&listener->body, ceiling);
    fetch.unix_socket = listener->server.path;
    assert_int_equal(http_stream_open(streams, &fetch, &listener->body, &listener->stream),
                     STATUS_OK);
}

static void listener_close(struct listener *listener)
{
    http_stream_close(listener->stream);
    buffer_deinit(&listener->body);
}

/* Until so many bytes are there, or it has ended. */
static void bytes_await(struct http_streams *streams, struct listener *listener, size_t bytes)
{
    status result;

    while (listener->body.bytes < bytes && !http_stream_has_ended(listener->stream, &result, NULL))
        http_streams_poll(streams, 1000);
    assert_int_equal(listener->body.bytes, bytes);
}

static status end_await(struct http_streams *streams, struct listener *listener,
                        struct error_note *note)
{
    status result = STATUS_OK;

    while (!http_stream_has_ended(listener->stream, &result, note))
        http_streams_poll(streams, 1000);
    return result;
}

static void what_comes_is_there_before_the_answer_is_whole(void **state)
{
    struct http_streams *streams = http_streams_create();
    struct error_note note = {""};
    struct listener one;
    status result;

    (void)state;
    assert_non_null(streams);
    listener_open(&one, streams, 64);
    assert_int_equal(http_stream_code(one.stream), 0);
    server_say(&one.server, HEAD "4\r\none\n\r\n");
    bytes_await(streams, &one, 4);
    assert_int_equal(http_stream_code(one.stream), 200);
    assert_false(http_stream_has_ended(one.stream, &result, &note));
    assert_memory_equal(one.body.data, "one\n", 4);
    buffer_consume(&one.body, 4);
    server_say(&one.server, "4\r\ntwo\n\r\n");
    bytes_await(streams, &one, 4);
    assert_memory_equal(one.body.data, "two\n", 4);
    server_say(&one.server, "0\r\n\r\n");
    assert_int_equal(end_await(streams, &one, &note), STATUS_OK);
    assert_int_equal(strncmp(one.server.asked, "GET /watch HTTP/1.1\r\n", 21), 0);
    server_hang_up(&one.server);
    listener_close(&one);
    http_streams_destroy(streams);
}

static void streams_do_not_wait_for_one_another(void **state)
{
    struct http_streams *streams = http_streams_create();
    struct error_note note = {""};
    struct listener silent, other;

    (void)state;
    listener_open(&silent, streams, 64);
    listener_open(&other, streams, 64);
    server_say(&other.server, HEAD "2\r\nhi\r\n0\r\n\r\n");
    assert_int_equal(end_await(streams, &other, &note), STATUS_OK);
    assert_memory_equal(other.body.data, "hi", 2);
    assert_int_equal(http_stream_code(silent.stream), 0);
    listener_close(&silent);
    server_hang_up(&silent.server);
    server_hang_up(&other.server);
    listener_close(&other);
    http_streams_destroy(streams);
}

static void a_cut_stream_is_told_and_what_came_stays(void **state)
{
    struct http_streams *streams = http_streams_create();
    struct error_note note = {""};
    struct listener one;

    (void)state;
    listener_open(&one, streams, 64);
    server_say(&one.server, HEAD "4\r\none\n\r\n");
    bytes_await(streams, &one, 4);
    server_hang_up(&one.server);
    assert_int_equal(end_await(streams, &one, &note), STATUS_CLOSED);
    assert_true(note.text[0] != '\0');
    assert_int_equal(one.body.bytes, 4);
    listener_close(&one);
    http_streams_destroy(streams);
}

static void what_nobody_consumes_ends_at_its_ceiling(void **state)
{
    struct http_streams *streams = http_streams_create();
    struct error_note note = {""};
    struct listener one;

    (void)state;
    listener_open(&one, streams, 4);
    server_say(&one.server, HEAD "4\r\nfour\r\n");
    bytes_await(streams, &one, 4);
    server_say(&one.server, "1\r\n5\r\n");
    assert_int_equal(end_await(streams, &one, &note), STATUS_TOO_LARGE);
    server_hang_up(&one.server);
    listener_close(&one);
    http_streams_destroy(streams);
}

static void a_refusal_says_how_long_to_wait(void **state)
{
    struct http_streams *streams = http_streams_create();
    struct error_note note = {""};
    struct listener one;

    (void)state;
    listener_open(&one, streams, 64);
    server_say(&one.server, "HTTP/1.1 429 No\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nbusy");
    assert_int_equal(end_await(streams, &one, &note), STATUS_OK);
    assert_int_equal(http_stream_code(one.stream), 429);
    assert_int_equal(http_stream_retry_after(one.stream), 3);
    server_hang_up(&one.server);
    listener_close(&one);
    http_streams_destroy(streams);
}

static void nobody_there_is_told_with_a_reason(void **state)
{
    struct http_streams *streams = http_streams_create();
    struct http_fetch fetch = {.url = "http://cluster/watch",
                               .unix_socket = "/tmp/there/is/no/socket",
                               .timeout_ns = 60 * NS_PER_SECOND};
    struct error_note note = {""};
    struct listener none = {0};

    (void)state;
    buffer_init(&none.body, 64);
    assert_int_equal(http_stream_open(streams, &fetch, &none.body, &none.stream), STATUS_OK);
    assert_int_equal(end_await(streams, &none, &note), STATUS_CLOSED);
    assert_true(note.text[0] != '\0');
    listener_close(&none);
    http_streams_destroy(streams);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_is_there_before_the_answer_is_whole),
        cmocka_unit_test(streams_do_not_wait_for_one_another),
        cmocka_unit_test(a_cut_stream_is_told_and_what_came_stays),
        cmocka_unit_test(what_nobody_consumes_ends_at_its_ceiling),
        cmocka_unit_test(a_refusal_says_how_long_to_wait),
        cmocka_unit_test(nobody_there_is_told_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
