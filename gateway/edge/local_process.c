/* Lifelines
 *
 * A pipe a child; the gateway holds the writing end and never writes, the child holds the reading end and never reads. The
 * reading end is set to signal its owner, and the signal is SIGKILL: when the last copy of the writing end closes, the kernel
 * kills the child, whatever it is doing (fcntl(2), F_SETSIG). PR_SET_PDEATHSIG does the same for a child and its parent
 * thread only; a lifeline can be passed on to the next gateway, by which a replica outlives the one that has started it.
 * One pipe each, since older kernels signal all readers when any of them goes. */
#include "local_process.h"

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

#define EXIT_CODE_EXEC_FAILED 127
#define LIFELINE_FD           (STDERR_FILENO + 1) /* in the child */

/* In the child, as all below: after fork in a process with threads only calls that are safe in a signal handler. */
static void lifeline_hold(int fd)
{
    struct pollfd cut = {.fd = LIFELINE_FD};

    if (dup2(fd, LIFELINE_FD) < 0 || fcntl(LIFELINE_FD, F_SETFD, 0) != 0 ||
        fcntl(LIFELINE_FD, F_SETOWN, getpid()) != 0 || fcntl(LIFELINE_FD, F_SETSIG, SIGKILL) != 0 ||
        fcntl(LIFELINE_FD, F_SETFL, O_ASYNC | O_NONBLOCK) != 0)
        _exit(EXIT_CODE_EXEC_FAILED);
    (void)close_range(LIFELINE_FD + 1, ~0u, 0);
    /* Our copy of the other end is closed by now; was it the last? */
    if (poll(&cut, 1, 0) != 0)
        _exit(EXIT_CODE_EXEC_FAILED);
}

__attribute__((noreturn)) static void child_run(char *const arguments[], int lifeline)
{
    sigset_t hangup;

    (void)setpgid(0, 0);
    lifeline_hold(lifeline);
    /* A reload may come before it listens for one: that one waits instead of ending it. */
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    (void)sigprocmask(SIG_SETMASK, &hangup, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execv("/proc/self/exe", arguments);
    _exit(EXIT_CODE_EXEC_FAILED);
}

static status child_watch(struct local_process *process, pid_t pid)
{
    int saved;

    process->pid_fd = pidfd_open(pid, 0);
    if (process->pid_fd >= 0) {
        process->pid = pid;
        return STATUS_OK;
    }
    saved = errno;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    errno = saved;
    return STATUS_IO;
}

status local_process_start(struct local_process *process, char *const arguments[])
{
    int ends[2];
    pid_t pid;
    status result = STATUS_IO;

    CHECK(process->pid == 0);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return STATUS_IO;
    pid = fork();
    if (pid == 0)
        child_run(arguments, ends[0]);
    (void)close(ends[0]);
    if (pid > 0)
        result = child_watch(process, pid);
    if (result != STATUS_OK) {
        (void)close(ends[1]);
        return result;
    }
    process->lifeline_fd = ends[1];
    process->is_adopted = false;
    return STATUS_OK;
}

void local_process_adopt(struct local_process *process, pid_t pid, int pid_fd, int lifeline_fd)
{
    CHECK(process->pid == 0);
    *process = (struct local_process){pid, pid_fd, lifeline_fd, true};
}

void local_process_signal(const struct local_process *process, int signal_number)
{
    if (process->pid > 0)
        (void)pidfd_send_signal(process->pid_fd, signal_number, NULL, 0);
}

static void end_describe(int wait_status, char *text, size_t text_bytes)
{
    if (WIFSIGNALED(wait_status))
        (void)snprintf(text, text_bytes, "was ended by signal %d (SIG%s)", WTERMSIG(wait_status),
                       sigabbrev_np(WTERMSIG(wait_status)) != NULL
                           ? sigabbrev_np(WTERMSIG(wait_status))
                           : "?");
    else if (WEXITSTATUS(wait_status) == EXIT_CODE_EXEC_FAILED)
        (void)snprintf(text, text_bytes, "could not be executed");
    else
        (void)snprintf(text, text_bytes, "ended with code %d", WEXITSTATUS(wait_status));
}

void local_process_collect(struct local_process *process, char *text, size_t text_bytes)
{
    int wait_status = 0;

    /* Whose child it is by now will hear how. */
    if (process->is_adopted) {
        (void)snprintf(text, text_bytes, "has ended");
    } else {
        while (waitpid(process->pid, &wait_status, 0) < 0 && errno == EINTR)
            continue;
        end_describe(wait_status, text, text_bytes);
    }
    local_process_forget(process);
}

void local_process_forget(struct local_process *process)
{
    if (process->pid_fd >= 0)
        (void)close(process->pid_fd);
    if (process->lifeline_fd >= 0)
        (void)close(process->lifeline_fd);
    *process = (struct local_process){.pid_fd = -1, .lifeline_fd = -1};
}
