#include "cpu_bind.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_nodes(const struct cpu_bind *bind)
{
    for (unsigned i = 0; i < CPU_NODE_WORDS; i++)
        if (bind->nodes[i] != 0)
            return true;
    return false;
}

int cpu_bind_apply(const struct cpu_bind *bind, const char **step)
{
    *step = "cores";
    if (sched_setaffinity(0, sizeof bind->cores, &bind->cores) != 0)
        return errno;
    *step = "memory";
    if (!has_nodes(bind))
        return 0;
    /* The kernel takes one less than it is told as the number of bits. */
    if (syscall(SYS_set_mempolicy, bind->is_strict ? MPOL_BIND : MPOL_PREFERRED_MANY, bind->nodes,
                (unsigned long)CPU_NODES_MAX + 1) == 0 ||
        errno == ENOSYS)
        return 0;
    return errno;
}
