/* Registering and reporting, against the real listener; and what loops send to who has registered. */
#include "unit_test.h"

#include <semaphore.h>

#include "http_client.h"
#include "http_fetch.h"
#include "join_world.h"
#include "json.h"

#define TIMEOUT_NS (30 * NS_PER_SECOND)
#define CONFIG(more)                                                                               \
    "pool: {listen: '127.0.0.1:0'}\n" more "models:\n  - {name: m, path: there.gguf}\n"
#define UID 77u

static struct join_world world;

/* --- a replica, as far as it speaks --- */

struct order { /* what its environment says */
    char text[1024];
    const char *url, *pin, *token, *timeout;
};

static const char *variable(const struct order *order, size_t bytes, const char *name)
{
    for (size_t at = 0; at < bytes; at += strlen(order->text + at) + 1) {
        const char *text = order->text + at;

        if (strncmp(text, name, strlen(name)) == 0 && text[strlen(name)] == '=')
            return text + strlen(name) + 1;
    }
    return NULL;
}

static void order_make(uint32_t slot, uint64_t uid, struct order *out)
{
    struct buffer environment;

    buffer_init(&environment, sizeof(out->text));
    assert_int_equal(join_order(&world.edge, &world.slots[slot], uid, &environment), STATUS_OK);
    memcpy(out->text, environment.data, environment.bytes);
    out->url = variable(out, environment.bytes, JOIN_URL_VARIABLE);
    out->pin = variable(out, environment.bytes, JOIN_PIN_VARIABLE);
    out->token = variable(out, environment.bytes, JOIN_TOKEN_VARIABLE);
    out->timeout = variable(out, environment.bytes, JOIN_TIMEOUT_VARIABLE);
    assert_non_null(out->url);
    assert_non_null(out->pin);
    assert_non_null(out->token);
    assert_non_null(out->timeout);
    buffer_deinit(&environment);
}

/* The answer's code; its text in `answer`. */
static int post(const struct order *order, const char *path, const char *session,
                struct text_slice body, struct buffer *answer)
{
    const struct http_header header = {text_slice_of(JOIN_SESSION_HEADER), text_slice_of(session)};
    struct http_fetch fetch = {.headers = &header,
                               .header_count = session != NULL ? 1 : 0,
                               .body = body,
                               .public_key_pin = order->pin,
                               .timeout_ns = TIMEOUT_NS};
    struct error_note note = {""};
    char url[256];
    int code = 0;

    (void)snprintf(url, sizeof(url), "%s%s", order->url, path);
    fetch.url = url;
    if (http_fetch(&fetch, &code, answer, &note) != STATUS_OK)
        fail_msg("%s: %s", path, note.text);
    return code;
}

/* The code; a session where that is 200. */
static int join_with(const struct order *order, const char *token, int protocol,
                     const char *address, const char *pin, char session[JOIN_KEY_BYTES])
{
    char body[1024];
    struct buffer answer;
    json_t *object;
    int code;

    (void)snprintf(body, sizeof(body),
                   "{\"protocol\":%d,\"version\":\"1\",\"token\":\"%s\",\"pin\":\"%s\","
                   "\"address\":\"%s\"}",
                   protocol, token, pin, address);
    buffer_init(&answer, 1u << 20);
    code = post(order, JOIN_PATH, NULL, text_slice_of(body), &answer);
    object = json_loadb(answer.data, answer.bytes, 0, NULL);
    assert_non_null(object);
    if (code == 200) {
        assert_string_equal(json_string_value(json_object_get(object, "model")), "m");
        assert_non_null(strstr(json_string_value(json_object_get(object, "text")), "there.gguf"));
        assert_non_null(strstr(json_string_value(json_object_get(object, "file")), "/config.yaml"));
        (void)snprintf(session, JOIN_KEY_BYTES, "%s",
                       json_string_value(json_object_get(object, "session")));
    } else {
        assert_non_null(json_string_value(json_object_get(object, "error")));
    }
    json_decref(object);
    buffer_deinit(&answer);
    return code;
}

static int join(const struct order *order, const char *address, const http_self_signed *identity,
                char session[JOIN_KEY_BYTES])
{
    return join_with(order, order->token, JOIN_PROTOCOL, address, http_self_signed_pin(identity),
                     session);
}

static int beat_send(const struct order *order, const char *session, const struct heartbeat *beat,
                     uint64_t *config)
{
    struct buffer body, answer;
    json_t *object;
    int code;

    buffer_init(&body, heartbeat_bytes_max());
    buffer_init(&answer, 4096);
    heartbeat_write(beat, clock_now_ns(), &body);
    code = post(order, JOIN_BEAT_PATH, session, buffer_slice(&body), &answer);
    object = json_loadb(answer.data, answer.bytes, 0, NULL);
    if (config != NULL)
        *config = (uint64_t)json_integer_value(json_object_get(object, "config"));
    json_decref(object);
    buffer_deinit(&body);
    buffer_deinit(&answer);
    return code;
}

static const uint64_t name = 4711;

static struct heartbeat ready(uint64_t number)
{
    struct heartbeat beat = {.number = number,
                             .phase = HEARTBEAT_READY,
                             .is_afresh = number == 1,
                             .has_state = true,
                             .context_max = 4096,
                             .capabilities = 3,
                             .came = (const char *)&name,
                             .came_count = 1,
                             .gone = "",
                             .reason = {"", 0}};

    beat.state.running = 5;
    beat.state.last_step_ns = clock_now_ns();
    return beat;
}

static http_self_signed *identity_make(void)
{
    http_self_signed *identity = NULL;

    assert_int_equal(http_self_signed_create(&identity, NULL), STATUS_OK);
    return identity;
}

/* --- registering --- */

static void a_replica_registers_and_its_reports_are_its_page(void **state)
{
    http_self_signed *identity = identity_make();
    char session[JOIN_KEY_BYTES];
    struct shared_page_state page;
    struct join_facts facts;
    struct order order;
    struct heartbeat beat = ready(1);
    uint64_t config = 1;

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(1, UID, &order);
    assert_string_equal(order.timeout, "300");
    assert_true(atomic_load(&world.slots[1].link) == 0);
    assert_null(join_link(&world.edge, &world.slots[1]));
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    assert_true(atomic_load(&world.slots[1].link) != 0);
    assert_true(atomic_load(&world.slots[0].link) == 0);
    join_facts_get(&world.edge, &world.slots[1], &facts);
    assert_string_equal(facts.address, "127.0.0.1:9");
    beat.phase = HEARTBEAT_STARTING;
    beat.has_state = false;
    assert_int_equal(beat_send(&order, session, &beat, &config), 200);
    assert_int_equal(config, 0);
    assert_int_equal(atomic_load(&world.not_ready[1]), 1);
    assert_true(atomic_load(&world.event_uid[1]) == UID);
    assert_false(shared_page_read(world.slots[1].page, &page));
    beat = ready(2);
    assert_int_equal(beat_send(&order, session, &beat, NULL), 200);
    assert_int_equal(atomic_load(&world.answered[1]), 1);
    assert_true(shared_page_read(world.slots[1].page, &page));
    assert_int_equal(page.running, 5);
    assert_true(shared_page_has(world.slots[1].page, name));
    assert_int_equal(atomic_load(&world.model.context_max), 4096);
    assert_int_equal(atomic_load(&world.model.capabilities), 3);
    /* One that was overtaken says nothing any more. */
    beat.state.running = 9;
    assert_int_equal(beat_send(&order, session, &beat, NULL), 200);
    assert_int_equal(atomic_load(&world.answered[1]), 1);
    assert_true(shared_page_read(world.slots[1].page, &page));
    assert_int_equal(page.running, 5);
    world_close(&world);
    http_self_signed_destroy(identity);
}

static void a_token_is_good_once(void **state)
{
    http_self_signed *identity = identity_make();
    char session[JOIN_KEY_BYTES], other[JOIN_KEY_BYTES], guess[JOIN_KEY_BYTES];
    struct order order, second;

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(0, UID, &order);
    (void)snprintf(guess, sizeof(guess), "%s", order.token);
    guess[strlen(guess) - 1] = guess[strlen(guess) - 1] == '0' ? '1' : '0';
    const char *pin = http_self_signed_pin(identity);
    assert_int_equal(join_with(&order, guess, JOIN_PROTOCOL, "127.0.0.1:9", pin, other), 403);
    assert_int_equal(join_with(&order, "", JOIN_PROTOCOL, "127.0.0.1:9", pin, other), 403);
    assert_int_equal(join_with(&order, "ffffffff-00", JOIN_PROTOCOL, "127.0.0.1:9", pin, other),
                     403);
    /* One that cannot be served keeps its token: somebody mends it. */
    assert_int_equal(join_with(&order, order.token, JOIN_PROTOCOL + 1, "127.0.0.1:9", pin, other),
                     409);
    assert_int_equal(join_with(&order, order.token, JOIN_PROTOCOL, "somewhere", pin, other), 400);
    assert_int_equal(join_with(&order, order.token, JOIN_PROTOCOL, "127.0.0.1:9", "", other), 400);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, other), 403);
    /* A new order makes the one before nobody's, before it was used and after. */
    order_make(0, UID + 1, &second);
    order_make(0, UID + 2, &order);
    assert_int_equal(join(&second, "127.0.0.1:9", identity, other), 403);
    struct heartbeat beat = ready(1);
    assert_int_equal(beat_send(&order, session, &beat, NULL), 403);
    assert_int_equal(beat_send(&order, order.token, &beat, NULL), 403);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    world_close(&world);
    http_self_signed_destroy(identity);
}

static void a_token_is_good_for_as_long_as_a_start_may_take(void **state)
{
    http_self_signed *identity = identity_make();
    char session[JOIN_KEY_BYTES];
    struct order order;
    uint64_t late_ns;

    (void)state;
    world_open(&world, CONFIG("supervise: {start_timeout: 100ms}\n"));
    order_make(0, UID, &order);
    assert_string_equal(order.timeout, "1");
    late_ns = clock_now_ns() + 101 * NS_PER_MS;
    while (clock_now_ns() < late_ns)
        (void)usleep(1000);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 403);
    world_close(&world);
    http_self_signed_destroy(identity);
}

static void who_is_forgotten_is_not_heard(void **state)
{
    http_self_signed *identity = identity_make();
    char session[JOIN_KEY_BYTES];
    struct shared_page_state page;
    struct heartbeat beat = ready(1);
    struct replica_link *link;
    struct order order;

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(0, UID, &order);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    assert_int_equal(beat_send(&order, session, &beat, NULL), 200);
    link = join_link(&world.edge, &world.slots[0]);
    assert_non_null(link);
    join_forget(&world.edge, &world.slots[0], UID + 1); /* somebody else */
    assert_true(atomic_load(&world.slots[0].link) == link->number);
    join_forget(&world.edge, &world.slots[0], UID);
    assert_true(atomic_load(&world.slots[0].link) == 0);
    assert_null(join_link(&world.edge, &world.slots[0]));
    assert_int_equal(beat_send(&order, session, &beat, NULL), 403);
    assert_false(shared_page_read(world.slots[0].page, &page));
    assert_false(shared_page_has(world.slots[0].page, name));
    replica_link_release(link);
    world_close(&world);
    http_self_signed_destroy(identity);
}

static void why_a_replica_failed_is_kept(void **state)
{
    http_self_signed *identity = identity_make();
    char session[JOIN_KEY_BYTES];
    struct heartbeat beat = ready(1);
    struct join_facts facts;
    struct order order;

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(0, UID, &order);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    beat.phase = HEARTBEAT_FAILED;
    beat.reason = text_slice_of("there is no such file");
    assert_int_equal(beat_send(&order, session, &beat, NULL), 200);
    assert_int_equal(atomic_load(&world.not_ready[0]), 1);
    join_forget(&world.edge, &world.slots[0], UID);
    order_make(0, UID + 1, &order);
    join_facts_get(&world.edge, &world.slots[0], &facts);
    assert_string_equal(facts.reason, "there is no such file");
    assert_string_equal(facts.address, "");
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    join_facts_get(&world.edge, &world.slots[0], &facts);
    assert_string_equal(facts.reason, "");
    world_close(&world);
    http_self_signed_destroy(identity);
}

static void a_new_config_is_spoken_of_and_read(void **state)
{
    http_self_signed *identity = identity_make();
    char session[JOIN_KEY_BYTES];
    struct heartbeat beat = ready(1);
    struct buffer answer;
    struct order order;
    uint64_t config = 9;

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(0, UID, &order);
    assert_int_equal(join(&order, "127.0.0.1:9", identity, session), 200);
    assert_int_equal(join_set_config(world.edge.join, text_slice_of("a: \"new\"\n"), false),
                     STATUS_OK);
    assert_int_equal(beat_send(&order, session, &beat, &config), 200);
    assert_int_equal(config, 0);
    assert_int_equal(join_set_config(world.edge.join, text_slice_of("b: new\n"), true), STATUS_OK);
    beat.number++;
    assert_int_equal(beat_send(&order, session, &beat, &config), 200);
    assert_int_equal(config, 1);
    buffer_init(&answer, 4096);
    assert_int_equal(post(&order, JOIN_TEXT_PATH, session, (struct text_slice){NULL, 0}, &answer),
                     200);
    assert_true(text_slice_is(buffer_slice(&answer), "{\"config\":1,\"text\":\"b: new\\n\"}"));
    buffer_clear(&answer);
    assert_int_equal(post(&order, JOIN_TEXT_PATH, NULL, (struct text_slice){NULL, 0}, &answer),
                     403);
    buffer_deinit(&answer);
    world_close(&world);
    http_self_signed_destroy(identity);
}

static void what_is_no_request_of_a_replica_is_refused(void **state)
{
    struct order order, plain;
    struct buffer answer;
    char url[256];

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(0, UID, &order);
    buffer_init(&answer, 4096);
    assert_int_equal(post(&order, JOIN_PATH, NULL, text_slice_of("[]"), &answer), 400);
    assert_int_equal(post(&order, JOIN_PATH, NULL, text_slice_of("{\"token\":7}"), &answer), 400);
    assert_int_equal(post(&order, JOIN_BEAT_PATH, order.token, text_slice_of("beat"), &answer),
                     400);
    assert_int_equal(post(&order, "/v1/models", NULL, text_slice_of("{}"), &answer), 404);
    /* A secret that is said without TLS is none any more: nobody should. */
    plain = order;
    (void)snprintf(url, sizeof(url), "http%s", order.url + strlen("https"));
    plain.url = url;
    plain.pin = NULL;
    assert_int_equal(post(&plain, JOIN_PATH, NULL, text_slice_of("{}"), &answer), 403);
    buffer_deinit(&answer);
    world_close(&world);
}

static void where_replicas_register_is_told_as_configured(void **state)
{
    struct order order;

    (void)state;
    world_open(&world, "pool: {listen: '127.0.0.1:0', advertise: gateway.example}\n"
                       "models:\n  - {name: m, path: there.gguf}\n");
    order_make(0, UID, &order);
    assert_non_null(strstr(order.url, "https://gateway.example:"));
    assert_null(strstr(order.url, ":0"));
    world_close(&world);
    world_open(&world, "pool: {listen: '127.0.0.1:0', advertise: 'gateway.example:443'}\n"
                       "models:\n  - {name: m, path: there.gguf}\n");
    order_make(0, UID, &order);
    assert_string_equal(order.url, "https://gateway.example:443");
    world_close(&world);
}

static void without_a_listener_there_are_no_such_replicas(void **state)
{
    struct edge edge = {0};
    struct edge_replica replica = {0};
    struct join_facts facts;
    struct buffer environment;

    (void)state;
    buffer_init(&environment, 64);
    assert_int_equal(join_order(&edge, &replica, UID, &environment), STATUS_UNSUPPORTED);
    join_forget(&edge, &replica, UID);
    assert_null(join_link(&edge, &replica));
    join_facts_get(&edge, &replica, &facts);
    assert_string_equal(facts.address, "");
    assert_int_equal(join_set_config(NULL, text_slice_of(""), true), STATUS_OK);
    assert_int_equal(join_start(NULL, NULL), STATUS_OK);
    join_stop(NULL);
    join_close(NULL);
}

/* --- what loops send --- */

/* The other end: answers whoever shows the session, but keeps requests to /held. */
struct far_replica {
    http_server *server;
    http_self_signed *identity;
    char address[HTTP_ADDRESS_TEXT_BYTES], session[JOIN_KEY_BYTES];
    _Atomic uint32_t held;
};

static void far_answer(http_request *request, void *context)
{
    struct far_replica *far = context;
    bool is_known = text_slice_is(http_request_header(request, JOIN_SESSION_HEADER), far->session);

    if (text_slice_is(http_request_path(request), "/held")) {
        atomic_fetch_add(&far->held, 1);
        http_stream_start(request, 200, NULL, 0, "text/plain");
        return;
    }
    http_reply(request, is_known ? 200 : 401, NULL, 0, "text/plain", text_slice_of("far"));
}

static void far_open(struct far_replica *far, const struct order *order)
{
    struct error_note note = {""};
    int descriptor;

    *far = (struct far_replica){.identity = identity_make()};
    assert_int_equal(http_socket_open("127.0.0.1:0", &descriptor, far->address, &note), STATUS_OK);
    const struct http_listener_options listener = {.address = far->address,
                                                   .descriptors = &descriptor,
                                                   .descriptor_count = 1,
                                                   .identity = far->identity,
                                                   .handler = far_answer,
                                                   .context = far};
    const struct http_server_options options = {
        .loop_count = 1,
        .limits = config_http_limits(world.edge.configs.first->config),
        .listeners = &listener,
        .listener_count = 1};
    assert_int_equal(http_server_create(&options, &far->server, &note), STATUS_OK);
    assert_int_equal(http_server_start(far->server, NULL, NULL), STATUS_OK);
    assert_int_equal(join(order, far->address, far->identity, far->session), 200);
}

static void far_close(struct far_replica *far)
{
    http_server_destroy(far->server);
    http_self_signed_destroy(far->identity);
}

struct sending {
    struct http_message message;
    const char *path;
    uint32_t slot;
    http_exchange *exchange;
    sem_t done;
    status result;
    int code;
};

static void on_head(http_exchange *exchange, int code, const struct http_header *headers,
                    size_t count, void *context)
{
    (void)exchange, (void)headers, (void)count;
    ((struct sending *)context)->code = code;
}

static void on_body(http_exchange *exchange, struct text_slice bytes, void *context)
{
    (void)exchange, (void)bytes, (void)context;
}

static void on_end(http_exchange *exchange, status result, bool any_byte, void *context)
{
    struct sending *sending = context;

    (void)exchange, (void)any_byte;
    sending->result = result;
    (void)sem_post(&sending->done);
}

static void sending_run(struct http_message *message, http_loop *loop)
{
    struct sending *sending = CONTAINER_OF(message, struct sending, message);
    struct edge_loop *state = http_loop_get(loop, EDGE_LOOP_SLOT);
    const struct http_exchange_options options = {.method = "GET",
                                                  .path = sending->path,
                                                  .connect_timeout_ns = TIMEOUT_NS,
                                                  .first_byte_timeout_ns = TIMEOUT_NS,
                                                  .idle_timeout_ns = TIMEOUT_NS,
                                                  .callbacks = {on_head, on_body, on_end},
                                                  .context = sending};

    assert_int_equal(http_exchange_start(targets_get(state, &world.slots[sending->slot]), &options,
                                         &sending->exchange),
                     STATUS_OK);
}

static void sending_begin(struct sending *sending, uint32_t slot, const char *path)
{
    *sending = (struct sending){.message.run = sending_run, .slot = slot, .path = path};
    assert_int_equal(sem_init(&sending->done, 0, 0), 0);
    http_loop_send(http_server_loop(world.edge.server, 0), &sending->message);
}

static status sending_end(struct sending *sending)
{
    while (sem_wait(&sending->done) != 0)
        continue;
    (void)sem_destroy(&sending->done);
    return sending->result;
}

static void requests_go_to_who_has_the_slot_now(void **state)
{
    struct far_replica first, second;
    struct sending sending;
    struct order order;

    (void)state;
    world_open(&world, CONFIG(""));
    sending_begin(&sending, 0, "/"); /* nobody is there */
    assert_int_equal(sending_end(&sending), STATUS_CLOSED);
    order_make(0, UID, &order);
    far_open(&first, &order);
    for (int i = 0; i < 3; i++) {
        sending_begin(&sending, 0, "/");
        assert_int_equal(sending_end(&sending), STATUS_OK);
        assert_int_equal(sending.code, 200);
    }
    order_make(0, UID + 1, &order);
    sending_begin(&sending, 0, "/"); /* not to the one before, though it still answers */
    assert_int_equal(sending_end(&sending), STATUS_CLOSED);
    far_open(&second, &order);
    sending_begin(&sending, 0, "/");
    assert_int_equal(sending_end(&sending), STATUS_OK);
    assert_int_equal(sending.code, 200);
    world_close(&world);
    far_close(&first);
    far_close(&second);
}

static void what_is_on_its_way_to_who_is_forgotten_ends(void **state)
{
    struct far_replica far;
    struct sending sendings[2];
    struct order order;

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(0, UID, &order);
    far_open(&far, &order);
    for (int i = 0; i < 2; i++)
        sending_begin(&sendings[i], 0, "/held");
    while (atomic_load(&far.held) < 2)
        (void)usleep(1000);
    join_forget(&world.edge, &world.slots[0], UID);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sending_end(&sendings[i]), STATUS_CLOSED);
    world_close(&world);
    far_close(&far);
}

static void a_stranger_at_the_address_hears_nothing(void **state)
{
    struct far_replica far, stranger;
    struct sending sending;
    struct order order;
    char session[JOIN_KEY_BYTES];

    (void)state;
    world_open(&world, CONFIG(""));
    order_make(1, UID, &order);
    far_open(&stranger, &order);
    order_make(0, UID + 1, &order);
    far = (struct far_replica){.identity = identity_make()};
    /* Its address is another one's, who has another key. */
    assert_int_equal(join(&order, stranger.address, far.identity, session), 200);
    sending_begin(&sending, 0, "/");
    assert_int_equal(sending_end(&sending), STATUS_CLOSED);
    world_close(&world);
    far_close(&stranger);
    http_self_signed_destroy(far.identity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_registers_and_its_reports_are_its_page),
        cmocka_unit_test(a_token_is_good_once),
        cmocka_unit_test(a_token_is_good_for_as_long_as_a_start_may_take),
        cmocka_unit_test(who_is_forgotten_is_not_heard),
        cmocka_unit_test(why_a_replica_failed_is_kept),
        cmocka_unit_test(a_new_config_is_spoken_of_and_read),
        cmocka_unit_test(what_is_no_request_of_a_replica_is_refused),
        cmocka_unit_test(where_replicas_register_is_told_as_configured),
        cmocka_unit_test(without_a_listener_there_are_no_such_replicas),
        cmocka_unit_test(requests_go_to_who_has_the_slot_now),
        cmocka_unit_test(what_is_on_its_way_to_who_is_forgotten_ends),
        cmocka_unit_test(a_stranger_at_the_address_hears_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
