#include "sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"
#include "memory.h"
#include "sandbox_internal.h"

struct sandbox {
    struct sandbox_filter filter;
    int rules_fd; /* owned; -1: no Landlock */
    int landlock_version;
    struct {
        int resource;
        uint64_t most; /* 0: as the parent */
    } limits[3];
};

static void limits_set(struct sandbox *sandbox, const struct sandbox_options *options)
{
    sandbox->limits[0].resource = RLIMIT_NOFILE;
    sandbox->limits[0].most = options->files_max;
    sandbox->limits[1].resource = RLIMIT_FSIZE;
    sandbox->limits[1].most = options->file_bytes_max;
    sandbox->limits[2].resource = RLIMIT_DATA;
    sandbox->limits[2].most = options->data_bytes_max;
}

status sandbox_create(const struct sandbox_options *options, struct sandbox **out,
                      struct error_note *note)
{
    struct sandbox *sandbox;
    status result;

    if (options->path_count > SANDBOX_PATHS_MAX) {
        error_note_set(note, "%u paths, of at most %u", options->path_count, SANDBOX_PATHS_MAX);
        return STATUS_INVALID;
    }
    sandbox = memory_allocate_array(1, sizeof *sandbox);
    if (sandbox == NULL)
        return STATUS_NO_MEMORY;
    sandbox->rules_fd = -1;
    sandbox->landlock_version = sandbox_probe();
    limits_set(sandbox, options);
    if (!sandbox_filter_build(&sandbox->filter, options->listen_port != 0)) {
        error_note_set(note, "there is no list of calls for this processor");
        result = STATUS_UNSUPPORTED;
    } else if (sandbox->landlock_version == 0 && options->needs_landlock) {
        error_note_set(note, "this kernel has no Landlock, or it is switched off");
        result = STATUS_UNSUPPORTED;
    } else {
        result = sandbox_rules_create(options, sandbox->landlock_version, &sandbox->rules_fd, note);
    }
    if (result != STATUS_OK) {
        sandbox_destroy(sandbox);
        return result;
    }
    *out = sandbox;
    return STATUS_OK;
}

void sandbox_destroy(struct sandbox *sandbox)
{
    if (sandbox == NULL)
        return;
    if (sandbox->rules_fd >= 0)
        (void)close(sandbox->rules_fd);
    memory_release(sandbox);
}

void sandbox_describe(const struct sandbox *sandbox, char *text, uint32_t text_bytes)
{
    int version = sandbox->landlock_version;

    if (version == 0)
        (void)snprintf(
            text, text_bytes,
            "no new privileges, seccomp; this kernel has no Landlock: files are open to it "
            "as to its user");
    else
        (void)snprintf(text, text_bytes, "no new privileges, seccomp, Landlock %d%s%s%s", version,
                       version < 3 ? "; files can be truncated" : "",
                       version < 4 ? "; TCP ports are not told apart" : "",
                       version < 5 ? "; devices are not told apart" : "");
}

static int limits_enter(const struct sandbox *sandbox)
{
    const struct rlimit none = {0, 0};
    struct rlimit now;

    for (uint32_t i = 0; i < ARRAY_COUNT(sandbox->limits); i++) {
        rlim_t most = sandbox->limits[i].most;

        if (most == 0)
            continue;
        if (getrlimit((unsigned)sandbox->limits[i].resource, &now) != 0)
            return errno;
        if (now.rlim_max < most)
            most = now.rlim_max;
        now = (struct rlimit){most, most};
        if (setrlimit((unsigned)sandbox->limits[i].resource, &now) != 0)
            return errno;
    }
    /* What clients wrote must not end in a file. */
    return setrlimit(RLIMIT_CORE, &none) == 0 ? 0 : errno;
}

int sandbox_enter(struct sandbox *sandbox, const char **step)
{
    int error;

    *step = "limits";
    error = limits_enter(sandbox);
    if (error != 0)
        return error;
    *step = "no_new_privs";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return errno;
    *step = "Landlock";
    error = sandbox_rules_apply(sandbox->rules_fd);
    if (error != 0)
        return error;
    *step = "seccomp"; /* the last: it forbids the others' calls */
    return sandbox_filter_install(&sandbox->filter, getpid());
}
