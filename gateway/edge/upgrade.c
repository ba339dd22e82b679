#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "control.h"
#include "handover.h"
#include "identity.h"
#include "log.h"
#include "memory.h"
#include "run_directory.h"
#include "service_notify.h"
#include "takeover.h"
#include "version_settings.h"

#define CHILD_SOCKET (STDERR_FILENO + 1)
#define LOOK_MS      20
#define TAKEN_WAIT_NS                                                                              \
    (10 * NS_PER_SECOND) /* from the word to its echo: nothing is left to be done */
#define SEND_TIMEOUT_S 10
#define COMMAND_BYTES  (128u * 1024u)
#define ARGUMENTS_MAX  64u

struct upgrade {
    struct edge *edge;
    int socket;
    pid_t pid;
    struct handover_message message;
    struct control_process *processes; /* owned; [edge->replica_count] */
    bool *is_adopted;                  /* owned; [edge->replica_count] */
    char command[COMMAND_BYTES];
    char *arguments[ARGUMENTS_MAX + 1];
    char **environment; /* owned; ours and one more */
    char variable[64];
};

/* --- the new process --- */

/* As this process was started: texts with a NUL behind each. */
static status command_read(struct upgrade *upgrade)
{
    int descriptor = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t bytes = descriptor >= 0 ? read(descriptor, upgrade->command, COMMAND_BYTES - 1) : -1;
    size_t count = 0;

    if (descriptor >= 0)
        (void)close(descriptor);
    for (char *at = upgrade->command; bytes > 0 && at < upgrade->command + bytes;
         at += strlen(at) + 1) {
        if (count == ARGUMENTS_MAX)
            return STATUS_TOO_LARGE;
        upgrade->arguments[count++] = at;
    }
    return count > 0 ? STATUS_OK : STATUS_IO;
}

static status environment_make(struct upgrade *upgrade)
{
    size_t count = 0;

    while (environ[count] != NULL)
        count++;
    upgrade->environment = memory_allocate_array(count + 2, sizeof(upgrade->environment[0]));
    if (upgrade->environment == NULL)
        return STATUS_NO_MEMORY;
    memcpy(upgrade->environment, environ, count * sizeof(upgrade->environment[0]));
    (void)snprintf(upgrade->variable, sizeof(upgrade->variable), "%s=%d", HANDOVER_VARIABLE,
                   CHILD_SOCKET);
    upgrade->environment[count] = upgrade->variable;
    return STATUS_OK;
}

/* After fork in a process with threads: only calls that are safe in a signal handler. */
__attribute__((noreturn)) static void child_run(const struct upgrade *upgrade, int socket)
{
    sigset_t none;

    if (dup2(socket, CHILD_SOCKET) < 0 || fcntl(CHILD_SOCKET, F_SETFD, 0) != 0)
        _exit(127);
    (void)close_range(CHILD_SOCKET + 1, ~0u, 0);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execvpe(upgrade->arguments[0], upgrade->arguments, upgrade->environment);
    _exit(127);
}

static status child_start(struct upgrade *upgrade)
{
    const struct timeval wait = {SEND_TIMEOUT_S, 0};
    int pair[2];
    status result = command_read(upgrade);

    if (result == STATUS_OK)
        result = environment_make(upgrade);
    if (result != STATUS_OK)
        return result;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return STATUS_IO;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    upgrade->pid = fork();
    if (upgrade->pid == 0)
        child_run(upgrade, pair[1]);
    (void)close(pair[1]);
    upgrade->socket = pair[0];
    return upgrade->pid > 0 ? STATUS_OK : STATUS_IO;
}

/* --- the offer --- */

static void text_set(char out[HANDOVER_TEXT_BYTES], const char *text)
{
    (void)snprintf(out, HANDOVER_TEXT_BYTES, "%s", text);
}

static status hello_send(struct upgrade *upgrade)
{
    const struct edge *edge = upgrade->edge;
    struct handover_message *message = &upgrade->message;

    *message =
        (struct handover_message){.kind = HANDOVER_HELLO,
                                  .numbers = {HANDOVER_PROTOCOL, edge->epoch + 1,
                                              edge->run_directory_is_ours, (uint32_t)edge->keeper}};
    if (edge->keeper == 0 && !service_is_managed())
        message->numbers[3] = (uint32_t)getpid();
    text_set(message->texts[0], edge->run_directory);
    text_set(message->texts[1], edge->version);
    return handover_send(upgrade->socket, message, NULL, 0);
}

static status listeners_send(struct upgrade *upgrade)
{
    const struct config_server *config = &upgrade->edge->configs.first->config->server;
    const char *addresses[] = {config->listen, config->admin_listen};
    int descriptors[HTTP_LISTENER_SOCKETS_MAX];
    status result = STATUS_OK;

    _Static_assert(HTTP_LISTENER_SOCKETS_MAX <= HANDOVER_DESCRIPTORS_MAX, "they go in one message");
    for (uint32_t i = 0; result == STATUS_OK && i < ARRAY_COUNT(addresses); i++) {
        if (addresses[i][0] == '\0')
            continue;
        upgrade->message = (struct handover_message){.kind = HANDOVER_LISTENER};
        text_set(upgrade->message.texts[0], addresses[i]);
        result = handover_send(upgrade->socket, &upgrade->message, descriptors,
                               http_server_sockets(upgrade->edge->server, i, descriptors));
    }
    return result;
}

static status replicas_send(struct upgrade *upgrade)
{
    status result = STATUS_OK;

    control_processes(upgrade->edge->control, upgrade->processes);
    for (uint32_t id = 0; result == STATUS_OK && id < upgrade->edge->replica_count; id++) {
        const struct edge_replica *replica = edge_replica_at(upgrade->edge, id);
        const struct control_process *process = &upgrade->processes[id];

        if (process->pid == 0 || process->pid_fd < 0 || process->lifeline_fd < 0 ||
            atomic_load_explicit(&replica->version, memory_order_relaxed) !=
                version_settings_newest(replica->model))
            continue; /* the next one starts those of the newest version itself */
        upgrade->message =
            (struct handover_message){.kind = HANDOVER_REPLICA,
                                      .numbers = {replica->model->index, replica->index,
                                                  (uint32_t)process->pid, process->compute_milli},
                                      .sizes = {process->uid, process->memory_bytes}};
        text_set(upgrade->message.texts[0], replica->model->name);
        text_set(upgrade->message.texts[1], replica->address);
        text_set(upgrade->message.texts[2], process->slice);
        result = handover_send(upgrade->socket, &upgrade->message,
                               (const int[]){process->pid_fd, process->lifeline_fd}, 2);
    }
    return result;
}

static status adapters_send(struct upgrade *upgrade)
{
    const struct runtime_adapters *adapters = &upgrade->edge->adapters;
    status result = STATUS_OK;

    for (uint32_t i = 0; result == STATUS_OK && i < adapters->count; i++) {
        upgrade->message = (struct handover_message){.kind = HANDOVER_ADAPTER};
        text_set(upgrade->message.texts[0], adapters->rows[i].model);
        text_set(upgrade->message.texts[1], adapters->rows[i].name);
        text_set(upgrade->message.texts[2], adapters->rows[i].path);
        result = handover_send(upgrade->socket, &upgrade->message, NULL, 0);
    }
    return result;
}

static status offer_send(struct upgrade *upgrade)
{
    status result = hello_send(upgrade);

    if (result == STATUS_OK)
        result = listeners_send(upgrade);
    if (result == STATUS_OK)
        result = replicas_send(upgrade);
    if (result == STATUS_OK)
        result = adapters_send(upgrade);
    upgrade->message = (struct handover_message){.kind = HANDOVER_END};
    return result == STATUS_OK ? handover_send(upgrade->socket, &upgrade->message, NULL, 0)
                               : result;
}

/* --- the answer --- */

static void adopted_note(struct upgrade *upgrade)
{
    const struct edge *edge = upgrade->edge;

    for (uint32_t id = 0; id < edge->replica_count; id++) {
        const struct edge_replica *replica = edge_replica_at(edge, id);

        if (replica->model->index == upgrade->message.numbers[0] &&
            replica->index == upgrade->message.numbers[1] &&
            upgrade->processes[id].pid == (int32_t)upgrade->message.numbers[2])
            upgrade->is_adopted[id] = true;
    }
}

/* The next message of `kind`, before `end_ns`. STATUS_AGAIN: a signal asks for the end; STATUS_FULL: the time is over; STATUS_IO. */
static status message_await(struct upgrade *upgrade, enum handover_kind kind, uint64_t end_ns)
{
    const struct timespec none = {0, 0};

    while (clock_now_ns() < end_ns) {
        sigset_t ends;
        status result = handover_receive(upgrade->socket, LOOK_MS, &upgrade->message, NULL, NULL);

        if (result == STATUS_OK && upgrade->message.kind == HANDOVER_ADOPTED)
            adopted_note(upgrade);
        else if (result == STATUS_OK)
            return upgrade->message.kind == kind ? STATUS_OK : STATUS_IO;
        else if (result != STATUS_AGAIN)
            return result;
        /* All else waits: a reload, or a change of adapters, is this gateway's or the next one's. */
        sigemptyset(&ends);
        sigaddset(&ends, SIGTERM);
        sigaddset(&ends, SIGINT);
        if (sigtimedwait(&ends, NULL, &none) > 0)
            return STATUS_AGAIN;
    }
    return STATUS_FULL;
}

/* How it ended, after it was made sure that it does. */
static void child_end(const struct upgrade *upgrade, char *text, size_t bytes)
{
    int wait_status = 0;

    (void)kill(upgrade->pid, SIGKILL);
    while (waitpid(upgrade->pid, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(wait_status))
        (void)snprintf(text, bytes, "ended with code %d", WEXITSTATUS(wait_status));
    else
        (void)snprintf(text, bytes, "was ended by signal %d", WTERMSIG(wait_status));
}

static void failure_report(const struct upgrade *upgrade, status result)
{
    char how[64] = "could not be started";

    if (upgrade->pid > 0)
        child_end(upgrade, how, sizeof(how));
    if (result == STATUS_FULL)
        log_error("gateway/edge",
                  "upgrade refused: the new process (pid %d) was not ready in "
                  "time (server.upgrade_timeout); this one goes on",
                  upgrade->pid);
    else if (result != STATUS_AGAIN)
        log_error("gateway/edge",
                  "upgrade refused: the new process (pid %d) %s before it was "
                  "ready; this one goes on",
                  upgrade->pid, how);
    /* It may have written its own. */
    if (run_directory_write_config(upgrade->edge->run_directory,
                                   config_store_get(&upgrade->edge->configs)->config->text) !=
        STATUS_OK)
        log_error("gateway/edge", "the copy of the config for replicas cannot be written");
    metrics_add(upgrade->edge->metrics.upgrades_bad, 1);
}

static status exchange(struct upgrade *upgrade)
{
    uint64_t wait_ns = config_store_get(&upgrade->edge->configs)->config->server.upgrade_timeout_ns;
    status result = child_start(upgrade);

    if (result == STATUS_OK) {
        log_info("gateway/edge", "upgrade: %s is started, pid %d", upgrade->arguments[0],
                 upgrade->pid);
        result = offer_send(upgrade);
    }
    if (result == STATUS_OK)
        result = message_await(upgrade, HANDOVER_READY, clock_now_ns() + wait_ns);
    if (result == STATUS_OK) {
        upgrade->message = (struct handover_message){.kind = HANDOVER_GO};
        result = handover_send(upgrade->socket, &upgrade->message, NULL, 0);
    }
    if (result == STATUS_OK)
        result = message_await(upgrade, HANDOVER_TAKEN, clock_now_ns() + TAKEN_WAIT_NS);
    return result;
}

static void place_leave(const struct upgrade *upgrade)
{
    struct edge *edge = upgrade->edge;

    edge->is_handed_over = true;
    edge->has_place = false;
    identity_disown(edge->identity);
    for (uint32_t id = 0; id < edge->replica_count; id++) {
        if (!upgrade->is_adopted[id])
            continue;
        edge_replica_at(edge, id)->is_borrowed = true;
        control_release(edge->control, id, upgrade->processes[id].pid);
    }
    service_notify("MAINPID=%d", upgrade->pid);
    log_info("gateway/edge", "upgrade: pid %d has taken over", upgrade->pid);
}

static void upgrade_free(struct upgrade *upgrade)
{
    for (uint32_t id = 0; upgrade->processes != NULL && id < upgrade->edge->replica_count; id++) {
        if (upgrade->processes[id].pid_fd >= 0)
            (void)close(upgrade->processes[id].pid_fd);
        if (upgrade->processes[id].lifeline_fd >= 0)
            (void)close(upgrade->processes[id].lifeline_fd);
    }
    if (upgrade->socket >= 0)
        (void)close(upgrade->socket);
    memory_release(upgrade->processes);
    memory_release(upgrade->is_adopted);
    memory_release(upgrade->environment);
    memory_release(upgrade);
}

/* Replicas on other machines know one gateway by its key and are known to it by their sessions, and their reports would reach either of
 * two that listen on the same sockets: they end with their gateway, so it is restarted instead. */
static bool is_possible(const struct edge *edge)
{
    if (edge->join == NULL)
        return true;
    log_error("gateway/edge", "upgrade refused: pool.listen is set, and replicas on other machines "
                              "cannot be handed over; restart the gateway");
    metrics_add(edge->metrics.upgrades_bad, 1);
    return false;
}

pid_t upgrade_run(struct edge *edge)
{
    struct upgrade *upgrade;
    status result = STATUS_NO_MEMORY;
    pid_t pid = 0;

    if (!is_possible(edge))
        return 0;
    upgrade = memory_allocate_array(1, sizeof(*upgrade));
    if (upgrade == NULL)
        return 0;
    upgrade->edge = edge;
    upgrade->socket = -1;
    upgrade->processes = memory_allocate_array(edge->replica_count, sizeof(upgrade->processes[0]));
    upgrade->is_adopted = memory_allocate_array(edge->replica_count, sizeof(bool));
    for (uint32_t id = 0; upgrade->processes != NULL && id < edge->replica_count; id++)
        upgrade->processes[id] = (struct control_process){.pid_fd = -1, .lifeline_fd = -1};
    if (upgrade->processes != NULL && upgrade->is_adopted != NULL)
        result = exchange(upgrade);
    if (result == STATUS_OK) {
        place_leave(upgrade);
        pid = upgrade->pid;
    } else {
        failure_report(upgrade, result);
        pid = result == STATUS_AGAIN ? -1 : 0;
    }
    upgrade_free(upgrade);
    return pid;
}
