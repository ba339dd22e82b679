#include "kube_plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base64.h"
#include "clock.h"
#include "json.h"
#include "kube_text.h"
#include "memory.h"

#define PLUGIN_WAIT_NS  (60 * NS_PER_SECOND)
#define LOOK_MS         200 /* whether it is to stop */
#define END_PAUSE_NS    (5 * NS_PER_MS)
#define PLUGIN_ARGS_MAX 64u
#define PLUGIN_ENV_MAX  1024u
#define VALUE_BYTES_MAX 120000u /* the kernel takes 128 KiB of one variable */

extern char **environ;

/* Arguments and environment of the plugin. */
struct plugin_words {
    char *arguments[PLUGIN_ARGS_MAX + 2];
    char *environment[PLUGIN_ENV_MAX + 1];
    struct buffer texts[PLUGIN_ARGS_MAX + 1]; /* what `environment` adds */
    uint32_t text_count;
    struct buffer command;
};

static void words_deinit(struct plugin_words *words)
{
    for (uint32_t i = 0; i < words->text_count; i++)
        buffer_deinit(&words->texts[i]);
    buffer_deinit(&words->command);
}

static void variable_add(struct plugin_words *words, uint32_t *count, const char *name,
                         const char *value)
{
    if (words->text_count == PLUGIN_ARGS_MAX + 1 || *count == PLUGIN_ENV_MAX)
        return;
    struct buffer *text = &words->texts[words->text_count++];
    buffer_init(text, VALUE_BYTES_MAX + 1024);
    buffer_append_format(text, "%s=%s", name, value);
    if (text->failed == STATUS_OK)
        words->environment[(*count)++] = text->data;
}

static void text_member_write(struct buffer *out, const char *key, const char *value)
{
    if (*value == '\0')
        return;
    buffer_append_format(out, ",\"%s\":", key);
    json_write_text(out, value);
}

/* What a plugin that asks for it is told of the cluster (provideClusterInfo). */
static void cluster_write(struct buffer *out, const struct kube_access *access)
{
    struct buffer ca;
    buffer_init(&ca, VALUE_BYTES_MAX);
    base64_write(&ca, BASE64_STANDARD, access->ca_pem, strlen(access->ca_pem));
    buffer_append_text(out, ",\"cluster\":{\"server\":");
    json_write_text(out, access->server);
    text_member_write(out, "tls-server-name", access->tls_server_name);
    text_member_write(out, "proxy-url", access->proxy_url);
    text_member_write(out, "certificate-authority-data", ca.bytes > 0 ? ca.data : "");
    buffer_append_text(out, access->is_insecure ? ",\"insecure-skip-tls-verify\":true" : "");
    if (access->exec_config != NULL) {
        buffer_append_text(out, ",\"config\":");
        json_write_value(out, access->exec_config);
    }
    buffer_append_text(out, "}");
    buffer_deinit(&ca);
}

static void info_write(struct buffer *out, const struct kube_access *access)
{
    buffer_append_text(out, "{\"kind\":\"ExecCredential\",\"apiVersion\":");
    json_write_text(out, kube_text(access->exec, "apiVersion"));
    buffer_append_text(out, ",\"spec\":{\"interactive\":false");
    if (strcmp(kube_text(access->exec, "provideClusterInfo"), "true") == 0)
        cluster_write(out, access);
    buffer_append_text(out, "}}");
}

static void words_init(struct plugin_words *words, const struct kube_access *access)
{
    memset(words, 0, sizeof(*words));
    buffer_init(&words->command, 8192);
    const char *command = kube_text(access->exec, "command");
    bool is_relative = *command != '/' && strchr(command, '/') != NULL;
    buffer_append_format(&words->command, "%s%s", is_relative ? access->folder : "", command);
    uint32_t count = 0;
    words->arguments[count++] = words->command.data;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(access->exec, "args"), i, item)
    {
        if (i < PLUGIN_ARGS_MAX)
            words->arguments[count++] = (char *)kube_text_of(item);
    }
    count = 0;
    /* Ours come first: getenv and shells take the first of a name. */
    json_array_foreach(json_object_get(access->exec, "env"), i, item)
    {
        variable_add(words, &count, kube_text(item, "name"), kube_text(item, "value"));
    }
    struct buffer info;
    buffer_init(&info, VALUE_BYTES_MAX);
    info_write(&info, access);
    if (info.failed == STATUS_OK)
        variable_add(words, &count, "KUBERNETES_EXEC_INFO", info.data);
    buffer_deinit(&info);
    for (char **variable = environ; *variable != NULL && count < PLUGIN_ENV_MAX; variable++)
        words->environment[count++] = *variable;
}

/* Signals as a program expects them, whatever the thread that starts it has blocked; a group of its own, so that what it starts
 * can be ended with it. */
static int attributes_set(posix_spawnattr_t *attributes)
{
    sigset_t none, usual;
    (void)sigemptyset(&none);
    (void)sigfillset(&usual);
    (void)sigdelset(&usual, SIGKILL);
    (void)sigdelset(&usual, SIGSTOP);
    int failed = posix_spawnattr_setsigmask(attributes, &none);
    if (failed == 0)
        failed = posix_spawnattr_setsigdefault(attributes, &usual);
    if (failed == 0)
        failed = posix_spawnattr_setpgroup(attributes, 0);
    if (failed == 0)
        failed = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    return failed;
}

static status plugin_spawn(struct plugin_words *words, int output, pid_t *process,
                           struct error_note *note)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return STATUS_NO_MEMORY;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return STATUS_NO_MEMORY;
    }
    int failed = attributes_set(&attributes);
    if (failed == 0)
        failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (failed == 0)
        failed = posix_spawn_file_actions_adddup2(&actions, output, 1);
    if (failed == 0)
        failed = posix_spawnp(process, words->command.data, &actions, &attributes, words->arguments,
                              words->environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0)
        error_note_set(note, "the exec plugin \"%s\" cannot be started: %s", words->command.data,
                       strerror(failed));
    return failed == 0 ? STATUS_OK : STATUS_DENIED;
}

/* A plugin that runs. */
struct plugin_run {
    pid_t process;
    const _Atomic bool *is_stopping;
    uint64_t deadline_ns;
};

static bool is_over(const struct plugin_run *run)
{
    bool is_stopped = run->is_stopping != NULL && atomic_load(run->is_stopping);
    return is_stopped || clock_now_ns() >= run->deadline_ns;
}

/* Reads until the plugin has closed its output. False: too slow, too much, or it is to stop. */
static bool output_read(const struct plugin_run *run, int pipe, struct buffer *out)
{
    while (!is_over(run) && out->failed == STATUS_OK) {
        struct pollfd waiting = {.fd = pipe, .events = POLLIN};
        if (poll(&waiting, 1, LOOK_MS) <= 0)
            continue;
        char piece[4096];
        ssize_t bytes = read(pipe, piece, sizeof(piece));
        if (bytes == 0)
            return true;
        if (bytes > 0)
            buffer_append(out, piece, (size_t)bytes);
        else if (errno != EINTR)
            return false;
    }
    return false;
}

/* True: it has ended well by itself. It is gone afterwards in any case. */
static bool end_awaited(const struct plugin_run *run, bool is_read)
{
    int ended = 0;
    pid_t got = 0;
    while (is_read && (got = waitpid(run->process, &ended, WNOHANG)) == 0 && !is_over(run))
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)END_PAUSE_NS}, NULL);
    if (got == run->process)
        return WIFEXITED(ended) && WEXITSTATUS(ended) == 0;
    (void)kill(-run->process, SIGKILL);
    while (waitpid(run->process, &ended, 0) < 0 && errno == EINTR)
        continue;
    return false;
}

static status plugin_await(struct plugin_run *run, int output, const char *command,
                           struct buffer *out, struct error_note *note)
{
    bool is_read = output_read(run, output, out);
    if (end_awaited(run, is_read))
        return STATUS_OK;
    if (run->is_stopping != NULL && atomic_load(run->is_stopping)) {
        error_note_set(note, "stopped");
        return STATUS_CANCELLED;
    }
    error_note_set(note, "the exec plugin \"%s\" %s", command,
                   out->failed != STATUS_OK             ? "writes too much"
                   : clock_now_ns() >= run->deadline_ns ? "gave no answer in a minute"
                                                        : "ended with an error");
    return STATUS_DENIED;
}

status kube_plugin_run(const struct kube_access *access, const _Atomic bool *is_stopping,
                       struct buffer *out, struct error_note *note)
{
    int ends[2];
    if (strcmp(kube_text(access->exec, "interactiveMode"), "Always") == 0) {
        error_note_set(note, "the exec plugin \"%s\" wants a terminal (interactiveMode: Always)",
                       kube_text(access->exec, "command"));
        return STATUS_DENIED;
    }
    struct plugin_words *words = memory_allocate(sizeof(*words));
    if (words == NULL)
        return STATUS_NO_MEMORY;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        memory_release(words);
        error_note_set(note, "no pipe for the exec plugin: %s", strerror(errno));
        return STATUS_IO;
    }
    words_init(words, access);
    struct plugin_run run = {.is_stopping = is_stopping,
                             .deadline_ns = clock_now_ns() + PLUGIN_WAIT_NS};
    status result = plugin_spawn(words, ends[1], &run.process, note);
    close(ends[1]);
    if (result == STATUS_OK)
        result = plugin_await(&run, ends[0], words->command.data, out, note);
    close(ends[0]);
    words_deinit(words);
    memory_release(words);
    return result;
}
