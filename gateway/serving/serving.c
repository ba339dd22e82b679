/* serving_run: the main thread of a replica. It does nothing but wait for signals, and change adapters
 * when one asks for it; loading the model has a thread of its own. */

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
#include "gateway_link_calls.h"
#include "log.h"
#include "replica_life.h"
#include "reporter.h"
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
    sigaddset(&set, SIGHUP);
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

/* Waits for a signal or for `other` (-1: none) to be readable. The signal's number; 0: none came. */
static int signal_wait(const struct signal_source *source, int other, int timeout_ms)
{
    struct signalfd_siginfo info;
    struct pollfd fds[2] = {{.fd = source->fd, .events = POLLIN}, {.fd = other, .events = POLLIN}};
    if (poll(fds, 2, timeout_ms) <= 0 || (fds[0].revents & POLLIN) == 0)
        return 0;
    return read(source->fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
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

/* What signals have asked for. */
struct wishes {
    bool is_ending, wants_reload;
};

/* Loads while listening for signals. An end that is asked for is remembered; loading cannot be
 * broken off, so the second time ends the process. */
static status load(struct replica *replica, const struct signal_source *signals,
                   struct wishes *wishes, struct error_note *note)
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
        int number = signal_wait(signals, loader.done_fd, -1);
        wishes->wants_reload |= number == SIGHUP;
        if (number == 0 || number == SIGHUP)
            continue;
        if (wishes->is_ending)
            _exit(EXIT_FAILURE);
        wishes->is_ending = true;
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
        int number = signal_wait(signals, -1, DRAIN_POLL_MS);
        if (number != 0 && number != SIGHUP) {
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
    int length = snprintf(how, bytes, "%s, %u blocks of %s cache, %llu bytes a token",
                          info->backend, info->block_count, info->kv_cache_dtype,
                          (unsigned long long)info->kv_bytes_per_token);
    if (info->host_bytes > 0 && length > 0 && (size_t)length < bytes)
        (void)snprintf(how + length, bytes - (size_t)length, ", %llu MiB of host memory below it",
                       (unsigned long long)(info->host_bytes >> 20));
}

/* It goes on without what could not be pinned, and says so. */
static void warn_host_memory(const struct replica *replica)
{
    if (replica->engine != NULL && replica->model->kv_host_memory > 0 &&
        engine_get_info(replica->engine)->host_bytes == 0)
        log_warn(AREA,
                 "kv_host_memory: %llu MiB cannot be pinned; there is no memory below the "
                 "cache",
                 (unsigned long long)(replica->model->kv_host_memory >> 20));
}

static void log_ready(const struct replica *replica, const char *listen)
{
    char how[160];
    describe(replica, how, sizeof how);
    warn_host_memory(replica);
    if (replica->is_trusted)
        log_info(AREA, "serving %s on %s (%s)", replica->model->name, listen, how);
    else
        log_info(AREA, "serving %s on %s, port %u (%s)", replica->model->name, listen,
                 http_server_port(replica->http, 0), how);
    if (!replica->is_trusted && replica->config->auth.keys.count > 0)
        log_warn(AREA, "API keys are checked by the gateway role, not by a replica: whoever "
                       "reaches this port may use it");
}

/* Reads the config again and changes the adapters. `current` is what the adapters are by now; NULL: as at the start. */
static void reload(struct replica *replica, const struct config_overrides *overrides,
                   struct config **current)
{
    struct settings_report report;
    struct config *config = NULL;
    const struct config *before = *current != NULL ? *current : replica->config;
    struct text_slice name = text_slice_of(replica->model->name);
    if (replica->engine == NULL)
        return;
    if (config_load(replica->config->file, overrides, &config, &report) != STATUS_OK) {
        for (uint32_t i = 0; i < report.error_count; i++)
            log_error(AREA, "reload: %s:%u:%u: %s", report.file, report.errors[i].line,
                      report.errors[i].column, report.errors[i].text);
        log_error(AREA, "reload refused: the adapters stay as they are");
        return;
    }
    int32_t old = config_model_find(before, name), found = config_model_find(config, name);
    if (found < 0) {
        log_error(AREA, "reload refused: the config has no model %s", replica->model->name);
        config_destroy(config);
        return;
    }
    replica_change_adapters(replica, config_model_at(before, (uint32_t)old),
                            config_model_at(config, (uint32_t)found));
    config_destroy(*current);
    *current = config;
}

/* Until an end is asked for. */
static void serve(struct replica *replica, const struct signal_source *signals,
                  const struct config_overrides *overrides, struct wishes *wishes)
{
    struct config *current = NULL;
    while (!wishes->is_ending) {
        if (wishes->wants_reload)
            reload(replica, overrides, &current);
        int number = signal_wait(signals, -1, -1);
        wishes->wants_reload = number == SIGHUP;
        wishes->is_ending = number != 0 && number != SIGHUP;
    }
    config_destroy(current);
}

status serving_run(const struct config *config, const struct config_model *model,
                   const struct serving_options *options, struct error_note *note)
{
    struct signal_source signals;
    struct replica *replica = NULL;
    struct reporter *reporter = NULL;
    struct wishes wishes = {false, false};
    status s = signals_open(&signals, note);
    if (s != STATUS_OK)
        return s;
    s = replica_open(config, model, options, &replica, note);
    if (s != STATUS_OK)
        goto close_signals;
    if (options->link != NULL)
        s = reporter_start(replica, options->link, &reporter);
    if (s == STATUS_OK)
        s = load(replica, &signals, &wishes, note);
    if (s != STATUS_OK)
        goto close_replica;
    replica_set_phase(replica, REPLICA_READY);
    start_moments_note(&replica->start, START_READY, clock_now_ns(), 0);
    log_ready(replica,
              options->link != NULL ? gateway_link_address(options->link) : options->listen);
    serve(replica, &signals, options->overrides, &wishes);
    drain(replica, &signals);
close_replica:
    reporter_stop(reporter);
    replica_close(replica);
    log_info(AREA, "ended");
close_signals:
    signals_close(&signals);
    return s;
}
