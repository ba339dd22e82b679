#include "replica_call.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#define LOOK_MS          50
#define ANSWER_BYTES_MAX (1u << 20)
#define STATUS_AT        9u /* in "HTTP/1.1 200 OK" */

static int connect_to(const char *address)
{
    struct sockaddr_un target = {.sun_family = AF_UNIX};
    const char *path = address + strlen("unix:");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    CHECK(strncmp(address, "unix:", 5) == 0 && strlen(path) < sizeof(target.sun_path));
    memcpy(target.sun_path, path, strlen(path) + 1);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&target, sizeof(target)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct exchange {
    int fd;
    uint64_t end_ns;
    bool (*is_over)(void);
};

/* False: it did not become ready for `events` in time. */
static bool wait_for(const struct exchange *exchange, short events)
{
    struct pollfd poll_fd = {.fd = exchange->fd, .events = events};

    while (clock_now_ns() < exchange->end_ns && !exchange->is_over()) {
        if (poll(&poll_fd, 1, LOOK_MS) > 0)
            return true;
    }
    return false;
}

static bool send_all(const struct exchange *exchange, struct text_slice bytes)
{
    while (bytes.bytes > 0) {
        ssize_t sent = send(exchange->fd, bytes.data, bytes.bytes, MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN && wait_for(exchange, POLLOUT))
            continue;
        if (sent < 0 && errno != EINTR)
            return false;
        bytes.data += sent > 0 ? sent : 0;
        bytes.bytes -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* To the end of the connection, which ends with the answer. */
static bool read_all(const struct exchange *exchange, struct buffer *out)
{
    char bytes[4096];

    while (wait_for(exchange, POLLIN)) {
        ssize_t got = recv(exchange->fd, bytes, sizeof(bytes), 0);

        if (got == 0)
            return out->failed == STATUS_OK;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (got > 0)
            buffer_append(out, bytes, (size_t)got);
    }
    return false;
}

/* Splits head and body. */
static int take_answer(struct text_slice all, struct buffer *body)
{
    const char *end = memmem(all.data, all.bytes, "\r\n\r\n", 4);
    int code = 0;

    if (end == NULL || all.bytes < STATUS_AT + 3 || memcmp(all.data, "HTTP/1.", 7) != 0)
        return 0;
    for (size_t i = STATUS_AT; i < STATUS_AT + 3; i++) {
        if (!isdigit((unsigned char)all.data[i]))
            return 0;
        code = code * 10 + (all.data[i] - '0');
    }
    end += 4;
    buffer_append(body, end, (size_t)(all.data + all.bytes - end));
    return code;
}

int replica_call(const char *address, const char *path, struct text_slice body, uint64_t timeout_ns,
                 bool (*is_over)(void), struct buffer *answer)
{
    struct exchange exchange = {connect_to(address), clock_now_ns() + timeout_ns, is_over};
    struct buffer head, all;
    int code = 0;

    if (exchange.fd < 0)
        return 0;
    buffer_init(&head, 1024);
    buffer_init(&all, ANSWER_BYTES_MAX);
    buffer_append_format(&head,
                         "POST %s HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n"
                         "content-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                         path, body.bytes);
    if (head.failed == STATUS_OK && send_all(&exchange, buffer_slice(&head)) &&
        send_all(&exchange, body) && read_all(&exchange, &all))
        code = take_answer(buffer_slice(&all), answer);
    buffer_deinit(&all);
    buffer_deinit(&head);
    close(exchange.fd);
    return code;
}
