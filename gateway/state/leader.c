#include "leader.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "hash.h"
#include "log.h"
#include "memory.h"

#define RENEWALS  3u  /* in the life of a lease */
#define DRIFT_DIV 10u /* of the life: how much faster the database's clock may run than ours */
#define NAME      "leader"

struct leader {
    char id[sizeof(((struct lease *)NULL)->holder)];
    bool is_alone;
    uint64_t ttl_ms, next_ns; /* the thread's */
    _Atomic uint64_t end_ns;  /* ours until then; 0: not ours */
    _Atomic uint64_t fence;
    bool was_leading, is_failing; /* the thread's */
};

bool lease_decide(const struct lease *seen, const char *who, uint64_t now_ms, uint64_t ttl_ms,
                  struct lease *next)
{
    bool is_ours = seen != NULL && strcmp(seen->holder, who) == 0;

    if (seen != NULL && !is_ours && seen->until_ms > now_ms)
        return false;
    (void)snprintf(next->holder, sizeof(next->holder), "%s", who);
    next->fence = seen == NULL ? 1 : seen->fence + !is_ours;
    next->until_ms = now_ms + ttl_ms;
    return true;
}

/* --- the row --- */

static status lease_read(state_database *database, struct lease *out, bool *is_there,
                         struct error_note *note)
{
    state_statement *statement = state_database_prepare(
        database, "SELECT holder, fence, until_ms FROM leases WHERE name = ?1", note);
    status result;

    *is_there = false;
    if (statement == NULL)
        return STATUS_IO;
    state_bind_text(statement, 1, NAME);
    result = state_statement_step(statement, is_there, note);
    if (*is_there) {
        (void)snprintf(out->holder, sizeof(out->holder), "%s", state_column_text(statement, 0));
        out->fence = (uint64_t)state_column_number(statement, 1);
        out->until_ms = (uint64_t)state_column_number(statement, 2);
    }
    state_statement_close(statement);
    return result;
}

static status lease_write(state_database *database, const struct lease *lease,
                          struct error_note *note)
{
    state_statement *statement =
        state_database_prepare(database,
                               "INSERT INTO leases VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO"
                               " UPDATE SET holder = excluded.holder, fence = excluded.fence,"
                               " until_ms = excluded.until_ms",
                               note);

    if (statement == NULL)
        return STATUS_IO;
    state_bind_text(statement, 1, NAME);
    state_bind_text(statement, 2, lease->holder);
    state_bind_number(statement, 3, (int64_t)lease->fence);
    state_bind_number(statement, 4, (int64_t)lease->until_ms);
    return state_database_run(statement, note);
}

/* Under the lock of all who write. `ttl_ms` 0: it is given back. */
static status lease_take(struct leader *who, state_database *database, uint64_t ttl_ms,
                         bool *is_ours, uint64_t *fence, struct error_note *note)
{
    struct lease seen, next;
    uint64_t now_ms = 0;
    bool is_there = false;
    status result = state_database_begin(database, note);

    *is_ours = false;
    if (result != STATUS_OK)
        return result;
    result = state_database_now_ms(database, &now_ms, note);
    if (result == STATUS_OK)
        result = lease_read(database, &seen, &is_there, note);
    if (result == STATUS_OK &&
        lease_decide(is_there ? &seen : NULL, who->id, now_ms, ttl_ms, &next)) {
        result = lease_write(database, &next, note);
        *is_ours = true;
        *fence = next.fence;
    }
    if (result == STATUS_OK)
        return state_database_commit(database, note);
    state_database_roll_back(database);
    return result;
}

/* --- ticks --- */

void leader_tick(leader *who, state_database *database, uint64_t now_ns)
{
    struct error_note note = {""};
    uint64_t fence = 0;
    bool is_ours = false;
    status result;

    if (who->is_alone || now_ns < who->next_ns)
        return;
    who->next_ns = now_ns + who->ttl_ms * NS_PER_MS / RENEWALS;
    result = lease_take(who, database, who->ttl_ms, &is_ours, &fence, &note);
    if (result != STATUS_OK && !who->is_failing)
        log_warn("gateway/state", "the lead cannot be asked for: %s", note.text);
    who->is_failing = result != STATUS_OK;
    if (result == STATUS_OK) {
        atomic_store(&who->fence, fence);
        /* From before it was asked for: it ends here no later than there. */
        atomic_store(&who->end_ns,
                     is_ours ? now_ns + (who->ttl_ms - who->ttl_ms / DRIFT_DIV) * NS_PER_MS : 0);
    }
    is_ours = leader_is(who, clock_now_ns());
    if (is_ours != who->was_leading)
        log_info("gateway/state", "this gateway %s", is_ours ? "leads" : "leads no more");
    who->was_leading = is_ours;
}

void leader_resign(leader *who, state_database *database)
{
    struct error_note unused;
    uint64_t fence;
    bool is_ours;

    if (who->is_alone || !leader_is(who, clock_now_ns()))
        return;
    atomic_store(&who->end_ns, 0);
    if (lease_take(who, database, 0, &is_ours, &fence, &unused) != STATUS_OK)
        log_info("gateway/state", "the lead could not be given back; its lease will end");
}

bool leader_is(const leader *who, uint64_t now_ns)
{
    return who == NULL || who->is_alone || now_ns < atomic_load(&who->end_ns);
}

status leader_confirm(const leader *who, state_database *database, struct error_note *note)
{
    struct lease seen;
    bool is_there = false;
    status result;

    if (who == NULL || who->is_alone)
        return STATUS_OK;
    result = lease_read(database, &seen, &is_there, note);
    if (result != STATUS_OK)
        return STATUS_IO;
    if (is_there && strcmp(seen.holder, who->id) == 0 && seen.fence == atomic_load(&who->fence))
        return STATUS_OK;
    error_note_set(note, "another gateway leads by now");
    return STATUS_CANCELLED;
}

/* --- life --- */

status leader_create(const state_database *database, uint64_t ttl_ms, leader **out)
{
    leader *made = memory_allocate_array(1, sizeof(*made));
    uint64_t random;
    char host[33];

    if (made == NULL)
        return STATUS_NO_MEMORY;
    random_bytes(&random, sizeof(random));
    if (gethostname(host, sizeof(host)) != 0)
        host[0] = '\0';
    host[sizeof(host) - 1] = '\0';
    (void)snprintf(made->id, sizeof(made->id), "%s %d %016" PRIx64, host, (int)getpid(), random);
    made->is_alone = database == NULL || !state_database_is_shared(database);
    made->ttl_ms = ttl_ms;
    *out = made;
    return STATUS_OK;
}

void leader_destroy(leader *who)
{
    memory_release(who);
}
