#ifndef PENSTOCK_TESTS_LOCAL_WORLD_H
#define PENSTOCK_TESTS_LOCAL_WORLD_H

/* A driver of this machine with who follows it, for its tests, and what they order: the test's own program, started once more as a
 * replica ("serve ...") that says what it has. Real children, real signals, real walls. */
#include "unit_test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "fake_nvml.h"
#include "local_internal.h"
#include "local_member.h"

#define GIB (1ull << 30)
/* Of what must come: a machine that is busy with other things is given time. */
#define PATIENCE_S 120

/* --- the replica: what it says goes into the file OUT --- */

static inline void say(FILE *out, const char *name)
{
    const char *value = getenv(name); // NOLINT: one thread

    (void)fprintf(out, "%s=%s\n", name, value != NULL ? value : "(none)");
}

static inline void facts_say(const char *path, char **files, int file_count)
{
    char fresh[220];
    FILE *out;
    cpu_set_t cores;
    struct rlimit data;
    int policy;

    (void)snprintf(fresh, sizeof fresh, "%s.%d", path,
                   (int)getpid()); /* parts of a gang say so at once */
    out = fopen(fresh, "we");
    if (out == NULL)
        exit(9);
    say(out, "CUDA_VISIBLE_DEVICES");
    say(out, "PENSTOCK_POOL");
    say(out, "PENSTOCK_UID");
    say(out, "PENSTOCK_PART");
    say(out, "PENSTOCK_PARTS");
    say(out, "COLOUR");
    say(out, "SECRET");
    say(out, "HOME");
    (void)sched_getaffinity(0, sizeof cores, &cores);
    (void)fprintf(out, "cores=%d first=", CPU_COUNT(&cores));
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &cores)) {
            (void)fprintf(out, "%d\n", i);
            break;
        }
    if (syscall(SYS_get_mempolicy, &policy, NULL, 0ul, NULL, 0ul) == 0)
        (void)fprintf(out, "policy=%d\n", policy);
    (void)getrlimit(RLIMIT_DATA, &data);
    (void)fprintf(out, "data=%llu\n", (unsigned long long)data.rlim_cur);
    for (int i = 0; i < file_count; i++)
        (void)fprintf(out, "file%d=%s\n", i,
                      access(files[i], R_OK) != 0    ? "missing"
                      : open(files[i], O_RDONLY) < 0 ? "closed"
                                                     : "open");
    if (fclose(out) != 0 || rename(fresh, path) != 0)
        exit(8);
}

static volatile sig_atomic_t hangups;

static inline void on_hangup(int number)
{
    (void)number;
    hangups++;
}

static inline void on_end(int number)
{
    (void)number;
    _exit(0);
}

/* serve OUT HOW FILE...: HOW is "wait" (until it is asked to end), "stubborn" (it does not), "hear" (ends with 7 at SIGHUP), or
 * a digit to end with. */
static inline int replica_main(int count, char **arguments)
{
    const char *how = arguments[3];
    sigset_t none;

    (void)signal(SIGTERM, strcmp(how, "stubborn") == 0 ? SIG_IGN : on_end);
    (void)signal(SIGHUP, on_hangup);
    facts_say(arguments[2], arguments + 4, count - 4);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (how[0] >= '0' && how[0] <= '9')
        return how[0] - '0';
    for (;;) {
        if (strcmp(how, "hear") == 0 && hangups > 0)
            return 7;
        (void)poll(NULL, 0, 20);
    }
}

/* --- who hears --- */

struct heard_replica {
    uint64_t uid;
    enum member_phase phase;
    enum member_cause cause;
    char handle[32], reason[LOCAL_REASON_BYTES], name[LOCAL_NAME_BYTES], slice[64];
    uint64_t memory_bytes;
    uint32_t compute_milli, part_count, told_count;
};

struct heard_slice {
    char id[128], reason[DEVICE_REASON_BYTES], region[16], label[16], nvlink[32];
    enum slice_kind kind;
    enum slice_vendor vendor;
    enum slice_health health;
    uint64_t memory_foreign_bytes;
    uint32_t compute_milli, step_milli, tenants_max;
    int64_t price_nano_hour;
    bool is_gone;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct heard_replica replicas[64];
    uint32_t replica_count;
    struct heard_slice slices[64];
    uint32_t slice_count, list_count, listed_count, heard_count;
    bool is_in_list;
    struct member_driver driver;
    struct local_member *member;
    _Atomic bool is_stopping;
    pthread_t thread;
    bool is_followed;
} world;

static char folder[64];
static char library[512];
static struct fake_nvml *fake;

static inline void on_list(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    world.is_in_list = true;
    for (uint32_t i = 0; i < world.slice_count; i++)
        world.slices[i].is_gone = true;
    (void)pthread_mutex_unlock(&world.lock);
}

static inline struct heard_slice *slice_named(const char *id)
{
    for (uint32_t i = 0; i < world.slice_count; i++)
        if (strcmp(world.slices[i].id, id) == 0)
            return &world.slices[i];
    return NULL;
}

static inline void text_keep(char *out, size_t bytes, const char *text)
{
    (void)snprintf(out, bytes, "%s", text != NULL ? text : "");
}

static inline void on_slice(void *context, const struct slice_report *report)
{
    struct heard_slice *slice;

    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    slice = slice_named(report->id);
    if (slice == NULL)
        slice = &world.slices[world.slice_count++];
    *slice = (struct heard_slice){.kind = report->kind,
                                  .vendor = report->vendor,
                                  .health = report->health,
                                  .memory_foreign_bytes = report->memory_foreign_bytes,
                                  .compute_milli = report->compute_milli,
                                  .step_milli = report->step_milli,
                                  .tenants_max = report->tenants_max,
                                  .price_nano_hour = report->price_nano_hour};
    text_keep(slice->id, sizeof slice->id, report->id);
    text_keep(slice->reason, sizeof slice->reason, report->reason);
    text_keep(slice->region, sizeof slice->region, report->region);
    text_keep(slice->nvlink, sizeof slice->nvlink, report->nvlink_domain);
    text_keep(slice->label, sizeof slice->label, report->label_count > 0 ? report->labels[0] : "");
    (void)pthread_cond_broadcast(&world.wake);
    (void)pthread_mutex_unlock(&world.lock);
}

static inline void on_slice_gone(void *context, const char *id)
{
    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    slice_named(id)->is_gone = true;
    (void)pthread_cond_broadcast(&world.wake);
    (void)pthread_mutex_unlock(&world.lock);
}

static inline void on_list_end(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    world.is_in_list = false;
    world.list_count++;
    (void)pthread_cond_broadcast(&world.wake);
    (void)pthread_mutex_unlock(&world.lock);
}

static inline void on_heard(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    world.heard_count++;
    (void)pthread_cond_broadcast(&world.wake);
    (void)pthread_mutex_unlock(&world.lock);
}

static inline struct heard_replica *replica_of(uint64_t uid)
{
    for (uint32_t i = 0; i < world.replica_count; i++)
        if (world.replicas[i].uid == uid)
            return &world.replicas[i];
    return NULL;
}

static inline void on_replica(void *context, const struct member_replica *told)
{
    struct heard_replica *replica;

    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    replica = replica_of(told->uid);
    if (replica == NULL)
        replica = &world.replicas[world.replica_count++];
    replica->uid = told->uid;
    replica->phase = told->phase;
    replica->cause = told->cause;
    replica->told_count++;
    text_keep(replica->handle, sizeof replica->handle, told->handle);
    text_keep(replica->reason, sizeof replica->reason, told->reason);
    text_keep(replica->name, sizeof replica->name, told->name);
    text_keep(replica->slice, sizeof replica->slice, told->parts[0].slice_id);
    replica->memory_bytes = told->parts[0].memory_bytes;
    replica->compute_milli = told->parts[0].compute_milli;
    replica->part_count = told->part_count;
    (void)pthread_cond_broadcast(&world.wake);
    (void)pthread_mutex_unlock(&world.lock);
}

static inline void on_replicas_listed(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&world.lock);
    world.listed_count++;
    (void)pthread_cond_broadcast(&world.wake);
    (void)pthread_mutex_unlock(&world.lock);
}

static inline void on_resync(void *context)
{
    (void)context;
}

static const struct member_sink sink = {on_list,     on_slice,           on_slice_gone,
                                        on_list_end, on_heard,           on_resync,
                                        on_replica,  on_replicas_listed, NULL};

/* With the lock. False: it did not come. */
static inline bool await(bool (*has_come)(const void *), const void *what)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    while (!has_come(what))
        if (pthread_cond_timedwait(&world.wake, &world.lock, &until) != 0)
            return has_come(what);
    return true;
}

struct awaited_phase {
    uint64_t uid;
    enum member_phase phase;
};

static inline bool phase_has_come(const void *what)
{
    const struct awaited_phase *awaited = what;
    const struct heard_replica *replica = replica_of(awaited->uid);

    return replica != NULL && replica->phase == awaited->phase;
}

/* What was told of it when it was told in this phase, or has come to be since. */
static inline struct heard_replica await_phase(uint64_t uid, enum member_phase phase)
{
    const struct awaited_phase awaited = {uid, phase};
    struct heard_replica replica = {0};
    bool is_there;

    (void)pthread_mutex_lock(&world.lock);
    is_there = await(phase_has_come, &awaited);
    if (replica_of(uid) != NULL)
        replica = *replica_of(uid);
    (void)pthread_mutex_unlock(&world.lock);
    if (!is_there)
        fail_msg("it is in phase %d (%s), not in %d", replica.phase, replica.reason, phase);
    return replica;
}

struct awaited_slice {
    const char *id;
    bool (*is_so)(const struct heard_slice *slice);
};

static inline bool slice_has_come(const void *what)
{
    const struct awaited_slice *awaited = what;
    const struct heard_slice *slice = slice_named(awaited->id);

    return slice != NULL && awaited->is_so(slice);
}

static inline struct heard_slice await_slice(const char *id,
                                             bool (*is_so)(const struct heard_slice *))
{
    const struct awaited_slice awaited = {id, is_so};
    struct heard_slice slice = {.id = ""};
    bool is_there;

    (void)pthread_mutex_lock(&world.lock);
    is_there = await(slice_has_come, &awaited);
    if (slice_named(id) != NULL)
        slice = *slice_named(id);
    (void)pthread_mutex_unlock(&world.lock);
    if (!is_there)
        fail_msg("%s is not so: health %d, %s", id, slice.health, slice.reason);
    return slice;
}

static inline bool is_there(const struct heard_slice *slice)
{
    return !slice->is_gone;
}

static inline bool is_bad(const struct heard_slice *slice)
{
    return slice->health == SLICE_BAD;
}

static inline bool is_gone(const struct heard_slice *slice)
{
    return slice->is_gone;
}

/* --- the driver --- */

static inline struct local_member_config config_make(void)
{
    static const char *const labels[] = {"eu"};

    return (struct local_member_config){.pool = "test",
                                        .node = "here",
                                        .region = "west",
                                        .labels = labels,
                                        .label_count = 1,
                                        .has_cpu_slices = true,
                                        .core_price_nano_hour = 5,
                                        .device_interval_ns = 20 * NS_PER_MS};
}

static inline void *follow_run(void *context)
{
    struct error_note note = {""};

    (void)context;
    if (world.driver.follow(world.driver.driver, &sink, &world.is_stopping, &note) != STATUS_OK)
        abort();
    return NULL;
}

static inline void follow_begin(void)
{
    atomic_store(&world.is_stopping, false);
    assert_int_equal(pthread_create(&world.thread, NULL, follow_run, NULL), 0);
    world.is_followed = true;
}

static inline void follow_end(void)
{
    if (!world.is_followed)
        return;
    atomic_store(&world.is_stopping, true);
    world.driver.wake(world.driver.driver);
    (void)pthread_join(world.thread, NULL);
    world.is_followed = false;
}

static inline void driver_make(const struct local_member_config *config)
{
    struct error_note note = {""};

    world.replica_count = world.slice_count = 0;
    world.list_count = world.listed_count = world.heard_count = 0;
    if (local_member_create(config, &world.driver, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    world.member = world.driver.driver;
}

static inline void driver_end(void)
{
    follow_end();
    if (world.driver.driver != NULL)
        world.driver.destroy(world.driver.driver);
    world.driver.driver = NULL;
}

/* An order of this test as a replica: `how` it ends, and what files it looks at. */
struct order {
    const char *arguments[12];
    const char *environment[5];
    struct member_part parts[4];
    struct member_order order;
    char out[160];
};

static inline void order_make(struct order *order, uint64_t uid, const char *how, uint32_t milli)
{
    memset(order, 0, sizeof *order);
    (void)snprintf(order->out, sizeof order->out, "%s/out-%u", folder, (unsigned)uid);
    (void)unlink(order->out);
    order->arguments[0] = "local_member_test";
    order->arguments[1] = "serve";
    order->arguments[2] = order->out;
    order->arguments[3] = how;
    order->environment[0] = "COLOUR=green";
    /* A sanitizer looks for leaks by tracing itself, and sets limits: forbidden inside. */
    order->environment[1] = "ASAN_OPTIONS=detect_leaks=0:disable_coredump=0:abort_on_error=1";
    order->environment[2] = "TSAN_OPTIONS=disable_coredump=0";
    order->parts[0] = (struct member_part){"here/cpu", GIB, milli};
    order->order = (struct member_order){.uid = uid,
                                         .name = "smollm2-1",
                                         .arguments = order->arguments,
                                         .environment = order->environment,
                                         .image = "",
                                         .parts = order->parts,
                                         .part_count = 1};
}

static inline status start(struct order *order)
{
    struct error_note note = {""};
    status result = world.driver.start(world.driver.driver, &order->order, &note);

    if (result != STATUS_OK)
        print_message("start: %s: %s\n", status_name(result), note.text);
    return result;
}

static inline void started(struct order *order, uint64_t uid, const char *how, uint32_t milli)
{
    order_make(order, uid, how, milli);
    assert_int_equal(start(order), STATUS_OK);
}

static inline void stop(uint64_t uid, uint64_t grace_ns)
{
    struct error_note note = {""};

    assert_int_equal(world.driver.stop(world.driver.driver, uid, grace_ns, &note), STATUS_OK);
}

/* What the replica has said, once it has: its signals are set by then. */
static inline const char *facts_of(const struct order *order)
{
    static char text[2048];
    uint64_t until_ns = clock_now_ns() + PATIENCE_S * NS_PER_SECOND;
    FILE *file = NULL;
    size_t bytes;

    while ((file = fopen(order->out, "re")) == NULL && clock_now_ns() < until_ns)
        (void)poll(NULL, 0, 5);
    assert_non_null(file);
    bytes = fread(text, 1, sizeof text - 1, file);
    text[bytes] = '\0';
    (void)fclose(file);
    return text;
}

static inline void assert_says(const struct order *order, const char *line)
{
    const char *text = facts_of(order);
    char whole[256];

    (void)snprintf(whole, sizeof whole, "%s\n", line);
    if (strstr(text, whole) == NULL)
        fail_msg("it does not say %s but\n%s", line, text);
}

static inline pid_t pid_of(uint64_t uid)
{
    pid_t pid = 0;

    assert_int_equal(local_member_process(world.member, uid, 0, &pid, NULL, NULL), STATUS_OK);
    return pid;
}

/* --- devices --- */

static inline void host_make(unsigned count)
{
    static const char *const uuids[] = {"GPU-0", "GPU-1", "GPU-2", "GPU-3",
                                        "GPU-4", "GPU-5", "GPU-6", "GPU-7"};

    memset(fake, 0, sizeof *fake);
    fake->count = count;
    for (unsigned i = 0; i < count; i++) {
        fake->gpus[i] = (struct fake_gpu){.name = "NVIDIA H100 80GB HBM3",
                                          .uuid = uuids[i],
                                          .bus = 0x10 + i,
                                          .major = 9,
                                          .numa = 0,
                                          .memory_total = 80 * GIB,
                                          .memory_used = GIB,
                                          .links = 18,
                                          .link_type = 2};
        for (unsigned k = 0; k < count; k++)
            fake->ancestors[i][k] = 20;
    }
}

static inline struct local_member_config device_config(void)
{
    static const struct local_price prices[] = {{"", 7}, {"NVIDIA H100 80GB HBM3", 9}};
    struct local_member_config config = config_make();

    config.has_devices = true;
    config.nvml_library = library;
    config.sysfs = folder;
    config.prices = prices;
    config.price_count = 2;
    return config;
}

/* The fake is one state for all: nobody may be in it any more. */
static inline void device_driver_end(void)
{
    driver_end();
    while (fake->open_count != 0)
        (void)sched_yield();
}

/* Of a test that has failed. */
static inline int world_end(void **state)
{
    (void)state;
    device_driver_end();
    return 0;
}

/* --- a group of tests --- */

static inline int group_begin(void **state)
{
    char path[400];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    void *handle;

    (void)state;
    assert_true(length > 0);
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    (void)snprintf(library, sizeof library, "%s/libfake_nvml.so", path);
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL); /* kept, and with it the state */
    if (handle == NULL)
        fail_msg("%s", dlerror());
    fake = dlsym(handle, "fake_nvml_state");
    (void)snprintf(folder, sizeof folder, "/tmp/local_world.XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)pthread_mutex_init(&world.lock, NULL);
    (void)pthread_cond_init(&world.wake, NULL);
    (void)setenv("HOME", "/some/where", 1); // NOLINT: one thread
    (void)setenv("SECRET", "x", 1);         // NOLINT
    return 0;
}

static inline int group_end(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* The test's main: a replica if it was started as one. */
#define LOCAL_WORLD_RUN(count, arguments, tests)                                                   \
    ((count) >= 4 && strcmp((arguments)[1], "serve") == 0                                          \
         ? replica_main(count, arguments)                                                          \
         : cmocka_run_group_tests(tests, group_begin, group_end))

#endif
