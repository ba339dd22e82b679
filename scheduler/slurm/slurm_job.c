#include "slurm_job.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "slurm_json.h"

/* States in the order in which they count where several flags are set: a job that COMPLETES still holds its nodes whatever it
 * will be. REQUEUED and the like are flags beside PENDING. */
static const struct job_state {
    const char *word;
    enum member_phase phase;
    enum member_cause cause;
    bool is_holding, is_over;
} job_states[] = {
    {"COMPLETING", MEMBER_REPLICA_STOPPING, MEMBER_CAUSE_NONE, true, false},
    {"STAGE_OUT", MEMBER_REPLICA_STOPPING, MEMBER_CAUSE_NONE, true, false},
    {"CONFIGURING", MEMBER_REPLICA_STARTING, MEMBER_CAUSE_NONE, true, false},
    {"SUSPENDED", MEMBER_REPLICA_STOPPING, MEMBER_CAUSE_PREEMPTED, true, false},
    {"STOPPED", MEMBER_REPLICA_STOPPING, MEMBER_CAUSE_PREEMPTED, true, false},
    {"RUNNING", MEMBER_REPLICA_RUNNING, MEMBER_CAUSE_NONE, true, false},
    {"PENDING", MEMBER_REPLICA_PENDING, MEMBER_CAUSE_NONE, false, false},
    {"NODE_FAIL", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_NODE, false, true},
    {"BOOT_FAIL", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_NODE, false, true},
    {"LAUNCH_FAILED", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_NODE, false, true},
    {"PREEMPTED", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_PREEMPTED, false, true},
    {"TIMEOUT", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_REFUSED, false, true},
    {"DEADLINE", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_REFUSED, false, true},
    {"REVOKED", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_REFUSED, false, true},
    {"OUT_OF_MEMORY", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_PROGRAM, false, true},
    {"FAILED", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_PROGRAM, false, true},
    {"CANCELLED", MEMBER_REPLICA_ENDED, MEMBER_CAUSE_NONE, false, true},
    {"COMPLETED", MEMBER_REPLICA_ENDED, MEMBER_CAUSE_NONE, false, true},
};

/* Reasons of a waiting job that will never end by themselves. */
static const char *const hopeless_reasons[] = {
    "BadConstraints", "PartitionNodeLimit", "PartitionTimeLimit",      "InvalidAccount",
    "InvalidQOS",     "JobHeldAdmin",       "DependencyNeverSatisfied"};

static const struct job_state *state_find(const json_t *object)
{
    for (size_t i = 0; i < sizeof(job_states) / sizeof(job_states[0]); i++)
        if (slurm_has_flag(object, "job_state", job_states[i].word))
            return &job_states[i];
    return NULL;
}

static bool is_hopeless(const char *reason)
{
    for (size_t i = 0; i < sizeof(hopeless_reasons) / sizeof(hopeless_reasons[0]); i++)
        if (strcmp(reason, hopeless_reasons[i]) == 0)
            return true;
    return false;
}

static bool first_host(void *context, const char *name)
{
    struct slurm_job *job = context;

    (void)snprintf(job->node, sizeof(job->node), "%s", name);
    return false;
}

/* Exit status and signal: a number as of wait(2), or an object with both. */
static void exit_describe(const json_t *object, struct slurm_job *job)
{
    const json_t *code = json_object_get(object, "exit_code");
    uint64_t value = slurm_number_or_0(object, "exit_code"), number = 0;
    int ended = (int)(value & 0xffff);

    if (json_is_object(code) && json_object_get(code, "return_code") != NULL) {
        value = slurm_number_or_0(code, "return_code");
        number = slurm_number_or_0(json_object_get(code, "signal"), "id");
    } else if (WIFSIGNALED(ended)) {
        number = (unsigned)WTERMSIG(ended);
    } else {
        value = (unsigned)WEXITSTATUS(ended);
    }
    if (number != 0)
        (void)snprintf(job->reason, sizeof(job->reason), "signal %u", (unsigned)number);
    else
        (void)snprintf(job->reason, sizeof(job->reason), "exit status %u", (unsigned)value);
}

static void reason_take(const json_t *object, struct slurm_job *job)
{
    const char *reason = slurm_text(object, "state_reason");

    if (strcmp(reason, "None") != 0)
        (void)snprintf(job->reason, sizeof(job->reason), "%s", reason);
    if (job->phase == MEMBER_REPLICA_FAILED && job->cause == MEMBER_CAUSE_PROGRAM) {
        if (is_hopeless(reason))
            job->cause = MEMBER_CAUSE_REFUSED;
        else
            exit_describe(object, job);
    }
}

/* A job that has run before: what stood behind it is gone, and Slurm would run it again. */
static void put_back_look(const json_t *object, struct slurm_job *job)
{
    bool is_waiting = job->phase == MEMBER_REPLICA_PENDING;
    bool has_run = slurm_number_or_0(object, "restart_cnt") > 0 ||
                   slurm_has_flag(object, "job_state", "REQUEUED") ||
                   slurm_has_flag(object, "job_state", "REQUEUE_HOLD") ||
                   slurm_has_flag(object, "job_state", "REQUEUE_FED");
    bool is_preempted = slurm_number_or_0(object, "preempt_time") > 0;

    if (job->is_over)
        return;
    if (has_run || job->cause == MEMBER_CAUSE_PREEMPTED) {
        job->is_put_back = true;
        job->phase = MEMBER_REPLICA_FAILED;
        job->cause = is_preempted || job->cause == MEMBER_CAUSE_PREEMPTED ? MEMBER_CAUSE_PREEMPTED
                                                                          : MEMBER_CAUSE_NODE;
    } else if (is_waiting && is_hopeless(job->reason)) {
        job->is_put_back = true;
        job->phase = MEMBER_REPLICA_FAILED;
        job->cause = MEMBER_CAUSE_REFUSED;
    } else if (job->is_holding) {
        job->is_preempted = is_preempted;
        job->ends_seconds = slurm_number_or_0(object, "end_time");
    }
}

/* Anybody may write what he likes into his jobs' comments. */
static bool is_ours(const json_t *object, const struct slurm_member_config *config,
                    struct slurm_mark *mark)
{
    const char *user = slurm_text(object, "user_name");

    return slurm_mark_read(slurm_text(object, "comment"), config->pool, mark) &&
           (user[0] == '\0' || strcmp(user, config->user) == 0);
}

bool slurm_job_read(const json_t *object, const struct slurm_member_config *config,
                    struct slurm_job *out)
{
    const struct job_state *state = state_find(object);

    *out = (struct slurm_job){.mark = {.parts = {"", 0}}};
    if (state == NULL || !slurm_number(object, "job_id", &out->id))
        return false;
    out->phase = state->phase;
    out->cause = state->cause;
    out->is_holding = state->is_holding;
    out->is_over = state->is_over;
    out->is_ours = is_ours(object, config, &out->mark);
    out->is_gang = slurm_number_or_0(object, "tasks") > 1;
    out->name = slurm_text(object, "name");
    (void)snprintf(out->node, sizeof(out->node), "%s", slurm_text(object, "batch_host"));
    if (out->node[0] == '\0')
        (void)slurm_hostlist_expand(text_slice_of(slurm_text(object, "nodes")), first_host, out);
    reason_take(object, out);
    put_back_look(object, out);
    return true;
}
