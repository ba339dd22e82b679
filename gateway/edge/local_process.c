#include "local_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define EXIT_CODE_EXEC_FAILED 127

/* In the child, after fork in a process with threads: only calls that are safe in a signal handler.
 */
__attribute__((noreturn)) static void child_run(char *const arguments[], pid_t parent)
{
    sigset_t hangup;

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it went before the line above could tell the kernel */
        _exit(EXIT_CODE_EXEC_FAILED);
    (void)close_range(STDERR_FILENO + 1, ~0u, 0);
    /* A reload may come before it listens for one: that one waits instead of ending it. */
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    (void)sigprocmask(SIG_SETMASK, &hangup, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execv("/proc/self/exe", arguments);
    _exit(EXIT_CODE_EXEC_FAILED);
}

status local_process_start(struct local_process *process, char *const arguments[])
{
    pid_t parent = getpid(), pid;
    int saved;

    CHECK(process->pid == 0);
    pid = fork();
    if (pid == 0)
        child_run(arguments, parent);
    if (pid < 0)
        return STATUS_IO;
    (void)setpgid(pid, pid); /* here too, so that a signal to the group cannot come too early */
    process->pid_fd = pidfd_open(pid, 0);
    if (process->pid_fd < 0) {
        saved = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        errno = saved;
        return STATUS_IO;
    }
    process->pid = pid;
    return STATUS_OK;
}

void local_process_signal(const struct local_process *process, int signal_number)
{
    /* The pid is ours until it is collected, so it cannot have been given to another. */
    if (process->pid > 0 && kill(-process->pid, signal_number) != 0)
        (void)kill(process->pid, signal_number);
}

void local_process_collect(struct local_process *process, char *text, size_t text_bytes)
{
    int wait_status = 0;

    while (waitpid(process->pid, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFSIGNALED(wait_status))
        (void)snprintf(text, text_bytes, "was ended by signal %d (SIG%s)", WTERMSIG(wait_status),
                       sigabbrev_np(WTERMSIG(wait_status)) != NULL
                           ? sigabbrev_np(WTERMSIG(wait_status))
                           : "?");
    else if (WEXITSTATUS(wait_status) == EXIT_CODE_EXEC_FAILED)
        (void)snprintf(text, text_bytes, "could not be executed");
    else
        (void)snprintf(text, text_bytes, "ended with code %d", WEXITSTATUS(wait_status));
    close(process->pid_fd);
    *process = (struct local_process){.pid_fd = -1};
}
