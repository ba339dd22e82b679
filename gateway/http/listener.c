#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "memory.h"

/* A TCP listener is one socket a loop with SO_REUSEPORT, so the kernel spreads connections and no
 * loop waits for another. That option would also let a second server take the same port without a
 * word; so a probe without it is bound first. A Unix socket is one description, duplicated for each
 * loop.
 *
 * The price of several sockets is paid when they close: the kernel decides with the first packet of a connection which
 * of them it belongs to, and resets what a socket still has in its queue, or on its way there, when that one is closed. So
 * - sockets of the process before this one are all kept, and dealt out to however many loops there are;
 * - before the last ones close, the kernel is told to drop first packets (listener_turn_away), what has begun is accepted for
 *   a moment more (acceptor.c), and only then is nothing left to be lost. Whoever was dropped tries again, as TCP does, and
 *   finds the port closed. */

#define BACKLOG                                                                                    \
    4096 /* the kernel cuts it to somaxconn; connect() on a Unix socket fails when it is full */
#define SOCKET_MODE 0600

/* --- TCP --- */

/* Accepted sockets inherit the receive buffer. The library reads all that a socket holds in one turn, so without a
 * bound one connection that floods makes its input buffer as large as the kernel's (MiBs). */
static void set_receive_buffer(int descriptor, int bytes)
{
    if (bytes > 0)
        (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

static status bind_tcp(const struct address *address, bool is_shared, int receive_bytes, int *out)
{
    int on = 1, descriptor = socket(address->storage.ss_family,
                                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return STATUS_IO;
    (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (is_shared)
        (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    set_receive_buffer(descriptor, receive_bytes);
    if (address->storage.ss_family == AF_INET6)
        (void)setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(descriptor, (const struct sockaddr *)&address->storage, address->bytes) != 0 ||
        listen(descriptor, BACKLOG) != 0) {
        int error = errno;
        close(descriptor);
        errno = error;
        return STATUS_IO;
    }
    *out = descriptor;
    return STATUS_OK;
}

/* The address of the ones that are there; for ":0" it tells the port. */
static status read_port(struct listener *listener, int descriptor)
{
    struct address bound = {.bytes = sizeof bound.storage};
    if (getsockname(descriptor, (struct sockaddr *)&bound.storage, &bound.bytes) != 0)
        return STATUS_IO;
    address_set_port(&listener->address, address_port(&bound));
    return STATUS_OK;
}

/* From `first` on: the ones before are there already. */
static status open_tcp(struct listener *listener, uint32_t first, int receive_bytes)
{
    int probe;
    if (first == 0 && address_port(&listener->address) != 0) {
        if (bind_tcp(&listener->address, false, receive_bytes, &probe) != STATUS_OK)
            return STATUS_IO;
        close(probe);
    }
    for (uint32_t i = 0; i < listener->descriptor_count; i++) {
        if (i >= first && bind_tcp(&listener->address, true, receive_bytes,
                                   &listener->descriptors[i]) != STATUS_OK)
            return STATUS_IO;
        set_receive_buffer(listener->descriptors[i], receive_bytes);
        if (read_port(listener, listener->descriptors[i]) != STATUS_OK)
            return STATUS_IO;
    }
    return STATUS_OK;
}

status http_socket_open(const char *address, int *out, char bound[HTTP_ADDRESS_TEXT_BYTES],
                        struct error_note *note)
{
    struct listener listener = {.descriptors = out, .descriptor_count = 1};
    char host[ADDRESS_TEXT_BYTES];
    status s = address_parse(address, &listener.address, note);
    *out = -1;
    if (s == STATUS_OK && address_is_unix(&listener.address)) {
        error_note_set(note, "%s is no address that other machines reach", address);
        return STATUS_INVALID;
    }
    if (s != STATUS_OK)
        return s;
    s = open_tcp(&listener, 0, 0);
    if (s != STATUS_OK) {
        error_note_set(note, "cannot listen on %s: %s", address, strerror(errno));
        if (*out >= 0)
            close(*out);
        return s;
    }
    address_host_text(&listener.address, host);
    (void)snprintf(bound, HTTP_ADDRESS_TEXT_BYTES, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u",
                   host, address_port(&listener.address));
    return STATUS_OK;
}

/* --- Unix --- */

static const char *unix_path(const struct listener *listener)
{
    return ((const struct sockaddr_un *)&listener->address.storage)->sun_path;
}

/* A socket file that nobody listens on is left over from a process that died. */
static void remove_stale_socket(const struct listener *listener)
{
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return;
    if (connect(descriptor, (const struct sockaddr *)&listener->address.storage,
                listener->address.bytes) != 0 &&
        errno == ECONNREFUSED)
        (void)unlink(unix_path(listener));
    close(descriptor);
}

static status bind_unix(struct listener *listener)
{
    int descriptor;
    remove_stale_socket(listener);
    descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return STATUS_IO;
    listener->descriptors[0] = descriptor;
    if (fchmod(descriptor, SOCKET_MODE) != 0 ||
        bind(descriptor, (const struct sockaddr *)&listener->address.storage,
             listener->address.bytes) != 0 ||
        chmod(unix_path(listener), SOCKET_MODE) != 0 || listen(descriptor, BACKLOG) != 0)
        return STATUS_IO;
    return STATUS_OK;
}

static status open_unix(struct listener *listener, uint32_t first)
{
    if (first == 0 && bind_unix(listener) != STATUS_OK)
        return STATUS_IO;
    for (uint32_t i = first > 0 ? first : 1; i < listener->descriptor_count; i++)
        if ((listener->descriptors[i] = fcntl(listener->descriptors[0], F_DUPFD_CLOEXEC, 0)) < 0)
            return STATUS_IO;
    return STATUS_OK;
}

/* --- life --- */

static char *copy_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_allocate(bytes);
    return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

static status copy_options(struct listener *listener, const struct http_listener_options *options)
{
    listener->text = copy_text(options->address);
    if (options->certificate != NULL) {
        listener->certificate = copy_text(options->certificate);
        listener->key = copy_text(options->key != NULL ? options->key : "");
    }
    if (options->client_authorities != NULL) {
        listener->client_authorities = copy_text(options->client_authorities);
        listener->is_client_certificate_required = options->is_client_certificate_required;
        if (listener->client_authorities == NULL)
            return STATUS_NO_MEMORY;
    }
    if (listener->text == NULL ||
        (options->certificate != NULL && (listener->certificate == NULL || listener->key == NULL)))
        return STATUS_NO_MEMORY;
    return STATUS_OK;
}

/* Room for all sockets, the inherited ones first. */
static status make_descriptors(struct listener *listener,
                               const struct http_listener_options *options, uint32_t loop_count)
{
    uint32_t count =
        options->descriptor_count > loop_count ? options->descriptor_count : loop_count;
    listener->descriptors = memory_allocate_array(count, sizeof *listener->descriptors);
    if (listener->descriptors == NULL)
        return STATUS_NO_MEMORY;
    listener->descriptor_count = count;
    for (uint32_t i = 0; i < count; i++)
        listener->descriptors[i] = i < options->descriptor_count ? options->descriptors[i] : -1;
    return STATUS_OK;
}

status listener_open(http_server *server, const struct http_listener_options *options,
                     struct error_note *note)
{
    struct listener *listener = &server->listeners[server->listener_count];
    CHECK(options->descriptor_count <= HTTP_LISTENER_SOCKETS_MAX);
    *listener = (struct listener){.identity = options->identity,
                                  .handler = options->handler,
                                  .context = options->context,
                                  .headers = options->headers,
                                  .header_count = options->header_count,
                                  .time_header = options->time_header,
                                  .index = server->listener_count};
    status s = address_parse(options->address, &listener->address, note);
    if (s != STATUS_OK)
        return s;
    server->listener_count++;
    s = copy_options(listener, options);
    if (s == STATUS_OK)
        s = make_descriptors(listener, options, server->loop_count);
    if (s != STATUS_OK)
        return s;
    s = address_is_unix(&listener->address)
            ? open_unix(listener, options->descriptor_count)
            : open_tcp(listener, options->descriptor_count, server->receive_buffer_bytes);
    if (s != STATUS_OK)
        error_note_set(note, "cannot listen on %s: %s", options->address, strerror(errno));
    return s;
}

void listener_close(struct listener *listener)
{
    for (uint32_t i = 0; i < listener->descriptor_count; i++)
        if (listener->descriptors[i] >= 0)
            close(listener->descriptors[i]);
    memory_release(listener->text);
    memory_release(listener->certificate);
    memory_release(listener->key);
    memory_release(listener->client_authorities);
    memory_release(listener->descriptors);
}

void listener_unlink(const struct listener *listener)
{
    if (address_is_unix(&listener->address))
        (void)unlink(unix_path(listener));
}

void listener_turn_away(const struct listener *listener, int descriptor)
{
    /* The packet begins with the TCP header; byte 13 has the flags (RFC 9293, 3.1): SYN without ACK is a first packet. */
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),          BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog filter = {ARRAY_COUNT(program), program};
    /* Where the kernel has no filters, what comes in the last moment is lost, as without this. */
    if (!address_is_unix(&listener->address))
        (void)setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}
