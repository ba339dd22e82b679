/* The test starts itself once more inside of a sandbox ("probe FOLDER") and hears what it could do there. */
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "sandbox.h"

/* --- inside --- */

static const char
    *folder; /* has given/ (write), heard/ (sockets), secret/ (nothing), model (read) */

static const char *in_folder(const char *name)
{
    static char path[100];

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static long opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd >= 0)
        (void)close(fd);
    return fd;
}

static long reads_model(void)
{
    return opens(in_folder("model"), O_RDONLY);
}
static long writes_model(void)
{
    return opens(in_folder("model"), O_WRONLY);
}
static long truncates_model(void)
{
    return truncate(in_folder("model"), 0);
}
static long reads_secret(void)
{
    return opens(in_folder("secret/key"), O_RDONLY);
}
static long lists_secret(void)
{
    return opens(in_folder("secret"), O_RDONLY | O_DIRECTORY);
}
static long makes_file(void)
{
    return opens(in_folder("given/new"), O_RDWR | O_CREAT | O_EXCL);
}
static long makes_file_elsewhere(void)
{
    return opens(in_folder("new"), O_RDWR | O_CREAT | O_EXCL);
}
static long renames_out(void)
{
    char from[512];

    (void)snprintf(from, sizeof from, "%s", in_folder("given/new"));
    return rename(from, in_folder("moved"));
}
static long removes_model(void)
{
    return unlink(in_folder("model"));
}
static long reads_passwords(void)
{
    return opens("/etc/shadow", O_RDONLY);
}
static long reads_own_state(void)
{
    return opens("/proc/self/status", O_RDONLY);
}
static long reads_parent_environment(void)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/environ", getppid());
    return opens(path, O_RDONLY);
}
static long makes_device(void)
{
    return mknod(in_folder("given/device"), S_IFCHR | 0600, 0x103);
}
static long listens_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", in_folder(name));
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return -1;
    return listen(fd, 1);
}
static long listens_unix(void)
{
    return listens_at("given/s");
}
static long listens_where_it_may(void)
{
    return listens_at("heard/s");
}
static long listens_elsewhere(void)
{
    return listens_at("s");
}
static long makes_file_where_it_listens(void)
{
    return opens(in_folder("heard/new"), O_RDWR | O_CREAT | O_EXCL);
}
static long removes_where_it_listens(void)
{
    return unlink(in_folder("heard/s"));
}
static long connects_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", in_folder("given/s"));
    return connect(fd, (const struct sockaddr *)&address, sizeof address);
}
static long opens_internet(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}
static long opens_netlink(void)
{
    return socket(AF_NETLINK, SOCK_RAW, 0);
}
static long forks(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid;
}
static long executes(void)
{
    char *const arguments[] = {(char *)"true", NULL};

    return execve("/bin/true", arguments, NULL);
}
static long executes_from_descriptor(void)
{
    return syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0);
}
static long signals_parent(void)
{
    return kill(getppid(), 0);
}
static long signals_everybody(void)
{
    return kill(-1, 0);
}
static long signals_itself(void)
{
    return kill(getpid(), 0);
}
static long traces_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}
static long reads_parent_memory(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}
static long takes_parent_descriptor(void)
{
    return syscall(SYS_pidfd_open, getppid(), 0);
}
static long limits_parent(void)
{
    struct rlimit limit;

    return prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit);
}
static long mounts(void)
{
    return mount("none", in_folder("given"), "tmpfs", 0, NULL);
}
static long unshares(void)
{
    return unshare(CLONE_NEWUSER);
}
static long enters_namespace(void)
{
    return setns(0, CLONE_NEWNET);
}
static long changes_root(void)
{
    return chroot("/");
}
static long becomes_other(void)
{
    return setuid(1);
}
static long loads_program(void)
{
    return syscall(SYS_bpf, BPF_MAP_CREATE, NULL, 0);
}
static long opens_ring(void)
{
    return syscall(SYS_io_uring_setup, 1, NULL);
}
static long counts_events(void)
{
    return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}
static long adds_key(void)
{
    return syscall(SYS_add_key, "user", "x", "y", 1, -2);
}
static long faults_by_hand(void)
{
    return syscall(SYS_userfaultfd, 0);
}
static long sets_clock(void)
{
    return syscall(SYS_clock_settime, CLOCK_REALTIME, NULL);
}
static long loads_module(void)
{
    return syscall(SYS_init_module, NULL, 0, "");
}
static long restarts_machine(void)
{
    return syscall(SYS_reboot, 0, 0, 0, NULL);
}
static long dumps_again(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
static long raises_limit(void)
{
    struct rlimit limit = {1 << 20, 1 << 20};

    return setrlimit(RLIMIT_CORE, &limit);
}
static long calls_the_future(void)
{
    return syscall(9999);
}
static void *thread_run(void *context)
{
    return context;
}
static long makes_thread(void)
{
    pthread_t thread;

    errno = pthread_create(&thread, NULL, thread_run, NULL);
    if (errno != 0)
        return -1;
    return pthread_join(thread, NULL);
}
static long opens_too_many(void)
{
    long last = 0;

    for (int i = 0; i < 64 && last >= 0; i++)
        last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return last;
}

/* 0: it must succeed. EACCES is Landlock's, EPERM and ENOSYS are the filter's. */
static const struct {
    const char *name;
    long (*attempt)(void);
    int error;
    int landlock; /* from this version on; before it the outcome does not count */
} probes[] = {
    {"reads its model", reads_model, 0, 0},
    {"writes its model", writes_model, EACCES, 1},
    {"truncates its model", truncates_model, EACCES, 3},
    {"removes its model", removes_model, EACCES, 1},
    {"reads a secret", reads_secret, EACCES, 1},
    {"lists a secret folder", lists_secret, EACCES, 1},
    {"makes a file where it may", makes_file, 0, 0},
    {"makes a file elsewhere", makes_file_elsewhere, EACCES, 1},
    {"moves a file out", renames_out, EACCES, 1},
    {"reads passwords", reads_passwords, EACCES, 1},
    {"reads its own state", reads_own_state, 0, 0},
    {"reads the environment of its parent", reads_parent_environment, EACCES, 1},
    {"makes a device", makes_device, EPERM, 0},
    {"listens at a Unix socket", listens_unix, 0, 0},
    {"listens where it may do no more", listens_where_it_may, 0, 0},
    {"listens at a Unix socket elsewhere", listens_elsewhere, EACCES, 1},
    {"makes a file where it listens", makes_file_where_it_listens, EACCES, 1},
    {"removes a socket", removes_where_it_listens, EACCES, 1},
    {"connects to a Unix socket", connects_unix, EPERM, 0},
    {"opens the internet", opens_internet, EAFNOSUPPORT, 0},
    {"opens netlink", opens_netlink, EAFNOSUPPORT, 0},
    {"forks", forks, EPERM, 0},
    {"executes", executes, EACCES, 1},
    {"executes from a descriptor", executes_from_descriptor, EPERM, 0},
    {"signals its parent", signals_parent, EPERM, 0},
    {"signals everybody", signals_everybody, EPERM, 0},
    {"signals itself", signals_itself, 0, 0},
    {"traces its parent", traces_parent, EPERM, 0},
    {"reads the memory of its parent", reads_parent_memory, EPERM, 0},
    {"takes a descriptor of its parent", takes_parent_descriptor, EPERM, 0},
    {"reads limits of its parent", limits_parent, EPERM, 0},
    {"mounts", mounts, EPERM, 0},
    {"unshares", unshares, EPERM, 0},
    {"enters a namespace", enters_namespace, EPERM, 0},
    {"changes its root", changes_root, EPERM, 0},
    {"becomes another user", becomes_other, EPERM, 0},
    {"loads a program into the kernel", loads_program, EPERM, 0},
    {"opens a ring of calls", opens_ring, EPERM, 0},
    {"counts events", counts_events, EPERM, 0},
    {"adds a key", adds_key, EPERM, 0},
    {"handles faults", faults_by_hand, EPERM, 0},
    {"sets the clock", sets_clock, EPERM, 0},
    {"loads a module", loads_module, EPERM, 0},
    {"restarts the machine", restarts_machine, EPERM, 0},
    {"may be dumped", dumps_again, EPERM, 0},
    {"raises its limits", raises_limit, EPERM, 0},
    {"calls what is newer than the list", calls_the_future, ENOSYS, 0},
    {"makes a thread", makes_thread, 0, 0},
    {"opens too many files", opens_too_many, EMFILE, 0},
};

/* A line a probe: its errno, 0 for success. */
static int probe_run(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(probes); i++) {
        long result;

        errno = 0;
        result = probes[i].attempt();
        (void)dprintf(STDOUT_FILENO, "%d\n", result < 0 ? errno : 0);
    }
    return 0;
}

/* --- outside --- */

static char scratch[64];

static const char *scratch_path(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

static void file_make(const char *name)
{
    int fd = open(scratch_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text", 4), 4);
    (void)close(fd);
}

static int scratch_make(void **state)
{
    (void)state;
    (void)snprintf(scratch, sizeof scratch, "/tmp/sandbox_test.XXXXXX");
    assert_non_null(mkdtemp(scratch));
    assert_int_equal(mkdir(scratch_path("given"), 0700), 0);
    assert_int_equal(mkdir(scratch_path("heard"), 0700), 0);
    assert_int_equal(mkdir(scratch_path("secret"), 0700), 0);
    file_make("model");
    file_make("secret/key");
    return 0;
}

static int scratch_remove(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

/* A sanitizer looks for leaks by tracing itself, and sets limits: forbidden inside. */
static char *const environment[] = {
    (char *)"ASAN_OPTIONS=detect_leaks=0:disable_coredump=0:abort_on_error=1", NULL};

static struct sandbox *walls_make(void)
{
    char model[128], given[128], heard[128];
    const struct sandbox_path paths[] = {{"/proc/self/exe", SANDBOX_EXECUTE, false},
                                         {model, SANDBOX_READ, false},
                                         {given, SANDBOX_WRITE, false},
                                         {heard, SANDBOX_LISTEN, false},
                                         {"/nowhere", SANDBOX_READ, true}};
    const struct sandbox_options options = {
        .paths = paths, .path_count = 5, .files_max = 40, .file_bytes_max = 1 << 20};
    struct sandbox *sandbox = NULL;
    struct error_note note = {""};
    status result;

    (void)snprintf(model, sizeof model, "%s", scratch_path("model"));
    (void)snprintf(given, sizeof given, "%s", scratch_path("given"));
    (void)snprintf(heard, sizeof heard, "%s", scratch_path("heard"));
    result = sandbox_create(&options, &sandbox, &note);
    if (result != STATUS_OK)
        fail_msg("%s: %s", status_name(result), note.text);
    return sandbox;
}

static void what_is_forbidden_fails_inside_and_serving_works(void **state)
{
    char *const arguments[] = {(char *)"sandbox_test", (char *)"probe", scratch, NULL};
    struct sandbox *sandbox = walls_make();
    struct child child = {.pid_fd = -1, .lifeline_fd = -1};
    struct error_note note = {""};
    int output[2], landlock = sandbox_probe();
    char text[64];
    FILE *lines;

    (void)state;
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    const struct child_order order = {.program = "/proc/self/exe",
                                      .arguments = arguments,
                                      .environment = environment,
                                      .sandbox = sandbox,
                                      .output_fd = output[1]};
    if (child_start(&child, &order, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    sandbox_destroy(sandbox);
    (void)close(output[1]);
    lines = fdopen(output[0], "r");
    for (size_t i = 0; i < ARRAY_COUNT(probes); i++) {
        int got;

        if (fscanf(lines, "%d", &got) != 1)
            fail_msg("it %s, and then no more", probes[i].name);
        if (landlock >= probes[i].landlock && got != probes[i].error)
            fail_msg("it %s: %s instead of %s", probes[i].name, strerrorname_np(got),
                     strerrorname_np(probes[i].error));
    }
    (void)fclose(lines);
    if (!child_collect(&child, text, sizeof text))
        fail_msg("it %s", text);
}

static void a_missing_path_is_named(void **state)
{
    const struct sandbox_path path = {"/nowhere/model.gguf", SANDBOX_READ, false};
    const struct sandbox_options options = {.paths = &path, .path_count = 1};
    struct sandbox *sandbox = NULL;
    struct error_note note = {""};

    (void)state;
    if (sandbox_probe() == 0)
        skip();
    assert_int_equal(sandbox_create(&options, &sandbox, &note), STATUS_INVALID);
    assert_null(sandbox);
    assert_non_null(strstr(note.text, "/nowhere/model.gguf"));
}

static void paths_are_counted(void **state)
{
    static struct sandbox_path paths[SANDBOX_PATHS_MAX + 1];
    struct sandbox_options options = {.paths = paths, .path_count = SANDBOX_PATHS_MAX};
    struct sandbox *sandbox = NULL;
    struct error_note note = {""};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        paths[i] = (struct sandbox_path){"/tmp", SANDBOX_READ, false};
    assert_int_equal(sandbox_create(&options, &sandbox, &note), STATUS_OK);
    sandbox_destroy(sandbox);
    options.path_count++;
    assert_int_equal(sandbox_create(&options, &sandbox, &note), STATUS_INVALID);
}

static void what_holds_is_told(void **state)
{
    struct sandbox *sandbox = walls_make();
    char text[256];

    (void)state;
    sandbox_describe(sandbox, text, sizeof text);
    assert_non_null(strstr(text, "seccomp"));
    assert_non_null(strstr(text, "Landlock"));
    sandbox_destroy(sandbox);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_forbidden_fails_inside_and_serving_works,
                                        scratch_make, scratch_remove),
        cmocka_unit_test(a_missing_path_is_named),
        cmocka_unit_test(paths_are_counted),
        cmocka_unit_test_setup_teardown(what_holds_is_told, scratch_make, scratch_remove),
    };

    if (count == 3 && strcmp(arguments[1], "probe") == 0) {
        folder = arguments[2];
        return probe_run();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
