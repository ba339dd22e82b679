#include "life.h"

#include <inttypes.h>
#include <string.h>

#include "adapter_changes.h"
#include "certificate_watch.h"
#include "check.h"
#include "clock.h"
#include "edge_audit.h"
#include "keeper.h"
#include "log.h"
#include "records.h"
#include "reload.h"
#include "service_notify.h"
#include "takeover.h"
#include "upgrade.h"
#include "version_settings.h"

#define LOOK_NS (20 * NS_PER_MS)

/* --- signals --- */

void life_signals_block(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, UPGRADE_SIGNAL);
    sigaddset(signals, ADAPTER_CHANGES_SIGNAL);
    (void)pthread_sigmask(SIG_BLOCK, signals, NULL);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of write, like a full disk */
}

/* The next signal; 0 after `wait_ns`. What this process hears for its successor (0: it has none) is passed on. */
static int signal_wait(const sigset_t *signals, uint64_t wait_ns, pid_t *successor)
{
    struct timespec time = {(time_t)(wait_ns / NS_PER_SECOND), (long)(wait_ns % NS_PER_SECOND)};
    siginfo_t info;
    int number = sigtimedwait(signals, &info, &time);

    if (number > 0 && *successor != 0)
        keeper_pass_on(successor, number, &info);
    return number > 0 ? number : 0;
}

/* --- the end --- */

/* A signal that asks for the end came before `end_ns`. */
static bool end_is_asked(const sigset_t *signals, uint64_t end_ns, pid_t *successor)
{
    while (clock_now_ns() < end_ns) {
        int number = signal_wait(signals, LOOK_NS, successor);

        if (number == SIGTERM || number == SIGINT)
            return true;
    }
    return false;
}

static bool is_drained(const struct edge *edge)
{
    return !http_server_is_listening(edge->server) &&
           http_server_connection_count(edge->server) == 0;
}

/* Readiness goes first, so that balancers that look at it have sent their clients elsewhere when the door closes. Where the next
 * gateway stands in it, nobody waits, and idle connections have all the time to be used once more. True: a signal asks for the
 * end at once. */
static bool drain_begin(struct edge *edge, const sigset_t *signals,
                        const struct config_server *config, pid_t *successor)
{
    uint64_t delay_ns = edge->is_handed_over ? 0 : config->drain_delay_ns;
    bool is_asked;

    atomic_store_explicit(&edge->is_draining, true, memory_order_relaxed);
    log_info("gateway/edge",
             "draining: %u requests are in flight; a second signal ends them at once",
             http_server_request_count(edge->server));
    is_asked = end_is_asked(signals, clock_now_ns() + delay_ns, successor);
    http_server_drain(edge->server, edge->is_handed_over,
                      edge->is_handed_over ? config->drain_timeout_ns
                                           : config->drain_idle_timeout_ns);
    return is_asked;
}

/* Until all connections have ended, the time is over, or a second signal has come. Of signals after a handover the first is
 * the successor's. */
static void drain(struct edge *edge, const sigset_t *signals, pid_t *successor)
{
    const struct config_server *config = &config_store_get(&edge->configs)->config->server;
    bool is_asked = drain_begin(edge, signals, config, successor);
    uint32_t ignored_count = *successor != 0 ? 1 : 0;
    uint64_t end_ns = clock_now_ns() + config->drain_timeout_ns;

    while (!is_asked && !is_drained(edge) && clock_now_ns() < end_ns) {
        if (!end_is_asked(signals, clock_now_ns() + LOOK_NS, successor))
            continue;
        is_asked = ignored_count == 0;
        ignored_count = 0;
    }
    if (http_server_request_count(edge->server) > 0)
        log_warn("gateway/edge", "%u requests are cut", http_server_request_count(edge->server));
}

/* --- the main part --- */

static void reload(struct edge *edge, const struct gateway_options *options)
{
    service_notify("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now_ns() / 1000);
    records_reopen(edge->records);
    reload_config(edge, options);
    service_notify("READY=1");
}

/* True: this gateway is to end. */
static bool upgrade(struct edge *edge, const struct gateway_options *options, pid_t *successor)
{
    const struct audit_event event = {"SIGUSR2", "gateway.upgrade", options->config_file,
                                      edge->version};
    pid_t pid = edge_audit(edge, &event) ? upgrade_run(edge) : 0;

    if (pid > 0 && edge->keeper != 0)
        keeper_tell(edge->keeper, pid);
    else if (pid > 0 && !service_is_managed())
        *successor = pid;
    return pid != 0;
}

static void serve(struct edge *edge, const struct gateway_options *options, const sigset_t *signals,
                  pid_t *successor)
{
    struct certificate_watch watch;
    bool was_ready = false, is_over = false;

    certificate_watch_init(&watch, &config_store_get(&edge->configs)->config->server);
    while (!is_over) {
        int number = signal_wait(signals, was_ready ? NS_PER_SECOND : LOOK_NS, successor);

        if (!was_ready && edge_is_ready(edge)) {
            was_ready = true;
            service_notify("READY=1");
            log_info("gateway/edge", "ready: every model has a replica");
        }
        if (number == 0 && was_ready)
            certificate_watch_look(&watch, edge);
        else if (number == SIGHUP)
            reload(edge, options);
        else if (number == UPGRADE_SIGNAL)
            is_over = upgrade(edge, options, successor);
        else if (number == ADAPTER_CHANGES_SIGNAL)
            adapter_changes_make(edge, options);
        else if (number != 0)
            is_over = true;
        version_settings_settle(edge, options);
    }
    adapter_changes_close(edge);
}

status life_run(struct edge *edge, const struct gateway_options *options, const sigset_t *signals,
                pid_t *successor, struct error_note *note)
{
    status result = STATUS_OK;

    if (edge->takeover != NULL) {
        if (edge->adapters.count > 0)
            reload_config(edge, options); /* with the adapters that clients have loaded */
        result = takeover_finish(edge->takeover, edge, signals, note);
        if (result == STATUS_OK)
            metrics_add(edge->metrics.upgrades_good, 1);
    }
    if (result == STATUS_OK)
        serve(edge, options, signals, successor);
    if (result == STATUS_IO)
        return result;
    if (!edge->is_handed_over)
        service_notify("STOPPING=1");
    drain(edge, signals, successor);
    return STATUS_OK;
}
