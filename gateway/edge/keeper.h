#ifndef PENSTOCK_EDGE_KEEPER_H
#define PENSTOCK_EDGE_KEEPER_H

#include <signal.h>
#include <sys/types.h>

/* By this signal, with the pid of its own successor, a gateway tells the keeper (gateway_keep) that its end is no end. */
#define KEEPER_SIGNAL SIGUSR1

/* What a signal means to a process whose place `main` has: that hears of it, or another has become main. */
void keeper_pass_on(pid_t *main, int number, const siginfo_t *info);

void keeper_tell(pid_t keeper, pid_t successor);

#endif
