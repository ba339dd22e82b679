#include "stream_client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES_MAX (16u << 20)
#define READ_BYTES       65536u

void stream_client_init(struct stream_client *client, const struct sockaddr_in *address)
{
    *client = (struct stream_client){.fd = -1, .address = *address};
    buffer_init(&client->out, BUFFER_BYTES_MAX);
    buffer_init(&client->in, BUFFER_BYTES_MAX);
    buffer_init(&client->lines, BUFFER_BYTES_MAX);
    buffer_init(&client->text, BUFFER_BYTES_MAX);
}

static void disconnect(struct stream_client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    buffer_clear(&client->in);
    buffer_clear(&client->lines);
}

void stream_client_deinit(struct stream_client *client)
{
    disconnect(client);
    buffer_deinit(&client->out);
    buffer_deinit(&client->in);
    buffer_deinit(&client->lines);
    buffer_deinit(&client->text);
}

static status connect_socket(struct stream_client *client)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return STATUS_IO;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *)&client->address, sizeof(client->address)) != 0 &&
        errno != EINPROGRESS) {
        (void)close(fd);
        return STATUS_IO;
    }
    client->fd = fd;
    client->connection_count++;
    return STATUS_OK;
}

status stream_client_start(struct stream_client *client, const char *path,
                           const struct buffer *body, uint64_t start_ns)
{
    client->result = (struct stream_client_result){.start_ns = start_ns};
    client->is_busy = true;
    client->is_reused = client->fd >= 0;
    client->head_done = false;
    client->is_chunked = false;
    client->chunk_left = -1;
    client->last_token_ns = 0;
    client->out_sent = 0;
    buffer_clear(&client->out);
    buffer_clear(&client->text);
    buffer_append_format(
        &client->out,
        "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: "
        "text/event-stream\r\nContent-Length: %zu\r\n\r\n",
        path, body->bytes);
    buffer_append_slice(&client->out, buffer_slice(body));
    return client->fd >= 0 ? client->out.failed : connect_socket(client);
}

static bool finish(struct stream_client *client, uint64_t now_ns)
{
    client->result.end_ns = now_ns;
    client->is_busy = false;
    return true;
}

static uint32_t number_after(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    if (at == NULL)
        return 0;
    at += strlen(key);
    while (*at == ' ' || *at == ':')
        at++;
    return (uint32_t)strtoul(at, NULL, 10);
}

/* Finds the text of a delta without a JSON tree: servers write "content":"..." with or without a
 * space. */
static const char *content_start(const char *line)
{
    const char *at = strstr(line, "\"content\":");
    if (at == NULL)
        return NULL;
    at += strlen("\"content\":");
    while (*at == ' ')
        at++;
    return *at == '"' && at[1] != '"' ? at + 1 : NULL;
}

static void keep_content(struct stream_client *client, const char *content)
{
    const char *end = content;
    while (*end != '\0' && *end != '"')
        end += *end == '\\' && end[1] != '\0' ? 2 : 1;
    buffer_append(&client->text, content, (size_t)(end - content));
}

static void handle_line(struct stream_client *client, char *line, uint64_t now_ns)
{
    if (strncmp(line, "data:", 5) != 0)
        return;
    if (strstr(line, "[DONE]") != NULL) {
        client->result.is_complete = true;
        return;
    }
    const char *content = content_start(line);
    if (content != NULL) {
        if (client->result.event_count++ == 0)
            client->result.first_token_ns = now_ns;
        else if (client->on_gap != NULL)
            client->on_gap(client->context, now_ns - client->last_token_ns);
        client->last_token_ns = now_ns;
        if (client->keep_text)
            keep_content(client, content);
    }
    if (strstr(line, "\"completion_tokens\"") != NULL) {
        client->result.completion_tokens = number_after(line, "\"completion_tokens\"");
        client->result.prompt_tokens = number_after(line, "\"prompt_tokens\"");
        client->result.cached_tokens = number_after(line, "\"cached_tokens\"");
    }
}

/* Handles whole lines at the front of [data, data + bytes); returns how many bytes they took. */
static size_t handle_lines(struct stream_client *client, char *data, size_t bytes, uint64_t now_ns)
{
    size_t used = 0;
    for (char *end; (end = memchr(data + used, '\n', bytes - used)) != NULL;) {
        *end = '\0';
        handle_line(client, data + used, now_ns);
        used = (size_t)(end - data) + 1;
    }
    return used;
}

/* Returns true once the blank line has come; what follows it stays in `in`. */
static bool parse_head(struct stream_client *client)
{
    while (client->in.bytes >= 2 && memcmp(client->in.data, "\r\n", 2) == 0)
        buffer_consume(&client->in, 2); /* the line after the last chunk of the answer before */
    char *end = client->in.bytes > 0 ? strstr(client->in.data, "\r\n\r\n") : NULL;
    if (end == NULL)
        return false;
    *end = '\0';
    client->result.status_code =
        client->in.bytes > 12 ? (int)strtol(client->in.data + 9, NULL, 10) : 0;
    client->is_chunked = strcasestr(client->in.data, "transfer-encoding: chunked") != NULL;
    const char *length = strcasestr(client->in.data, "content-length:");
    if (!client->is_chunked)
        client->chunk_left = length != NULL ? strtol(length + 15, NULL, 10) : INT64_MAX;
    client->head_done = true;
    buffer_consume(&client->in, (size_t)(end - client->in.data) + 4);
    return true;
}

/* Takes a chunk's size line from the front of `in`. Returns false when it is not all there yet. */
static bool parse_chunk_size(struct stream_client *client)
{
    char *end = memchr(client->in.data, '\n', client->in.bytes);
    if (end == NULL)
        return false;
    size_t line_bytes = (size_t)(end - client->in.data) + 1;
    if (line_bytes > 2) /* the line that ends the chunk before is blank */
        client->chunk_left = strtol(client->in.data, NULL, 16);
    buffer_consume(&client->in, line_bytes);
    return true;
}

/* Moves body bytes from `in` to `lines` and handles whole lines. Returns true at the end of the
 * answer. */
static bool parse_body(struct stream_client *client, uint64_t now_ns)
{
    bool is_over = client->chunk_left == 0;
    while (client->in.bytes > 0 && !is_over) {
        if (client->chunk_left < 0) {
            if (!parse_chunk_size(client))
                break;
            is_over = client->chunk_left == 0;
            continue;
        }
        size_t take = client->in.bytes;
        if ((int64_t)take > client->chunk_left)
            take = (size_t)client->chunk_left;
        buffer_append(&client->lines, client->in.data, take);
        buffer_consume(&client->in, take);
        client->chunk_left -= (int64_t)take;
        if (client->chunk_left == 0) {
            is_over = !client->is_chunked;
            client->chunk_left = -1;
        }
    }
    if (client->lines.bytes > 0)
        buffer_consume(&client->lines,
                       handle_lines(client, client->lines.data, client->lines.bytes, now_ns));
    return is_over;
}

/* The blank line after the last chunk may still be on its way: it is left for the next answer's
 * parse_head to skip. */
/* A server may close a kept connection just as the next request leaves: sent again once, on a new
 * one. */
static bool lose_connection(struct stream_client *client, uint64_t now_ns)
{
    bool can_retry = client->is_reused && !client->head_done && client->in.bytes == 0;
    disconnect(client);
    client->is_reused = false;
    client->out_sent = 0;
    if (can_retry && connect_socket(client) == STATUS_OK)
        return false;
    return finish(client, now_ns);
}

static bool read_some(struct stream_client *client, uint64_t now_ns)
{
    for (;;) {
        if (buffer_reserve(&client->in, READ_BYTES) != STATUS_OK)
            break;
        ssize_t got = recv(client->fd, client->in.data + client->in.bytes, READ_BYTES, 0);
        if (got < 0 && errno == EAGAIN)
            return false;
        if (got <= 0)
            break;
        client->in.bytes += (size_t)got;
        client->in.data[client->in.bytes] = '\0';
        if (!client->head_done && !parse_head(client))
            continue;
        if (parse_body(client, now_ns)) {
            buffer_clear(&client->in);
            return finish(client, now_ns);
        }
        if (got < (ssize_t)READ_BYTES)
            return false;
    }
    return lose_connection(client, now_ns);
}

static bool write_some(struct stream_client *client)
{
    while (stream_client_wants_write(client)) {
        ssize_t sent = send(client->fd, client->out.data + client->out_sent,
                            client->out.bytes - client->out_sent, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN;
        client->out_sent += (size_t)sent;
    }
    return true;
}

bool stream_client_ready(struct stream_client *client, bool can_read, bool can_write,
                         uint64_t now_ns)
{
    if (!client->is_busy) { /* the server closed a kept connection */
        disconnect(client);
        return false;
    }
    if (can_write && !write_some(client))
        return lose_connection(client, now_ns);
    return can_read && read_some(client, now_ns);
}
