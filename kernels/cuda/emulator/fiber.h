#ifndef PENSTOCK_KERNELS_CUDA_EMULATOR_FIBER_H
#define PENSTOCK_KERNELS_CUDA_EMULATOR_FIBER_H

#include <stddef.h>

/* Stacks of their own within one operating system thread, and switches between them: what a function call must keep, and no
 * system call (swapcontext makes two for the signal mask, a microsecond; this is some nanoseconds). x86-64 only.
 * Sanitizers are told of each switch. */

struct fiber {
    void *stack_pointer; /* while it is not running */
    char *stack; /* owned: lowest byte that may be used; NULL: the stack the process came with */
    size_t stack_bytes;
    void (*entry)(void *context);
    void *context;
    void *sanitizer_stack; /* address sanitizer's, while it is not running */
    void *sanitizer_fiber; /* thread sanitizer's */
};

/* A fiber that begins with entry(context) when it is first switched to. entry never returns. `color` spreads the stacks'
 * first bytes over the cache. Out of memory ends the process. */
void fiber_init(struct fiber *f, void (*entry)(void *context), void *context, unsigned color);
/* As after fiber_init, whatever it was doing. */
void fiber_restart(struct fiber *f, unsigned color);
/* The stack that runs now, to come back to. */
void fiber_init_main(struct fiber *f);
/* Suspends `from`, which runs, and goes on with `to`. */
void fiber_switch(struct fiber *from, struct fiber *to);

#endif
