/* Lifelines
 *
 * A pipe a child; the parent holds the writing end and never writes, the child holds the reading end and never reads. The
 * reading end is set to signal its owner, and the signal is SIGKILL: when the last copy of the writing end closes, the kernel
 * kills the child, whatever it is doing (fcntl(2), F_SETSIG). PR_SET_PDEATHSIG does the same for a child and its parent
 * thread only; a lifeline can be passed on to the next process, by which a replica outlives the one that has started it.
 * One pipe each, since older kernels signal all readers when any of them goes.
 *
 * A second pipe tells how far the child came: execve closes it, and until then the child writes into it what failed. So a path that the
 * sandbox may not have, a core that is offline or a missing program is an error of child_start with its name, not an exit code. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define EXIT_CODE_NOT_STARTED 127
/* In the child. */
#define LIFELINE_FD (STDERR_FILENO + 1)
#define FAILURE_FD  (STDERR_FILENO + 2)
#define HIGH_FD     16 /* above both; the sandbox's own descriptor is above, too */

enum stage { STAGE_DESCRIPTORS, STAGE_BIND, STAGE_SANDBOX, STAGE_EXECUTE, STAGE_COUNT };

static const char *const stage_names[STAGE_COUNT] = {"descriptors", "its slice", "its sandbox",
                                                     "its program"};

/* Fits into a pipe at once. */
struct failure {
    enum stage stage;
    int error;
    char step[32];
};

__attribute__((noreturn)) static void child_fail(enum stage stage, const char *step, int error)
{
    struct failure failure = {.stage = stage, .error = error};
    size_t i = 0;

    for (; i + 1 < sizeof failure.step && step[i] != '\0'; i++)
        failure.step[i] = step[i];
    if (write(FAILURE_FD, &failure, sizeof failure) != (ssize_t)sizeof failure)
        _exit(EXIT_CODE_NOT_STARTED + 1); /* nobody reads: the parent is gone */
    _exit(EXIT_CODE_NOT_STARTED);
}

/* In the child, as all below: after fork in a process with threads only calls that are safe in a signal handler. Leaves the
 * standard streams, the lifeline, the pipe for failures and the sandbox's own descriptor, which execve closes. */
static void descriptors_settle(const struct child_order *order, int lifeline, int failures)
{
    struct pollfd cut = {.fd = LIFELINE_FD};
    int life = fcntl(lifeline, F_DUPFD_CLOEXEC, HIGH_FD), output = -1;
    int failure = fcntl(failures, F_DUPFD_CLOEXEC, HIGH_FD);

    if (order->output_fd >= 0)
        output = fcntl(order->output_fd, F_DUPFD_CLOEXEC, HIGH_FD);
    /* By way of high numbers: any may have another's place now. */
    if (life < 0 || failure < 0 || dup3(failure, FAILURE_FD, O_CLOEXEC) < 0)
        _exit(EXIT_CODE_NOT_STARTED + 1);
    if (dup2(life, LIFELINE_FD) < 0 || fcntl(LIFELINE_FD, F_SETOWN, getpid()) != 0 ||
        fcntl(LIFELINE_FD, F_SETSIG, SIGKILL) != 0 ||
        fcntl(LIFELINE_FD, F_SETFL, O_ASYNC | O_NONBLOCK) != 0)
        child_fail(STAGE_DESCRIPTORS, "lifeline", errno);
    if (order->output_fd >= 0 &&
        (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0))
        child_fail(STAGE_DESCRIPTORS, "output", errno);
    /* Closed by execve, so that the sandbox's rules live until they are applied; but the copy of the other end that
     * came by the fork must not keep the lifeline whole meanwhile: it is closed by the caller. */
    if (close_range(FAILURE_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
        child_fail(STAGE_DESCRIPTORS, "closing", errno);
    if (poll(&cut, 1, 0) != 0) /* was ours the last copy? */
        _exit(EXIT_CODE_NOT_STARTED + 1);
}

__attribute__((noreturn)) static void child_run(const struct child_order *order, int lifeline,
                                                int failures)
{
    const char *step = "";
    sigset_t hangup;
    int error;

    (void)setpgid(0, 0);
    descriptors_settle(order, lifeline, failures);
    error = order->bind != NULL ? cpu_bind_apply(order->bind, &step) : 0;
    if (error != 0)
        child_fail(STAGE_BIND, step, error);
    /* A reload may come before it listens for one: that one waits instead of ending it. */
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    (void)sigprocmask(SIG_SETMASK, &hangup, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    error = order->sandbox != NULL ? sandbox_enter(order->sandbox, &step) : 0;
    if (error != 0)
        child_fail(STAGE_SANDBOX, step, error);
    (void)execve(order->program, order->arguments, order->environment);
    child_fail(STAGE_EXECUTE, "execve", errno);
}

static status failure_status(const struct failure *failure)
{
    if (failure->stage == STAGE_BIND)
        return STATUS_INVALID;
    if (failure->stage == STAGE_EXECUTE && failure->error == ENOENT)
        return STATUS_NOT_FOUND;
    if (failure->stage == STAGE_EXECUTE && failure->error == EACCES)
        return STATUS_DENIED;
    return STATUS_IO;
}

/* Waits until the program runs, or tells why it does not. */
static status start_await(int failures, const struct child_order *order, struct error_note *note)
{
    struct failure failure;
    ssize_t got;

    do
        got = read(failures, &failure, sizeof failure);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return STATUS_OK;
    if (got != (ssize_t)sizeof failure || failure.stage >= STAGE_COUNT) {
        error_note_set(note, "%s did not start", order->program);
        return STATUS_IO;
    }
    failure.step[sizeof failure.step - 1] = '\0';
    error_note_set(note, "%s could not be started: %s (%s): %s", order->program,
                   stage_names[failure.stage], failure.step, strerrordesc_np(failure.error));
    return failure_status(&failure);
}

static status child_watch(struct child *child, pid_t pid, int failures,
                          const struct child_order *order, struct error_note *note)
{
    status result = start_await(failures, order, note);

    if (result == STATUS_OK) {
        child->pid_fd = pidfd_open(pid, 0);
        if (child->pid_fd >= 0) {
            child->pid = pid;
            return STATUS_OK;
        }
        error_note_set(note, "pidfd_open: %s", strerrordesc_np(errno));
        result = STATUS_IO;
        (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return result;
}

static void pipe_close(int ends[2])
{
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            (void)close(ends[i]);
}

status child_start(struct child *child, const struct child_order *order, struct error_note *note)
{
    int lifeline[2] = {-1, -1}, failures[2] = {-1, -1};
    status result = STATUS_IO;
    pid_t pid = -1;

    CHECK(child->pid == 0);
    if (pipe2(lifeline, O_CLOEXEC) == 0 && pipe2(failures, O_CLOEXEC) == 0)
        pid = fork();
    if (pid == 0) {
        (void)close(lifeline[1]);
        child_run(order, lifeline[0], failures[1]);
    }
    if (pid < 0) {
        error_note_set(note, "%s: %s", order->program, strerrordesc_np(errno));
    } else {
        (void)close(failures[1]);
        failures[1] = -1;
        result = child_watch(child, pid, failures[0], order, note);
    }
    if (result == STATUS_OK) {
        child->lifeline_fd = lifeline[1];
        child->is_adopted = false;
        lifeline[1] = -1;
    }
    pipe_close(lifeline);
    pipe_close(failures);
    return result;
}

void child_adopt(struct child *child, pid_t pid, int pid_fd, int lifeline_fd)
{
    CHECK(child->pid == 0);
    *child = (struct child){pid, pid_fd, lifeline_fd, true};
}

void child_signal(const struct child *child, int signal_number)
{
    if (child->pid > 0)
        (void)pidfd_send_signal(child->pid_fd, signal_number, NULL, 0);
}

static void end_describe(int wait_status, char *text, size_t text_bytes)
{
    const char *name;

    if (WIFSIGNALED(wait_status)) {
        name = sigabbrev_np(WTERMSIG(wait_status));
        (void)snprintf(text, text_bytes, "was ended by signal %d (SIG%s)", WTERMSIG(wait_status),
                       name != NULL ? name : "?");
    } else {
        (void)snprintf(text, text_bytes, "ended with code %d", WEXITSTATUS(wait_status));
    }
}

bool child_collect(struct child *child, char *text, size_t text_bytes)
{
    int wait_status = 0;

    if (child->is_adopted) {
        (void)snprintf(text, text_bytes, "has ended");
    } else {
        while (waitpid(child->pid, &wait_status, 0) < 0 && errno == EINTR)
            continue;
        end_describe(wait_status, text, text_bytes);
    }
    child_forget(child);
    return wait_status == 0;
}

void child_forget(struct child *child)
{
    if (child->pid_fd >= 0)
        (void)close(child->pid_fd);
    if (child->lifeline_fd >= 0)
        (void)close(child->lifeline_fd);
    *child = (struct child){.pid_fd = -1, .lifeline_fd = -1};
}
