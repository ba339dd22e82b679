/* Which files a replica opens. Rules are made by the parent, from descriptors (a link that is changed later changes nothing),
 * and are complete before the fork, but for the process's own folder in /proc. What a version of Landlock does not know
 * yet is left out of the rules; what it knows is all forbidden but for what rules allow. */
#include "sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

/* The kernel's interface as of Linux 6.12; older headers have the beginning of it. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ull << 15)
#endif
#define NET_BIND_TCP          (1ull << 0)
#define NET_CONNECT_TCP       (1ull << 1)
#define SCOPE_ABSTRACT_SOCKET (1ull << 0)
#define SCOPE_SIGNAL          (1ull << 1)
#define RULE_NET_PORT         2

struct ruleset_attributes {
    uint64_t files, net, scopes;
};

struct net_port_attributes {
    uint64_t access, port;
};

/* What each version of Landlock added. A ruleset of a version has the first `bytes` of its attributes. */
static const struct {
    uint64_t files, net, scopes;
    size_t bytes;
} versions[] = {
    {LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
         LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
         LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
         LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
         LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM,
     0, 0, 8},
    {LANDLOCK_ACCESS_FS_REFER, 0, 0, 8},
    {LANDLOCK_ACCESS_FS_TRUNCATE, 0, 0, 8},
    {0, NET_BIND_TCP | NET_CONNECT_TCP, 0, 16},
    {LANDLOCK_ACCESS_FS_IOCTL_DEV, 0, 0, 16},
    {0, 0, SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL, 24},
};

static const uint64_t access_bits[SANDBOX_ACCESS_COUNT] = {
    [SANDBOX_READ] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    [SANDBOX_WRITE] =
        LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |
        LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
        LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
        LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE,
    [SANDBOX_EXECUTE] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE,
    [SANDBOX_DEVICE] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                       LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_IOCTL_DEV,
    [SANDBOX_LISTEN] = LANDLOCK_ACCESS_FS_MAKE_SOCK,
};

#define FILE_ONLY_BITS                                                                             \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |   \
     LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV)

/* Without these no dynamically linked program starts, and none knows how many cores it has. The loader is executed by execve
 * on behalf of the program. */
static const struct sandbox_path everybody[] = {
    {"/lib", SANDBOX_READ, true},
    {"/lib64", SANDBOX_READ, true},
    {"/usr/lib", SANDBOX_READ, true},
    {"/usr/lib64", SANDBOX_READ, true},
    {"/usr/local/lib", SANDBOX_READ, true},
    {"/lib64/ld-linux-x86-64.so.2", SANDBOX_EXECUTE, true},
    {"/lib/ld-linux-aarch64.so.1", SANDBOX_EXECUTE, true},
    {"/etc/ld.so.cache", SANDBOX_READ, true},
    {"/etc/localtime", SANDBOX_READ, true},
    {"/usr/share/zoneinfo", SANDBOX_READ, true},
    {"/proc/cpuinfo", SANDBOX_READ, true},
    {"/proc/meminfo", SANDBOX_READ, true},
    {"/proc/stat", SANDBOX_READ, true},
    {"/proc/sys/vm", SANDBOX_READ, true},
    {"/sys/devices/system", SANDBOX_READ, true},
    {"/sys/fs/cgroup", SANDBOX_READ, true},
    {"/sys/kernel/mm/transparent_hugepage", SANDBOX_READ, true},
    {"/dev/null", SANDBOX_DEVICE, true},
    {"/dev/zero", SANDBOX_READ, true},
    {"/dev/urandom", SANDBOX_READ, true},
};

int sandbox_probe(void)
{
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);

    return version > 0 ? (int)version : 0;
}

static struct ruleset_attributes handled_by(int version, size_t *bytes)
{
    struct ruleset_attributes handled = {0};

    for (size_t i = 0; i < ARRAY_COUNT(versions) && i < (size_t)version; i++) {
        handled.files |= versions[i].files;
        handled.net |= versions[i].net;
        handled.scopes |= versions[i].scopes;
        *bytes = versions[i].bytes;
    }
    return handled;
}

static status path_allow(int rules, const struct sandbox_path *path, uint64_t handled,
                         struct error_note *note)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access_bits[path->access] & handled,
                                              .parent_fd = open(path->path, O_PATH | O_CLOEXEC)};
    struct stat facts;
    status result = STATUS_OK;

    if (rule.parent_fd < 0) {
        if (path->is_optional && (errno == ENOENT || errno == ENOTDIR))
            return STATUS_OK;
        error_note_set(note, "%s: %s", path->path, strerrordesc_np(errno));
        return STATUS_INVALID;
    }
    if (fstat(rule.parent_fd, &facts) == 0 && !S_ISDIR(facts.st_mode))
        rule.allowed_access &= FILE_ONLY_BITS;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0u) != 0) {
        error_note_set(note, "a rule for %s: %s", path->path, strerrordesc_np(errno));
        result = STATUS_IO;
    }
    (void)close(rule.parent_fd);
    return result;
}

static status port_allow(int rules, uint16_t port, struct error_note *note)
{
    struct net_port_attributes rule = {.access = NET_BIND_TCP, .port = port};

    if (syscall(SYS_landlock_add_rule, rules, RULE_NET_PORT, &rule, 0u) == 0)
        return STATUS_OK;
    error_note_set(note, "a rule for port %u: %s", port, strerrordesc_np(errno));
    return STATUS_IO;
}

static status rules_fill(int rules, const struct sandbox_options *options,
                         const struct ruleset_attributes *handled, struct error_note *note)
{
    status result = STATUS_OK;

    for (size_t i = 0; result == STATUS_OK && i < ARRAY_COUNT(everybody); i++)
        result = path_allow(rules, &everybody[i], handled->files, note);
    for (uint32_t i = 0; result == STATUS_OK && i < options->path_count; i++)
        result = path_allow(rules, &options->paths[i], handled->files, note);
    if (result == STATUS_OK && options->listen_port != 0 && handled->net != 0)
        result = port_allow(rules, options->listen_port, note);
    return result;
}

status sandbox_rules_create(const struct sandbox_options *options, int version, int *fd,
                            struct error_note *note)
{
    size_t bytes = 0;
    struct ruleset_attributes handled = handled_by(version, &bytes);
    status result;
    int rules;

    *fd = -1;
    if (version == 0)
        return STATUS_OK;
    rules = (int)syscall(SYS_landlock_create_ruleset, &handled, bytes, 0u);
    if (rules < 0) {
        error_note_set(note, "Landlock's rules: %s", strerrordesc_np(errno));
        return STATUS_IO;
    }
    result = rules_fill(rules, options, &handled, note);
    if (result == STATUS_OK) {
        /* Out of the way of those numbers that a child gives to others (child.c). */
        *fd = fcntl(rules, F_DUPFD_CLOEXEC, SANDBOX_FD_MIN);
        if (*fd < 0) {
            error_note_set(note, "Landlock's rules: %s", strerrordesc_np(errno));
            result = STATUS_IO;
        }
    }
    (void)close(rules);
    return result;
}

int sandbox_rules_apply(int fd)
{
    struct landlock_path_beneath_attr own = {.allowed_access = access_bits[SANDBOX_READ]};
    int error = 0;

    if (fd < 0)
        return 0;
    own.parent_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (own.parent_fd >= 0) { /* else: no /proc here, nothing to allow */
        if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &own, 0u) != 0)
            error = errno;
        (void)close(own.parent_fd);
    }
    if (error == 0 && syscall(SYS_landlock_restrict_self, fd, 0u) != 0)
        error = errno;
    return error;
}
