#include "replica_probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"

#define HEAD " HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n"

static const char *const request_texts[] = {
    [PROBE_READINESS] = "GET /readyz" HEAD "\r\n",
    [PROBE_SLEEP] = "POST /sleep?level=1" HEAD "content-length: 0\r\n\r\n",
    [PROBE_WAKE] = "POST /wake_up" HEAD "content-length: 0\r\n\r\n"};

void replica_probe_init(struct replica_probe *probe)
{
    *probe = (struct replica_probe){.fd = -1};
}

void replica_probe_stop(struct replica_probe *probe)
{
    if (probe->fd >= 0)
        close(probe->fd);
    probe->fd = -1;
}

static enum probe_result over(struct replica_probe *probe, enum probe_result result)
{
    replica_probe_stop(probe);
    return result;
}

enum probe_result replica_probe_start(struct replica_probe *probe, const char *address,
                                      enum probe_request request, uint64_t now_ns)
{
    const char *text = request_texts[request];
    struct sockaddr_un target = {.sun_family = AF_UNIX};
    const char *path = address + strlen("unix:");

    CHECK(probe->fd < 0 && strncmp(address, "unix:", 5) == 0 &&
          strlen(path) < sizeof(target.sun_path));
    memcpy(target.sun_path, path, strlen(path) + 1);
    probe->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe->fd < 0 || connect(probe->fd, (struct sockaddr *)&target, sizeof(target)) != 0)
        return over(probe, PROBE_SILENT);
    if (send(probe->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        return over(probe, PROBE_SILENT);
    probe->bytes = 0;
    probe->deadline_ns = now_ns + REPLICA_PROBE_TIMEOUT_NS;
    return PROBE_PENDING;
}

/* The head has ended, or as much of it as is kept. */
static bool has_head(const struct replica_probe *probe)
{
    return probe->bytes == sizeof(probe->answer) ||
           memmem(probe->answer, probe->bytes, "\r\n\r\n", 4) != NULL;
}

static enum probe_result judge(const struct replica_probe *probe)
{
    static const char good[] = "HTTP/1.1 200", any[] = "HTTP/1.";

    if (probe->bytes >= sizeof(good) - 1 && memcmp(probe->answer, good, sizeof(good) - 1) == 0)
        return PROBE_READY;
    if (probe->bytes >= sizeof(good) - 1 && memcmp(probe->answer, any, sizeof(any) - 1) == 0)
        return PROBE_NOT_READY;
    return PROBE_SILENT;
}

enum probe_result replica_probe_read(struct replica_probe *probe, uint64_t now_ns)
{
    for (;;) {
        ssize_t got =
            recv(probe->fd, probe->answer + probe->bytes, sizeof(probe->answer) - probe->bytes, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN && now_ns < probe->deadline_ns)
            return PROBE_PENDING;
        if (got < 0)
            return over(probe, PROBE_SILENT);
        probe->bytes += (uint32_t)got;
        if (got == 0 || has_head(probe))
            return over(probe, judge(probe));
    }
}

bool replica_probe_model(const struct replica_probe *probe, uint32_t *context_max,
                         uint32_t *capabilities)
{
    static const char name[] = "x-penstock-model: ";
    char line[64] = "";
    const char *at = memmem(probe->answer, probe->bytes, name, sizeof(name) - 1);

    if (at == NULL)
        return false;
    at += sizeof(name) - 1;
    for (size_t i = 0; i + 1 < sizeof(line) && at + i < probe->answer + probe->bytes; i++)
        line[i] = at[i];
    return sscanf(line, "context=%u, capabilities=%u", context_max, capabilities) == 2;
}
