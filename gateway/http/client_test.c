/* WRAP: memory_allocate_array */
#include "unit_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "http_client.h"

/* The client against a server that plays a script: a thread accepts connections one after the other, and for each
 * request on it writes the next answer of the script. The client runs on a real loop. */

struct answer {
    const char *text;     /* NULL: end of the script */
    unsigned piece_bytes; /* write in pieces of so many bytes; 0: at once */
    bool closes;          /* afterwards */
    bool closes_before;   /* instead of answering */
};

static struct {
    int listener;
    uint16_t port;
    const struct answer *script;
    _Atomic unsigned connection_count, request_count;
    pthread_t thread;
} peer;

static bool read_request(int descriptor)
{
    char text[8192] = "";
    size_t bytes = 0;
    while (strstr(text, "\r\n\r\n") == NULL) {
        ssize_t got = read(descriptor, text + bytes, sizeof text - 1 - bytes);
        if (got <= 0)
            return false;
        bytes += (size_t)got;
        text[bytes] = '\0';
    }
    const char *length = strstr(text, "content-length: ");
    size_t body = length != NULL ? strtoul(length + 16, NULL, 10) : 0,
           have = bytes - (size_t)(strstr(text, "\r\n\r\n") + 4 - text);
    while (have < body) {
        ssize_t got = read(descriptor, text, sizeof text);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static void write_answer(int descriptor, const struct answer *answer)
{
    size_t bytes = strlen(answer->text),
           piece = answer->piece_bytes != 0 ? answer->piece_bytes : bytes;
    for (size_t at = 0; at < bytes; at += piece) {
        size_t now = bytes - at < piece ? bytes - at : piece;
        if (send(descriptor, answer->text + at, now, MSG_NOSIGNAL) < 0)
            return;
        if (answer->piece_bytes != 0)
            usleep(200);
    }
}

static void *run_peer(void *context)
{
    (void)context;
    int descriptor = -1;
    for (const struct answer *answer = peer.script; answer->text != NULL; answer++) {
        while (descriptor < 0 || !read_request(descriptor)) {
            if (descriptor >= 0)
                close(descriptor);
            if ((descriptor = accept(peer.listener, NULL, NULL)) < 0)
                return NULL;
            atomic_fetch_add(&peer.connection_count, 1);
        }
        atomic_fetch_add(&peer.request_count, 1);
        if (!answer->closes_before)
            write_answer(descriptor, answer);
        if (answer->closes || answer->closes_before) {
            close(descriptor);
            descriptor = -1;
        }
    }
    if (descriptor >= 0) {
        (void)read_request(descriptor); /* keep it open until the client goes */
        close(descriptor);
    }
    return NULL;
}

static void start_peer(const struct answer *script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    peer.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer.listener, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(peer.listener, 16), 0);
    assert_int_equal(getsockname(peer.listener, (struct sockaddr *)&address, &bytes), 0);
    peer.port = ntohs(address.sin_port);
    peer.script = script;
    atomic_store(&peer.connection_count, 0);
    atomic_store(&peer.request_count, 0);
    assert_int_equal(pthread_create(&peer.thread, NULL, run_peer, NULL), 0);
}

static void stop_peer(void)
{
    shutdown(peer.listener, SHUT_RDWR);
    close(peer.listener);
    pthread_join(peer.thread, NULL);
}

/* --- our side --- */

static http_server *server;
static http_target *target;

struct exchange_test { /* one exchange; messages carry it to the loop and back */
    struct http_message message;
    struct http_exchange_options options;
    http_exchange *exchange;
    struct http_timer timer;
    sem_t done;
    int status_code;
    char body[70000];
    size_t body_bytes;
    unsigned body_calls;
    status result;
    bool any_byte;
    enum { DO_NOTHING, CANCEL_IN_HEAD, CANCEL_IN_BODY, PAUSE_IN_BODY } trick;
    bool is_paused, was_disturbed; /* something came while it was paused */
};

#define TIMEOUT_NS (2 * NS_PER_SECOND)
#define PAUSE_NS   (TIMEOUT_NS + NS_PER_SECOND / 4)

static void on_resume(struct http_timer *timer, http_loop *loop)
{
    struct exchange_test *test = CONTAINER_OF(timer, struct exchange_test, timer);
    (void)loop;
    test->is_paused = false;
    http_exchange_resume(test->exchange);
}

static void cancel(struct exchange_test *test)
{
    http_exchange_cancel(test->exchange);
    test->result = STATUS_CANCELLED;
    sem_post(&test->done);
}

static void on_head(http_exchange *exchange, int status_code, const struct http_header *headers,
                    size_t header_count, void *context)
{
    struct exchange_test *test = context;
    (void)exchange, (void)headers, (void)header_count;
    test->status_code = status_code;
    if (test->trick == CANCEL_IN_HEAD)
        cancel(test);
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    struct exchange_test *test = context;
    assert_true(test->body_bytes + bytes.bytes < sizeof test->body);
    memcpy(test->body + test->body_bytes, bytes.data, bytes.bytes);
    test->body_bytes += bytes.bytes;
    test->body[test->body_bytes] = '\0';
    test->body_calls++;
    test->was_disturbed |= test->is_paused;
    if (test->trick == CANCEL_IN_BODY) {
        cancel(test);
    } else if (test->trick == PAUSE_IN_BODY) {
        test->trick = DO_NOTHING;
        test->is_paused = true;
        http_exchange_pause(exchange);
        test->timer.run = on_resume;
        http_timer_set(http_loop_current(), &test->timer, clock_now_ns() + PAUSE_NS);
    }
}

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct exchange_test *test = context;
    (void)exchange;
    http_timer_cancel(&test->timer); /* all of a short answer may come at once, before the pause */
    test->result = result;
    test->any_byte = any_byte;
    sem_post(&test->done);
}

static void start_exchange(struct http_message *message, http_loop *loop)
{
    struct exchange_test *test = CONTAINER_OF(message, struct exchange_test, message);
    (void)loop;
    status s = http_exchange_start(target, &test->options, &test->exchange);
    if (s != STATUS_OK) {
        test->result = s;
        sem_post(&test->done);
    }
}

static void create_target(struct http_message *message, http_loop *loop)
{
    struct exchange_test *test = CONTAINER_OF(message, struct exchange_test, message);
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", peer.port);
    test->result = http_target_create(loop, address, 4, &target);
    sem_post(&test->done);
}

static void destroy_target(struct http_message *message, http_loop *loop)
{
    (void)loop;
    http_target_destroy(target);
    sem_post(&CONTAINER_OF(message, struct exchange_test, message)->done);
}

static void run_on_loop(struct exchange_test *test, void (*run)(struct http_message *, http_loop *))
{
    sem_init(&test->done, 0, 0);
    test->message.run = run;
    http_loop_send(http_server_loop(server, 0), &test->message);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    assert_int_equal(sem_timedwait(&test->done, &end), 0);
}

static void exchange_with(struct exchange_test *test, const char *method, const char *body)
{
    test->options.method = method;
    test->options.path = "/v1/x?y";
    test->options.body = text_slice_of(body);
    test->options.connect_timeout_ns = test->options.first_byte_timeout_ns =
        test->options.idle_timeout_ns = TIMEOUT_NS;
    test->options.callbacks.on_head = on_head;
    test->options.callbacks.on_body = on_body;
    test->options.callbacks.on_end = on_end;
    test->options.context = test;
    run_on_loop(test, start_exchange);
}

static struct exchange_test *with_script(const struct answer *script)
{
    struct exchange_test *test = test_calloc(1, sizeof *test);
    start_peer(script);
    run_on_loop(test, create_target);
    assert_int_equal(test->result, STATUS_OK);
    return test;
}

static void finish(struct exchange_test *test)
{
    run_on_loop(test, destroy_target);
    stop_peer();
    test_free(test);
}

static void again(struct exchange_test *test)
{
    memset(test, 0, sizeof *test);
}

/* --- tests --- */

static void answers_of_all_framings_are_read_in_any_pieces(void **state)
{
    (void)state;
    for (unsigned piece = 0; piece < 4; piece++) {
        const struct answer script[] = {
            {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", piece, false, false},
            {"HTTP/1.1 201 Created\r\nTransfer-Encoding: "
             "chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
             piece, false, false},
            {"HTTP/1.1 204 No Content\r\n\r\n", piece, false, false},
            {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", piece,
             false, false},
            {"HTTP/1.1 200 OK\r\n\r\nuntil the end", piece, true, false},
            {NULL, 0, false, false}};
        static const struct {
            int status_code;
            const char *body;
        } expected[] = {
            {200, "hello"}, {201, "hello"}, {204, ""}, {200, ""}, {200, "until the end"}};
        struct exchange_test *test = with_script(script);
        for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
            again(test);
            exchange_with(test, "POST", "{}");
            assert_int_equal(test->result, STATUS_OK);
            assert_int_equal(test->status_code, expected[i].status_code);
            assert_string_equal(test->body, expected[i].body);
        }
        assert_int_equal(atomic_load(&peer.connection_count), 1); /* all on one kept connection */
        finish(test);
    }
}

static void a_kept_connection_that_was_closed_is_replaced_once(void **state)
{
    (void)state;
    static const struct answer script[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 0, false, false},
        {"", 0, false, true}, /* read our request and hang up */
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb", 0, false, false},
        {NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    exchange_with(test, "POST", "{}");
    again(test);
    exchange_with(test, "POST", "{}");
    assert_int_equal(test->result, STATUS_OK);
    assert_string_equal(test->body, "b");
    assert_int_equal(atomic_load(&peer.connection_count), 2);
    assert_int_equal(atomic_load(&peer.request_count), 3);
    finish(test);
}

static void a_fresh_connection_that_hangs_up_is_not_tried_again(void **state)
{
    (void)state;
    static const struct answer script[] = {{"", 0, false, true}, {NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    exchange_with(test, "POST", "{}");
    assert_int_equal(test->result, STATUS_CLOSED);
    assert_false(test->any_byte);
    assert_int_equal(atomic_load(&peer.request_count), 1);
    finish(test);
}

static void an_answer_that_breaks_off_is_closed_and_not_tried_again(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        "HTTP/1.1 200 OK\r\nConten"};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        const struct answer script[] = {
            {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, false, false},
            {texts[i], 0, true, false},
            {NULL, 0, false, false}};
        struct exchange_test *test = with_script(script);
        exchange_with(test, "POST", "{}");
        again(test);
        exchange_with(test, "POST", "{}"); /* on a reused connection, yet something had come */
        assert_int_equal(test->result, STATUS_CLOSED);
        assert_true(test->any_byte);
        assert_int_equal(atomic_load(&peer.request_count), 2);
        finish(test);
    }
}

static void what_is_not_http_is_invalid(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        const struct answer script[] = {{texts[i], 0, false, false}, {NULL, 0, false, false}};
        struct exchange_test *test = with_script(script);
        exchange_with(test, "GET", "");
        assert_int_equal(test->result, STATUS_INVALID);
        finish(test);
    }
}

static void a_head_without_end_is_cut_at_its_limit(void **state)
{
    (void)state;
    static char text[80000] = "HTTP/1.1 200 OK\r\nX: ";
    memset(text + strlen(text), 'a', 70000);
    const struct answer script[] = {{text, 0, false, false}, {NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    exchange_with(test, "GET", "");
    assert_int_equal(test->result, STATUS_INVALID);
    finish(test);
}

static void silence_is_a_timeout_in_each_phase(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        const struct answer script[] = {{texts[i], 0, false, false}, {NULL, 0, false, false}};
        struct exchange_test *test = with_script(script);
        uint64_t start_ns = clock_now_ns();
        exchange_with(test, "POST", "{}");
        assert_int_equal(test->result, STATUS_TIMEOUT);
        assert_int_equal(test->any_byte, i == 1);
        assert_true(clock_now_ns() - start_ns >= 2 * NS_PER_SECOND);
        finish(test);
    }
}

static void a_refused_connection_is_closed(void **state)
{
    (void)state;
    static const struct answer script[] = {{NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    stop_peer();
    exchange_with(test, "POST", "{}");
    assert_int_equal(test->result, STATUS_CLOSED);
    assert_false(test->any_byte);
    run_on_loop(test, destroy_target);
    test_free(test);
}

static void callbacks_may_cancel_and_pause(void **state)
{
    (void)state;
    static const struct answer script[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", 0, false, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", 0, false, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n", 0, false, false},
        {NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    test->trick = CANCEL_IN_HEAD;
    exchange_with(test, "POST", "{}");
    assert_int_equal(test->result, STATUS_CANCELLED);
    again(test);
    test->trick = CANCEL_IN_BODY;
    exchange_with(test, "POST", "{}");
    assert_int_equal(test->result, STATUS_CANCELLED);
    assert_int_equal(test->body_calls, 1);
    finish(test);
}

static void a_paused_exchange_does_not_time_out_and_goes_on(void **state)
{
    (void)state;
    static const struct answer script[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n01234567", 40, false, false},
        {NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    test->trick = PAUSE_IN_BODY;
    exchange_with(test, "POST", "{}");
    assert_int_equal(test->result, STATUS_OK);
    assert_string_equal(test->body, "01234567");
    assert_false(test->was_disturbed);
    finish(test);
}

static void a_large_body_is_sent_whole(void **state)
{
    (void)state;
    static char body[4 << 20];
    static const struct answer script[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, false, false},
        {NULL, 0, false, false}};
    memset(body, 'b', sizeof body - 1);
    struct exchange_test *test = with_script(script);
    exchange_with(test, "POST", body);
    assert_int_equal(test->result, STATUS_OK);
    assert_string_equal(test->body, "ok");
    finish(test);
}

static void headers_that_would_split_a_request_are_refused(void **state)
{
    (void)state;
    static const struct answer script[] = {{NULL, 0, false, false}};
    static const struct http_header wrong[] = {{{"x", 1}, {"a\r\nhost: b", 10}},
                                               {{"x y", 3}, {"a", 1}},
                                               {{"content-length", 14}, {"3", 1}}};
    struct exchange_test *test = with_script(script);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        again(test);
        test->options.headers = &wrong[i];
        test->options.header_count = 1;
        exchange_with(test, "POST", "{}");
        assert_int_equal(test->result, STATUS_INVALID);
    }
    finish(test);
}

/* --- the n-th allocation fails --- */

static _Atomic int fail_at; /* counts down; 0: never */
void *__real_memory_allocate_array(size_t count, size_t item_bytes);
void *__wrap_memory_allocate_array(size_t count, size_t item_bytes);
void *__wrap_memory_allocate_array(size_t count, size_t item_bytes)
{
    int left = atomic_load(&fail_at);
    if (left > 0 && atomic_fetch_sub(&fail_at, 1) == 1)
        return NULL;
    return __real_memory_allocate_array(count, item_bytes);
}

static void memory_that_runs_out_ends_the_exchange_with_a_status(void **state)
{
    (void)state;
    static const struct answer script[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, true, false},
        {NULL, 0, false, false}};
    struct exchange_test *test = with_script(script);
    for (int n = 1; n < 10; n++) {
        again(test);
        atomic_store(&fail_at, n);
        exchange_with(test, "POST", "{}");
        bool has_failed = atomic_exchange(&fail_at, 0) == 0;
        assert_int_equal(test->result, has_failed ? STATUS_NO_MEMORY : STATUS_OK);
        if (!has_failed)
            break;
        assert_true(n < 5);
    }
    finish(test);
}

static int start_server(void **state)
{
    (void)state;
    const struct http_server_options options = {.loop_count = 1,
                                                .limits = {.idle_timeout_ns = 60 * NS_PER_SECOND}};
    if (http_server_create(&options, &server, NULL) != STATUS_OK)
        return -1;
    return http_server_start(server, NULL, NULL) == STATUS_OK ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    http_server_destroy(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_all_framings_are_read_in_any_pieces),
        cmocka_unit_test(a_kept_connection_that_was_closed_is_replaced_once),
        cmocka_unit_test(a_fresh_connection_that_hangs_up_is_not_tried_again),
        cmocka_unit_test(an_answer_that_breaks_off_is_closed_and_not_tried_again),
        cmocka_unit_test(what_is_not_http_is_invalid),
        cmocka_unit_test(a_head_without_end_is_cut_at_its_limit),
        cmocka_unit_test(silence_is_a_timeout_in_each_phase),
        cmocka_unit_test(a_refused_connection_is_closed),
        cmocka_unit_test(callbacks_may_cancel_and_pause),
        cmocka_unit_test(a_paused_exchange_does_not_time_out_and_goes_on),
        cmocka_unit_test(a_large_body_is_sent_whole),
        cmocka_unit_test(headers_that_would_split_a_request_are_refused),
        cmocka_unit_test(memory_that_runs_out_ends_the_exchange_with_a_status),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
