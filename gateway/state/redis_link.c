#include "redis_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "clock.h"
#include "memory.h"

#define RETRY_NS   (1 * NS_PER_SECOND)
#define SOCKET     "unix:"
#define SCHEME     "redis://"
#define PORT_MAX   65535
#define NUMBER_MAX 65535 /* of databases; a server has 16, usually */

/* --- the address --- */

static status refuse(struct error_note *note, const char *text)
{
    error_note_set(note,
                   "'%.200s' is no address of Redis; write redis://HOST:PORT/NUMBER or "
                   "unix:/path",
                   text);
    return STATUS_INVALID;
}

/* A number up to `most` and nothing behind it. */
static bool number_read(const char *text, long most, int *out)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || number > most)
        return false;
    *out = (int)number;
    return true;
}

static bool copy(char *out, size_t bytes, const char *text, size_t length)
{
    if (length == 0 || length >= bytes)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

/* "HOST[:PORT]"; `length` up to the database. */
static bool host_read(const char *text, size_t length, struct redis_address *out)
{
    const char *end = text + length, *close = NULL, *colon;
    char port[8];

    if (length > 0 && text[0] == '[') {
        close = memchr(text, ']', length);
        if (close == NULL ||
            !copy(out->host, sizeof(out->host), text + 1, (size_t)(close - text) - 1))
            return false;
        text = close + 1;
    }
    colon = memchr(text, ':', (size_t)(end - text));
    if (close == NULL &&
        !copy(out->host, sizeof(out->host), text, (size_t)((colon != NULL ? colon : end) - text)))
        return false;
    if (colon == NULL)
        return close == NULL || text == end;
    if (close != NULL && colon != text)
        return false;
    return copy(port, sizeof(port), colon + 1, (size_t)(end - colon) - 1) &&
           number_read(port, PORT_MAX, &out->port) && out->port > 0;
}

status redis_address_read(const char *text, struct redis_address *out, struct error_note *note)
{
    const char *at = text + sizeof(SCHEME) - 1, *mark, *slash;

    *out = (struct redis_address){.port = REDIS_PORT_DEFAULT};
    if (strncmp(text, SOCKET, sizeof(SOCKET) - 1) == 0) {
        at = text + sizeof(SOCKET) - 1;
        out->is_socket = true;
        return at[0] == '/' && copy(out->host, sizeof(out->host), at, strlen(at))
                   ? STATUS_OK
                   : refuse(note, text);
    }
    if (strncmp(text, SCHEME, sizeof(SCHEME) - 1) != 0)
        return refuse(note, text);
    mark = strchr(at, '@');
    if (mark != NULL) {
        if (!copy(out->user, sizeof(out->user), at, (size_t)(mark - at)))
            return refuse(note, text);
        at = mark + 1;
    }
    slash = strchr(at, '/');
    if (slash != NULL && slash[1] != '\0' && !number_read(slash + 1, NUMBER_MAX, &out->database))
        return refuse(note, text);
    return host_read(at, slash != NULL ? (size_t)(slash - at) : strlen(at), out)
               ? STATUS_OK
               : refuse(note, text);
}

/* --- the connection --- */

static void drop(struct redis_link *link)
{
    if (link->context != NULL)
        redisFree(link->context);
    link->context = NULL;
}

redisReply *redis_link_reply(struct redis_link *link, struct error_note *note)
{
    void *reply = NULL;

    if (redisGetReply(link->context, &reply) != REDIS_OK || reply == NULL)
        error_note_set(note, "Redis: %s", link->context->errstr);
    else if (((redisReply *)reply)->type != REDIS_REPLY_ERROR)
        return reply;
    else
        error_note_set(note, "Redis: %s", ((redisReply *)reply)->str);
    if (reply != NULL)
        freeReplyObject(reply);
    drop(link);
    return NULL;
}

/* One command, whose reply only matters where it is an error. */
static status send(struct redis_link *link, int count, const char **words, struct error_note *note)
{
    redisReply *reply;

    (void)redisAppendCommandArgv(link->context, count, words, NULL);
    reply = redis_link_reply(link, note);
    if (reply == NULL)
        return STATUS_IO;
    freeReplyObject(reply);
    return STATUS_OK;
}

static status enter(struct redis_link *link, struct error_note *note)
{
    const struct redis_address *address = &link->address;
    char number[16];
    const char *login[] = {"AUTH", address->user, link->password};
    const char *password[] = {"AUTH", link->password};
    const char *select[] = {"SELECT", number};
    status result = STATUS_OK;

    if (address->user[0] != '\0')
        result = send(link, 3, login, note);
    else if (link->password[0] != '\0')
        result = send(link, 2, password, note);
    (void)snprintf(number, sizeof(number), "%d", address->database);
    if (result == STATUS_OK && address->database != 0)
        result = send(link, 2, select, note);
    return result;
}

static status connect(struct redis_link *link, struct error_note *note)
{
    const struct redis_address *address = &link->address;
    const struct timeval wait = {REDIS_WAIT_MS / 1000, REDIS_WAIT_MS % 1000 * 1000};

    drop(link);
    link->generation++;
    link->context = address->is_socket
                        ? redisConnectUnixWithTimeout(address->host, wait)
                        : redisConnectWithTimeout(address->host, address->port, wait);
    if (link->context == NULL)
        return STATUS_IO;
    if (link->context->err != 0) {
        error_note_set(note, "Redis at %s: %s", address->host, link->context->errstr);
        drop(link);
        return STATUS_IO;
    }
    (void)redisSetTimeout(link->context, wait);
    return enter(link, note);
}

status redis_link_ensure(struct redis_link *link, struct error_note *note)
{
    status result;

    if (link->context != NULL)
        return STATUS_OK;
    if (clock_now_ns() < link->retry_ns) {
        *note = link->last;
        return STATUS_IO;
    }
    result = connect(link, &link->last);
    if (result == STATUS_OK)
        return STATUS_OK;
    drop(link);
    link->retry_ns = clock_now_ns() + RETRY_NS;
    *note = link->last;
    return STATUS_IO;
}

status redis_link_init(struct redis_link *link, const char *address, const char *password,
                       struct error_note *note)
{
    size_t bytes = strlen(password) + 1;
    status result;

    *link = (struct redis_link){.context = NULL};
    result = redis_address_read(address, &link->address, note);
    if (result != STATUS_OK)
        return result;
    link->password = memory_allocate(bytes);
    if (link->password == NULL)
        return STATUS_NO_MEMORY;
    memcpy(link->password, password, bytes);
    return STATUS_OK;
}

void redis_link_deinit(struct redis_link *link)
{
    drop(link);
    if (link->password != NULL)
        explicit_bzero(link->password, strlen(link->password));
    memory_release(link->password);
    link->password = NULL;
}
