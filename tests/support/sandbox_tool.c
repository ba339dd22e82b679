/* Runs a program in a replica's sandbox, and ends with it:
 *   sandbox_tool [--read PATH] [--write PATH] [--listen FOLDER] [--port N] -- PROGRAM ARGUMENT...
 * What holds is told on standard error first. Ends the program when it is asked to end itself, or is killed. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "child.h"
#include "sandbox.h"

extern char **environ;

static int run(const struct sandbox_options *options, char **arguments)
{
    struct child child = {.pid_fd = -1, .lifeline_fd = -1};
    struct child_order order = {
        .program = arguments[0], .arguments = arguments, .environment = environ, .output_fd = -1};
    struct error_note note = {""};
    struct pollfd events[2];
    char text[256];
    sigset_t ends;

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    if (sandbox_create(options, &order.sandbox, &note) != STATUS_OK ||
        child_start(&child, &order, &note) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", note.text);
        return 2;
    }
    sandbox_describe(order.sandbox, text, sizeof text);
    (void)fprintf(stderr, "sandbox: %s\n", text);
    sandbox_destroy(order.sandbox);
    events[0] = (struct pollfd){.fd = child.pid_fd, .events = POLLIN};
    events[1] = (struct pollfd){.fd = signalfd(-1, &ends, SFD_CLOEXEC), .events = POLLIN};
    while (poll(events, 2, -1) >= 0 && events[0].revents == 0) {
        struct signalfd_siginfo info;

        if (read(events[1].fd, &info, sizeof info) == (ssize_t)sizeof info)
            child_signal(&child, SIGTERM);
    }
    if (child_collect(&child, text, sizeof text))
        return 0;
    (void)fprintf(stderr, "%s %s\n", arguments[0], text);
    return 1;
}

int main(int count, char **arguments)
{
    struct sandbox_path paths[64];
    struct sandbox_options options = {.paths = paths};
    int i = 1;

    for (; i + 1 < count && strcmp(arguments[i], "--") != 0 && options.path_count < 63; i += 2) {
        struct sandbox_path path = {.path = arguments[i + 1], .access = SANDBOX_READ};

        if (strcmp(arguments[i], "--port") == 0) {
            options.listen_port = (uint16_t)strtoul(arguments[i + 1], NULL, 10);
            continue;
        }
        if (strcmp(arguments[i], "--write") == 0)
            path.access = SANDBOX_WRITE;
        if (strcmp(arguments[i], "--listen") == 0)
            path.access = SANDBOX_LISTEN;
        paths[options.path_count++] = path;
    }
    if (i + 1 >= count || strcmp(arguments[i], "--") != 0) {
        (void)fprintf(stderr, "usage: sandbox_tool [--read PATH] [--write PATH] [--listen FOLDER] "
                              "[--port N] -- PROGRAM ARGUMENT...\n");
        return 2;
    }
    paths[options.path_count++] =
        (struct sandbox_path){.path = arguments[i + 1], .access = SANDBOX_EXECUTE};
    return run(&options, &arguments[i + 1]);
}
