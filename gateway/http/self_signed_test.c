/* A server with a certificate of its own making, and clients that know its key: ours, and libcurl's. */
#include "unit_test.h"

#include <semaphore.h>
#include <stdlib.h>

#include "check.h"
#include "clock.h"
#include "http_client.h"
#include "http_fetch.h"

#define SECRET     "s3cret"
#define TIMEOUT_NS (20 * NS_PER_SECOND)

static http_server *server;
static http_self_signed *identity;
static char address[HTTP_ADDRESS_TEXT_BYTES];

static void answer(http_request *request, void *context)
{
    struct text_slice secret = http_request_header(request, "x-secret");
    bool is_known = secret.data != NULL && text_slice_is(secret, SECRET);

    (void)context;
    assert_true(http_request_is_tls(request));
    http_reply(request, is_known ? 200 : 403, NULL, 0, "text/plain", http_request_body(request));
}

static const struct http_limits limits = {.body_bytes_max = 1u << 20,
                                          .buffered_bytes_max = 1u << 24,
                                          .upload_bytes_max = 1u << 20,
                                          .header_bytes_max = 1u << 15,
                                          .header_count_max = 64,
                                          .streams_per_second_max = 100,
                                          .stream_burst_max = 1000,
                                          .header_timeout_ns = TIMEOUT_NS,
                                          .body_timeout_ns = TIMEOUT_NS,
                                          .idle_timeout_ns = TIMEOUT_NS,
                                          .write_timeout_ns = TIMEOUT_NS,
                                          .response_buffer_bytes_max = 1u << 20};

static int start(void **state)
{
    struct error_note note = {""};
    int descriptor;

    (void)state;
    assert_int_equal(http_self_signed_create(&identity, &note), STATUS_OK);
    assert_int_equal(http_socket_open("127.0.0.1:0", &descriptor, address, &note), STATUS_OK);
    const struct http_listener_options listener = {.address = address,
                                                   .descriptors = &descriptor,
                                                   .descriptor_count = 1,
                                                   .identity = identity,
                                                   .handler = answer};
    const struct http_server_options options = {
        .loop_count = 2, .limits = limits, .listeners = &listener, .listener_count = 1};
    assert_int_equal(http_server_create(&options, &server, &note), STATUS_OK);
    assert_int_equal(http_server_start(server, NULL, NULL), STATUS_OK);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    http_server_stop(server);
    http_server_destroy(server);
    http_self_signed_destroy(identity);
    return 0;
}

static const struct http_header secret = {{"x-secret", sizeof("x-secret") - 1},
                                          {SECRET, sizeof(SECRET) - 1}};

/* --- pins --- */

static void a_pin_is_one_text_for_one_hash(void **state)
{
    unsigned char hash[HTTP_PIN_BYTES];
    char text[HTTP_PIN_TEXT_BYTES + 1];

    (void)state;
    assert_true(http_pin_read(http_self_signed_pin(identity), hash));
    assert_false(http_pin_read("", hash));
    assert_false(http_pin_read("sha256//", hash));
    (void)snprintf(text, sizeof(text), "%s=", http_self_signed_pin(identity));
    assert_false(http_pin_read(text, hash));
    (void)snprintf(text, sizeof(text), "%s", http_self_signed_pin(identity));
    text[0] = 'S';
    assert_false(http_pin_read(text, hash));
    text[0] = 's';
    text[20] = '!';
    assert_false(http_pin_read(text, hash));
    /* The last digit has two bits that the hash has not: they are 0, and the digits with 1 come next. */
    (void)snprintf(text, sizeof(text), "%s", http_self_signed_pin(identity));
    text[50]++;
    assert_false(http_pin_read(text, hash));
}

static void two_identities_have_two_pins(void **state)
{
    http_self_signed *other;

    (void)state;
    assert_int_equal(http_self_signed_create(&other, NULL), STATUS_OK);
    assert_string_not_equal(http_self_signed_pin(identity), http_self_signed_pin(other));
    http_self_signed_destroy(other);
}

/* --- who waits for answers --- */

static int fetch_with(const char *pin, status *result)
{
    http_remote *remote = NULL;
    struct error_note note = {""};
    struct http_fetch fetch = {.body = text_slice_of("\"x\""), .timeout_ns = TIMEOUT_NS};
    struct buffer body;
    int code = 0;

    assert_int_equal(http_remote_create_pinned(address, pin, &secret, &remote, &note), STATUS_OK);
    buffer_init(&body, 1024);
    *result = http_remote_fetch(remote, "/", &fetch, &code, &body, &note);
    if (*result == STATUS_OK)
        assert_true(text_slice_is(buffer_slice(&body), "\"x\""));
    buffer_deinit(&body);
    http_remote_destroy(remote);
    return code;
}

static void a_server_is_known_by_its_key(void **state)
{
    status result;

    (void)state;
    assert_int_equal(fetch_with(http_self_signed_pin(identity), &result), 200);
    assert_int_equal(result, STATUS_OK);
}

static void a_server_with_another_key_hears_nothing(void **state)
{
    http_self_signed *other;
    status result;

    (void)state;
    assert_int_equal(http_self_signed_create(&other, NULL), STATUS_OK);
    assert_int_equal(fetch_with(http_self_signed_pin(other), &result), 0);
    assert_int_equal(result, STATUS_DENIED);
    http_self_signed_destroy(other);
}

static void a_remote_needs_an_address_a_pin_and_a_header(void **state)
{
    const char *pin = http_self_signed_pin(identity);
    struct http_header broken = {text_slice_of("x-secret"), text_slice_of("a\r\nb")};
    struct error_note note = {""};
    http_remote *remote = NULL;

    (void)state;
    assert_int_equal(http_remote_create_pinned("localhost:1", pin, &secret, &remote, &note),
                     STATUS_INVALID);
    assert_int_equal(http_remote_create_pinned("unix:/x", pin, &secret, &remote, &note),
                     STATUS_INVALID);
    assert_int_equal(http_remote_create_pinned("127.0.0.1:0", pin, &secret, &remote, &note),
                     STATUS_INVALID);
    assert_int_equal(http_remote_create_pinned("127.0.0.1:1", "sha256//x", &secret, &remote, &note),
                     STATUS_INVALID);
    assert_int_equal(http_remote_create_pinned("127.0.0.1:1", pin, &broken, &remote, &note),
                     STATUS_INVALID);
    assert_null(remote);
}

/* --- loops --- */

struct turn { /* carries an exchange to the loop, and back */
    struct http_message message;
    http_remote *remote;
    http_target *target;
    http_exchange *exchange;
    sem_t done;
    unsigned left; /* exchanges to go, one after the other */
    status result;
    int code;
};

static void on_head(http_exchange *exchange, int code, const struct http_header *headers,
                    size_t count, void *context)
{
    (void)exchange, (void)headers, (void)count;
    ((struct turn *)context)->code = code;
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    (void)exchange, (void)bytes, (void)context;
}

static void exchange_start(struct turn *turn);

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct turn *turn = context;

    (void)exchange, (void)any_byte;
    turn->result = result;
    if (result == STATUS_OK && --turn->left > 0)
        exchange_start(turn);
    else
        (void)sem_post(&turn->done);
}

static void exchange_start(struct turn *turn)
{
    const struct http_exchange_options options = {.method = "POST",
                                                  .path = "/",
                                                  .body = text_slice_of("\"x\""),
                                                  .connect_timeout_ns = TIMEOUT_NS,
                                                  .first_byte_timeout_ns = TIMEOUT_NS,
                                                  .idle_timeout_ns = TIMEOUT_NS,
                                                  .callbacks = {on_head, on_body, on_end},
                                                  .context = turn};

    assert_int_equal(http_exchange_start(turn->target, &options, &turn->exchange), STATUS_OK);
}

static void turn_begin(struct http_message *message, http_loop *loop)
{
    struct turn *turn = CONTAINER_OF(message, struct turn, message);

    assert_int_equal(http_target_create_remote(loop, turn->remote, 4, &turn->target), STATUS_OK);
    exchange_start(turn);
}

static void turn_end(struct http_message *message, http_loop *loop)
{
    struct turn *turn = CONTAINER_OF(message, struct turn, message);

    (void)loop;
    http_target_destroy(turn->target);
    (void)sem_post(&turn->done);
}

static void turn_run(struct turn *turn, void (*run)(struct http_message *, http_loop *))
{
    turn->message.run = run;
    http_loop_send(http_server_loop(server, 0), &turn->message);
    while (sem_wait(&turn->done) != 0)
        continue;
}

static void turn_with(const char *pin, unsigned count, struct turn *turn)
{
    *turn = (struct turn){.left = count};
    assert_int_equal(sem_init(&turn->done, 0, 0), 0);
    assert_int_equal(http_remote_create_pinned(address, pin, &secret, &turn->remote, NULL),
                     STATUS_OK);
    turn_run(turn, turn_begin);
    turn_run(turn, turn_end);
    http_remote_destroy(turn->remote);
    (void)sem_destroy(&turn->done);
}

static void a_loop_reaches_it_over_a_kept_connection(void **state)
{
    struct turn turn;

    (void)state;
    turn_with(http_self_signed_pin(identity), 20, &turn);
    assert_int_equal(turn.result, STATUS_OK);
    assert_int_equal(turn.code, 200);
}

static void a_loop_sends_nothing_to_another_key(void **state)
{
    http_self_signed *other;
    struct turn turn;

    (void)state;
    assert_int_equal(http_self_signed_create(&other, NULL), STATUS_OK);
    turn_with(http_self_signed_pin(other), 1, &turn);
    assert_int_equal(turn.result, STATUS_CLOSED);
    assert_int_equal(turn.code, 0);
    http_self_signed_destroy(other);
}

/* --- addresses --- */

static void the_way_to_this_machine_is_loopback(void **state)
{
    char text[HTTP_ADDRESS_TEXT_BYTES];
    struct error_note note = {""};

    (void)state;
    assert_int_equal(http_address_towards("127.0.0.1", text, &note), STATUS_OK);
    assert_string_equal(text, "127.0.0.1");
    assert_int_equal(http_address_towards("no such name", text, &note), STATUS_NOT_FOUND);
    assert_non_null(strstr(note.text, "no such name"));
}

static void a_port_in_use_is_told(void **state)
{
    char text[HTTP_ADDRESS_TEXT_BYTES];
    struct error_note note = {""};
    int descriptor;

    (void)state;
    assert_int_equal(http_socket_open(address, &descriptor, text, &note), STATUS_IO);
    assert_int_equal(descriptor, -1);
    assert_non_null(strstr(note.text, "cannot listen"));
    assert_int_equal(http_socket_open("unix:/tmp/x", &descriptor, text, &note), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pin_is_one_text_for_one_hash),
        cmocka_unit_test(two_identities_have_two_pins),
        cmocka_unit_test(a_server_is_known_by_its_key),
        cmocka_unit_test(a_server_with_another_key_hears_nothing),
        cmocka_unit_test(a_remote_needs_an_address_a_pin_and_a_header),
        cmocka_unit_test(a_loop_reaches_it_over_a_kept_connection),
        cmocka_unit_test(a_loop_sends_nothing_to_another_key),
        cmocka_unit_test(the_way_to_this_machine_is_loopback),
        cmocka_unit_test(a_port_in_use_is_told),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
