#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* Aligned as the kernel wants it. */
union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(HANDOVER_DESCRIPTORS_MAX * sizeof(int))];
};

status handover_send(int socket, const struct handover_message *message, const int *descriptors,
                     uint32_t count)
{
    struct iovec piece = {(void *)(uintptr_t)message, sizeof(*message)};
    union control control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};
    ssize_t sent;

    CHECK(count <= HANDOVER_DESCRIPTORS_MAX);
    if (count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
    }
    do
        sent = sendmsg(socket, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof(*message) ? STATUS_OK : STATUS_IO;
}

static uint32_t descriptors_take(struct msghdr *header, int *out)
{
    const struct cmsghdr *control = CMSG_FIRSTHDR(header);
    uint32_t count;

    if (control == NULL || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
        return 0;
    count = (uint32_t)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(out, CMSG_DATA(control), count * sizeof(int));
    return count;
}

static bool is_whole(const struct handover_message *message, ssize_t bytes)
{
    bool is_good = bytes == (ssize_t)sizeof(*message) && message->kind <= HANDOVER_TAKEN;

    for (size_t i = 0; is_good && i < ARRAY_COUNT(message->texts); i++)
        is_good = memchr(message->texts[i], '\0', HANDOVER_TEXT_BYTES) != NULL;
    return is_good;
}

status handover_receive(int socket, int wait_ms, struct handover_message *out,
                        int descriptors[HANDOVER_DESCRIPTORS_MAX], uint32_t *count)
{
    struct pollfd readable = {.fd = socket, .events = POLLIN};
    struct iovec piece = {out, sizeof(*out)};
    union control control;
    struct msghdr header = {.msg_iov = &piece,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control)};
    int taken[HANDOVER_DESCRIPTORS_MAX];
    uint32_t taken_count;
    bool is_good;
    ssize_t bytes;

    if (poll(&readable, 1, wait_ms) <= 0)
        return STATUS_AGAIN;
    do
        bytes = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    while (bytes < 0 && errno == EINTR);
    if (bytes <= 0)
        return STATUS_IO;
    taken_count = descriptors_take(&header, taken);
    is_good = is_whole(out, bytes) && (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    for (uint32_t i = 0; (!is_good || count == NULL) && i < taken_count; i++)
        (void)close(taken[i]);
    if (!is_good)
        return STATUS_IO;
    if (count != NULL) {
        memcpy(descriptors, taken, taken_count * sizeof(int));
        *count = taken_count;
    }
    return STATUS_OK;
}
