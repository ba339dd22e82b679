#include "unit_test.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover.h"

struct pair {
    int old, new;
    struct handover_message message;
    int descriptors[HANDOVER_DESCRIPTORS_MAX];
    uint32_t count;
};

static int setup(void **state)
{
    static struct pair pair;
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
        return -1;
    pair = (struct pair){.old = sockets[0], .new = sockets[1]};
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;

    if (pair->old >= 0)
        close(pair->old);
    close(pair->new);
    return 0;
}

static void a_message_comes_with_its_descriptors(void **state)
{
    struct pair *pair = *state;
    struct handover_message sent = {.kind = HANDOVER_LISTENER, .numbers = {1, 2, 3, 4}};
    int pipes[2];
    char text[4];

    assert_int_equal(pipe(pipes), 0);
    memcpy(sent.texts[0], "127.0.0.1:8080", sizeof("127.0.0.1:8080"));
    memset(sent.texts[2], 'x', HANDOVER_TEXT_BYTES - 1);
    assert_int_equal(handover_send(pair->old, &sent, pipes, 2), STATUS_OK);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(
        handover_receive(pair->new, 1000, &pair->message, pair->descriptors, &pair->count),
        STATUS_OK);
    assert_memory_equal(&sent, &pair->message, sizeof(sent));
    assert_int_equal(pair->count, 2);
    assert_int_equal(write(pair->descriptors[1], "abc", 4), 4);
    assert_int_equal(read(pair->descriptors[0], text, 4), 4);
    assert_string_equal(text, "abc");
    close(pair->descriptors[0]);
    close(pair->descriptors[1]);
}

static void as_many_descriptors_as_fit_come_and_none_is_left_open(void **state)
{
    struct pair *pair = *state;
    struct handover_message sent = {.kind = HANDOVER_REPLICA};
    int many[HANDOVER_DESCRIPTORS_MAX], before = dup(0);

    for (uint32_t i = 0; i < HANDOVER_DESCRIPTORS_MAX; i++)
        many[i] = 0;
    close(before);
    assert_int_equal(handover_send(pair->old, &sent, many, HANDOVER_DESCRIPTORS_MAX), STATUS_OK);
    assert_int_equal(
        handover_receive(pair->new, 1000, &pair->message, pair->descriptors, &pair->count),
        STATUS_OK);
    assert_int_equal(pair->count, HANDOVER_DESCRIPTORS_MAX);
    for (uint32_t i = 0; i < HANDOVER_DESCRIPTORS_MAX; i++)
        close(pair->descriptors[i]);
    /* Where none are expected, those that come are closed. */
    assert_int_equal(handover_send(pair->old, &sent, many, HANDOVER_DESCRIPTORS_MAX), STATUS_OK);
    assert_int_equal(handover_receive(pair->new, 1000, &pair->message, NULL, NULL), STATUS_OK);
    assert_int_equal(dup(0), before);
    close(before);
}

static void nothing_yet_and_never_again_are_told_apart(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(handover_receive(pair->new, 0, &pair->message, NULL, NULL), STATUS_AGAIN);
    close(pair->old);
    pair->old = -1;
    assert_int_equal(handover_receive(pair->new, 0, &pair->message, NULL, NULL), STATUS_IO);
    assert_int_equal(
        handover_send(pair->new, &(struct handover_message){.kind = HANDOVER_READY}, NULL, 0),
        STATUS_IO);
}

static void what_is_no_message_is_refused(void **state)
{
    struct pair *pair = *state;
    struct handover_message sent = {.kind = HANDOVER_TAKEN + 1};

    assert_int_equal(send(pair->old, "short", 5, 0), 5);
    assert_int_equal(handover_receive(pair->new, 1000, &pair->message, NULL, NULL), STATUS_IO);
    assert_int_equal(handover_send(pair->old, &sent, NULL, 0), STATUS_OK);
    assert_int_equal(handover_receive(pair->new, 1000, &pair->message, NULL, NULL), STATUS_IO);
    sent.kind = HANDOVER_GO;
    memset(sent.texts[1], 'x', HANDOVER_TEXT_BYTES); /* without its end */
    assert_int_equal(handover_send(pair->old, &sent, NULL, 0), STATUS_OK);
    assert_int_equal(handover_receive(pair->new, 1000, &pair->message, NULL, NULL), STATUS_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_comes_with_its_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(as_many_descriptors_as_fit_come_and_none_is_left_open,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_yet_and_never_again_are_told_apart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_message_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
