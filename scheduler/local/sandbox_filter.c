/* The list of calls
 *
 * One comparison a call, in the order of how often they are made, each followed by "allow"; calls whose arguments matter jump into a
 * few instructions of their own. What falls through the list: EPERM below CALL_NEWEST, ENOSYS from there on (sandbox.h).
 *
 * The list goes by purpose, so that a reader can argue about each line; what is not on it and why it might be missed:
 *   execveat, fork, vfork, clone without CLONE_THREAD   no other processes (execve is what starts the replica's own program, and
 *                                                       Landlock has but that one to execute)
 *   clone3          its flags are in memory, where a filter cannot look: ENOSYS, the C library then calls clone
 *   connect, socket of other families                   it answers, it never calls
 *   ptrace, process_vm_*, pidfd_*, kcmp                 other processes
 *   io_uring_*, userfaultfd, bpf, perf_event_open, keyctl, add_key   large surfaces of the kernel
 *   mount and all around it, unshare, setns, chroot, set*id, capset, modules, reboot, clocks, swap   the system's
 * ioctl stays: GPUs are driven by it. Landlock has from its fifth version which devices it works on; those that were given. */
#include "sandbox_internal.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

#if defined(__x86_64__)
#define AUDIT_ARCH_HERE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define AUDIT_ARCH_HERE AUDIT_ARCH_AARCH64
#endif

#ifdef AUDIT_ARCH_HERE

/* The newest call that this list has thought about (set_mempolicy_home_node, Linux 5.17). */
#define CALL_NEWEST 450

// clang-format off
static const int allowed[] = {
    /* the serving loop */
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_epoll_pwait,
    SYS_epoll_ctl, SYS_epoll_create1, SYS_epoll_pwait2, SYS_ppoll, SYS_pselect6, SYS_futex, SYS_futex_waitv, SYS_eventfd2,
    SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_sched_yield, SYS_close, SYS_close_range,
    SYS_accept, SYS_accept4, SYS_bind, SYS_listen, SYS_shutdown, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt,
    SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_socketpair, SYS_pipe2, SYS_splice,
    SYS_sendfile,
    /* memory */
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_mlock, SYS_mlock2, SYS_munlock, SYS_mincore, SYS_msync,
    SYS_memfd_create, SYS_membarrier, SYS_set_mempolicy, SYS_get_mempolicy, SYS_mbind, SYS_move_pages,
    SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect,
    /* threads */
    SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address, SYS_rseq, SYS_exit, SYS_exit_group, SYS_gettid,
    SYS_getpid, SYS_getppid, SYS_getpgid, SYS_getsid, SYS_sched_setaffinity, SYS_sched_getaffinity, SYS_sched_getparam,
    SYS_sched_getscheduler, SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_getpriority, SYS_getcpu, SYS_wait4, SYS_waitid,
    /* signals */
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
    SYS_sigaltstack, SYS_signalfd4, SYS_restart_syscall,
    /* time */
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_times, SYS_getitimer,
    SYS_setitimer,
    /* files; which ones is Landlock's */
    SYS_openat, SYS_openat2, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_lseek, SYS_fcntl, SYS_flock, SYS_fsync,
    SYS_fdatasync, SYS_ftruncate, SYS_fallocate, SYS_fadvise64, SYS_readahead, SYS_getdents64, SYS_faccessat,
    SYS_faccessat2, SYS_readlinkat, SYS_mkdirat, SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_fchmod, SYS_fchmodat,
    SYS_utimensat, SYS_umask, SYS_getcwd, SYS_chdir, SYS_dup, SYS_dup3, SYS_copy_file_range, SYS_inotify_init1,
    SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_ioctl,
    /* what one may ask */
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups, SYS_uname, SYS_sysinfo, SYS_getrusage, SYS_getrlimit,
    SYS_getrandom, SYS_capget, SYS_execve,
#ifdef __x86_64__
    SYS_poll, SYS_select, SYS_epoll_wait, SYS_epoll_create, SYS_eventfd, SYS_pipe, SYS_dup2, SYS_open, SYS_creat, SYS_stat,
    SYS_lstat, SYS_access, SYS_readlink, SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_symlink, SYS_chmod, SYS_time,
    SYS_getpgrp, SYS_arch_prctl, SYS_getdents, SYS_inotify_init, SYS_signalfd, SYS_truncate,
#else
    SYS_renameat, SYS_truncate,
#endif
};
// clang-format on

static void put(struct sandbox_filter *filter, uint16_t operation, uint32_t value, uint8_t yes,
                uint8_t no)
{
    CHECK(filter->count < SANDBOX_FILTER_MAX);
    filter->code[filter->count++] = (struct sock_filter){operation, yes, no, value};
}

static void put_return(struct sandbox_filter *filter, uint32_t verdict)
{
    put(filter, BPF_RET | BPF_K, verdict, 0, 0);
}

static void put_refusal(struct sandbox_filter *filter, int error)
{
    put_return(filter, SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA));
}

static void put_load(struct sandbox_filter *filter, size_t offset)
{
    put(filter, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* The low half of an argument (both processors are little-endian); families, flags and ids have no more than that. */
static void put_load_argument(struct sandbox_filter *filter, unsigned index)
{
    put_load(filter, offsetof(struct seccomp_data, args) + 8u * index);
}

static void put_allow_if_equal(struct sandbox_filter *filter, uint32_t value)
{
    put(filter, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    put_return(filter, SECCOMP_RET_ALLOW);
}

/* What follows, up to case_end, is for one call. It ends in a return on every way. */
static uint16_t case_begin(struct sandbox_filter *filter, int call)
{
    put(filter, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 0);
    return (uint16_t)(filter->count - 1);
}

static void case_end(struct sandbox_filter *filter, uint16_t begin)
{
    uint32_t distance = filter->count - begin - 1u;

    CHECK(distance <= UINT8_MAX);
    filter->code[begin].jf = (uint8_t)distance;
}

/* Threads: allowed; anything that is not a thread of this process, or comes with a namespace of its own: not. */
static void put_clone(struct sandbox_filter *filter)
{
    uint16_t begin = case_begin(filter, SYS_clone);
    const uint32_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

    put_load_argument(filter, 0);
    put(filter, BPF_JMP | BPF_JSET | BPF_K, namespaces, 2, 0);
    put(filter, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
    put_return(filter, SECCOMP_RET_ALLOW);
    put_refusal(filter, EPERM);
    case_end(filter, begin);

    begin = case_begin(filter, SYS_clone3);
    put_refusal(filter, ENOSYS);
    case_end(filter, begin);
}

static void put_socket(struct sandbox_filter *filter, bool may_use_tcp)
{
    uint16_t begin = case_begin(filter, SYS_socket);

    put_load_argument(filter, 0);
    put_allow_if_equal(filter, AF_UNIX);
    if (may_use_tcp) {
        put_allow_if_equal(filter, AF_INET);
        put_allow_if_equal(filter, AF_INET6);
    }
    put_refusal(filter, EAFNOSUPPORT);
    case_end(filter, begin);
}

/* Its limits may be read, not set: a privileged user's process could raise them again. The pointer's both halves are to be 0. */
static void put_limits(struct sandbox_filter *filter)
{
    uint16_t begin = case_begin(filter, SYS_prlimit64);

    put_load_argument(filter, 0);
    put(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 5); /* 0: itself */
    put_load_argument(filter, 2);
    put(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    put_load(filter, offsetof(struct seccomp_data, args) + 8u * 2 + 4);
    put_allow_if_equal(filter, 0);
    put_refusal(filter, EPERM);
    case_end(filter, begin);
}

/* Signals to itself (abort does that): the first argument is its own id. */
static void put_own_process(struct sandbox_filter *filter, int call)
{
    uint16_t begin = case_begin(filter, call);

    CHECK(filter->pid_count < ARRAY_COUNT(filter->pid_at));
    put_load_argument(filter, 0);
    filter->pid_at[filter->pid_count++] = filter->count;
    put_allow_if_equal(filter, 0);
    put_refusal(filter, EPERM);
    case_end(filter, begin);
}

static void put_prctl(struct sandbox_filter *filter)
{
    static const uint32_t options[] = {PR_SET_NAME,         PR_GET_NAME,         PR_GET_DUMPABLE,
                                       PR_SET_VMA,          PR_CAPBSET_READ,     PR_SET_TIMERSLACK,
                                       PR_GET_NO_NEW_PRIVS, PR_SET_THP_DISABLE,  PR_GET_THP_DISABLE,
                                       PR_GET_PDEATHSIG,    PR_SET_NO_NEW_PRIVS, PR_GET_SECCOMP};
    uint16_t begin = case_begin(filter, SYS_prctl);

    put_load_argument(filter, 0);
    for (uint32_t i = 0; i < ARRAY_COUNT(options); i++)
        put_allow_if_equal(filter, options[i]);
    put_refusal(filter, EPERM);
    case_end(filter, begin);
}

bool sandbox_filter_build(struct sandbox_filter *filter, bool may_use_tcp)
{
    filter->count = 0;
    filter->pid_count = 0;
    put_load(filter, offsetof(struct seccomp_data, arch));
    put(filter, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_HERE, 1, 0);
    put_return(filter,
               SECCOMP_RET_KILL_PROCESS); /* another table of calls: no number means anything */
    put_load(filter, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    put(filter, BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1); /* x32 */
    put_return(filter, SECCOMP_RET_KILL_PROCESS);
#endif
    for (uint32_t i = 0; i < ARRAY_COUNT(allowed); i++)
        put_allow_if_equal(filter, (uint32_t)allowed[i]);
    put_clone(filter);
    put_socket(filter, may_use_tcp);
    put_prctl(filter);
    put_limits(filter);
    put_own_process(filter, SYS_kill);
    put_own_process(filter, SYS_tgkill);
    put_own_process(filter, SYS_rt_tgsigqueueinfo);
    put(filter, BPF_JMP | BPF_JGT | BPF_K, CALL_NEWEST, 1, 0);
    put_refusal(filter, EPERM);
    put_refusal(filter, ENOSYS);
    return true;
}

int sandbox_filter_install(struct sandbox_filter *filter, pid_t self)
{
    struct sock_fprog program = {.len = filter->count, .filter = filter->code};

    for (uint16_t i = 0; i < filter->pid_count; i++)
        filter->code[filter->pid_at[i]].k = (uint32_t)self;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0 ? 0 : errno;
}

#else

bool sandbox_filter_build(struct sandbox_filter *filter, bool may_use_tcp)
{
    (void)filter;
    (void)may_use_tcp;
    return false;
}

int sandbox_filter_install(struct sandbox_filter *filter, pid_t self)
{
    (void)filter;
    (void)self;
    return ENOSYS;
}

#endif
