/* serving_run: the main thread of a replica. It does nothing but wait for signals; loading has a
 * thread of its own. */

#include "serving.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "replica_life.h"
#include "thread.h"

#define AREA          "gateway/serving"
#define DRAIN_POLL_MS 20

struct signal_source {
    int fd;
    sigset_t previous;
};

static status signals_open(struct signal_source *source, struct error_note *note)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, &source->previous);
    source->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (source->fd >= 0)
        return STATUS_OK;
    error_note_set(note, "signalfd: %s", strerrordesc_np(errno));
    pthread_sigmask(SIG_SETMASK, &source->previous, NULL);
    return STATUS_IO;
}

static void signals_close(struct signal_source *source)
{
    close(source->fd);
    pthread_sigmask(SIG_SETMASK, &source->previous, NULL);
}

/* Waits for a signal or for `other` (-1: none) to be readable; true: a signal came. */
static bool signal_wait(const struct signal_source *source, int other, int timeout_ms)
{
    struct signalfd_siginfo info;
    struct pollfd fds[2] = {{.fd = source->fd, .events = POLLIN}, {.fd = other, .events = POLLIN}};
    if (poll(fds, 2, timeout_ms) <= 0 || (fds[0].revents & POLLIN) == 0)
        return false;
    return read(source->fd, &info, sizeof info) == (ssize_t)sizeof info;
}

/* The loading thread and what it brings back. */
struct loader {
    struct replica *replica;
    struct error_note *note;
    status result;
    int done_fd;
};

static void *loader_main(void *context)
{
    struct loader *loader = context;
    loader->result = replica_load(loader->replica, loader->note);
    eventfd_write(loader->done_fd, 1);
    return NULL;
}

/* Loads while listening for signals. The first one is remembered in *is_ending; loading cannot be
 * broken off, so the second ends the process. */
static status load(struct replica *replica, const struct signal_source *signals, bool *is_ending,
                   struct error_note *note)
{
    struct loader loader = {.replica = replica, .note = note};
    pthread_t thread;
    loader.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loader.done_fd < 0) {
        error_note_set(note, "eventfd: %s", strerrordesc_np(errno));
        return STATUS_IO;
    }
    status s = thread_start(&thread, "load", loader_main, &loader);
    if (s != STATUS_OK) {
        error_note_set(note, "cannot start a thread: %s", status_name(s));
        close(loader.done_fd);
        return s;
    }
    eventfd_t value = 0;
    while (eventfd_read(loader.done_fd, &value) != 0) {
        if (!signal_wait(signals, loader.done_fd, -1))
            continue;
        if (*is_ending)
            _exit(EXIT_FAILURE);
        *is_ending = true;
        log_info(AREA, "asked to end while loading; a second signal ends at once");
    }
    pthread_join(thread, NULL);
    close(loader.done_fd);
    return loader.result;
}

static void drain(struct replica *replica, const struct signal_source *signals)
{
    uint64_t deadline_ns = clock_now_ns() + replica->config->server.drain_timeout_ns;
    replica_set_phase(replica, REPLICA_DRAINING);
    log_info(AREA, "draining: %u requests are running", replica_job_count(replica));
    while (replica_job_count(replica) > 0) {
        if (signal_wait(signals, -1, DRAIN_POLL_MS)) {
            log_warn(AREA, "second signal: %u requests are cut off", replica_job_count(replica));
            return;
        }
        if (clock_now_ns() >= deadline_ns) {
            log_warn(AREA, "drain time-out: %u requests are cut off", replica_job_count(replica));
            return;
        }
    }
}

static void describe(const struct replica *replica, char *how, size_t bytes)
{
    if (replica->engine == NULL) {
        const struct encoder_info *info = encoder_get_info(replica->encoder);
        (void)snprintf(how, bytes, "%s, %s of %u tokens to %u numbers", info->backend,
                       info->architecture, info->context_max, encoder_output_count(info));
        return;
    }
    const struct engine_info *info = engine_get_info(replica->engine);
    (void)snprintf(how, bytes, "%s, %u blocks of %s cache, %llu bytes a token", info->backend,
                   info->block_count, info->kv_cache_dtype,
                   (unsigned long long)info->kv_bytes_per_token);
}

static void log_ready(const struct replica *replica, const char *listen)
{
    char how[128];
    describe(replica, how, sizeof how);
    if (replica->is_trusted)
        log_info(AREA, "serving %s on %s (%s)", replica->model->name, listen, how);
    else
        log_info(AREA, "serving %s on %s, port %u (%s)", replica->model->name, listen,
                 http_server_port(replica->http, 0), how);
    if (!replica->is_trusted && replica->config->auth.keys.count > 0)
        log_warn(AREA, "API keys are checked by the gateway role, not by a replica: whoever "
                       "reaches this port may use it");
}

status serving_run(const struct config *config, const struct config_model *model,
                   const char *listen, struct error_note *note)
{
    struct signal_source signals;
    struct replica *replica = NULL;
    bool is_ending = false;
    status s = signals_open(&signals, note);
    if (s != STATUS_OK)
        return s;
    s = replica_open(config, model, listen, &replica, note);
    if (s != STATUS_OK)
        goto close_signals;
    s = load(replica, &signals, &is_ending, note);
    if (s != STATUS_OK)
        goto close_replica;
    replica_set_phase(replica, REPLICA_READY);
    log_ready(replica, listen);
    while (!is_ending)
        is_ending = signal_wait(&signals, -1, -1);
    drain(replica, &signals);
close_replica:
    replica_close(replica);
    log_info(AREA, "ended");
close_signals:
    signals_close(&signals);
    return s;
}
