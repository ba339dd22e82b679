/* The process that stays (gateway.h). Its successor may hand over again: it then tells its own successor's pid, and its end is
 * no end. Processes whose parent goes come here, so that nothing is left as a zombie. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "gateway.h"
#include "keeper.h"
#include "log.h"

#define CODE_OF_SIGNAL 128 /* as shells tell it */

struct keeper {
    pid_t main;
    int code; /* of main, once it has ended */
    bool is_over;
};

static void signals_block(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR2);
    sigaddset(signals, KEEPER_SIGNAL);
    sigaddset(signals, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static void collect(struct keeper *keeper)
{
    int wait_status;
    pid_t pid;

    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        if (pid != keeper->main)
            continue;
        keeper->is_over = true;
        keeper->code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
                                              : CODE_OF_SIGNAL + WTERMSIG(wait_status);
    }
}

void keeper_pass_on(pid_t *main, int number, const siginfo_t *info)
{
    if (number == KEEPER_SIGNAL && info->si_code == SI_QUEUE && info->si_pid == *main)
        *main = info->si_value.sival_int;
    else if (number != KEEPER_SIGNAL && info->si_code != SI_KERNEL) /* a terminal tells all */
        (void)kill(*main, number);
}

int gateway_keep(pid_t successor)
{
    struct keeper keeper = {.main = successor};
    sigset_t signals;
    siginfo_t info;

    if (successor == 0)
        return 0;
    signals_block(&signals);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    log_info("gateway/edge", "stays for pid %d", successor);
    collect(&keeper);
    while (!keeper.is_over) {
        int number = sigwaitinfo(&signals, &info);

        if (number == SIGCHLD)
            collect(&keeper);
        else if (number > 0)
            keeper_pass_on(&keeper.main, number, &info);
    }
    return keeper.code;
}

void keeper_tell(pid_t keeper, pid_t successor)
{
    (void)sigqueue(keeper, KEEPER_SIGNAL, (union sigval){.sival_int = successor});
}
