/* One thread shows and hears, another one asks the gateway (reader.h). Signals are read as bytes are, so that the terminal is put back in
 * one place. */
#include "top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cells.h"
#include "check.h"
#include "clock.h"
#include "frame.h"
#include "memory.h"
#include "minute.h"
#include "reader.h"
#include "terminal.h"

#define FRAME_BYTES_MAX (8u << 20)
#define NAME_BYTES      1024u
#define DRAW_MS         1000                /* the clock and the figures' age go on */
#define LATE_NS         (3 * NS_PER_SECOND) /* beyond the interval: then the gateway hangs */

static const char keys[] = "q quit   space pause   \xE2\x86\x91 \xE2\x86\x93 or m another model";

struct screen {
    const struct top *top; /* borrowed */
    struct terminal terminal;
    struct reader *reader;   /* owned */
    struct top_facts *facts; /* owned; NULL: nothing has been read */
    uint64_t facts_ns;       /* when it was */
    char trouble[sizeof(struct error_note) + 128], selected[NAME_BYTES];
    bool is_paused, is_over;
    int exit_code;
};

static void clock_write(char out[16])
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm parts;

    if (localtime_r(&now, &parts) == NULL || strftime(out, 16, "%H:%M:%S", &parts) == 0)
        out[0] = '\0';
}

/* --- one frame --- */

static int once(const struct top *top)
{
    struct error_note note = {""};
    struct frame_view view = {
        .where = top->where, .trouble = "", .keys = "", .has_colours = terminal_has_colours()};
    double gateway_s = 0;
    struct top_facts *facts = top_facts_read(top, &gateway_s, &note);
    char clock[16];
    uint32_t height;
    struct buffer frame;
    bool is_written;

    if (facts == NULL) {
        (void)fprintf(stderr, "penstock top: %s\n", note.text);
        return 1;
    }
    clock_write(clock);
    view.clock = clock;
    terminal_size(&view.width, &height);
    buffer_init(&frame, FRAME_BYTES_MAX);
    frame_write(facts, &view, &frame);
    is_written = frame.failed == STATUS_OK &&
                 fwrite(frame.data, 1, frame.bytes, stdout) == frame.bytes && fflush(stdout) == 0;
    if (!is_written)
        (void)fprintf(stderr, "penstock top: the frame cannot be written\n");
    buffer_deinit(&frame);
    top_facts_destroy(facts);
    return is_written ? 0 : 1;
}

/* --- many --- */

/* What is shown while the gateway does not answer: why, and how old the figures are. */
static void trouble_write(const struct screen *screen, char *out, size_t bytes)
{
    uint64_t age_ns = clock_now_ns() - screen->facts_ns;
    unsigned long long age_s = age_ns / NS_PER_SECOND;

    out[0] = '\0';
    if (screen->trouble[0] != '\0' && screen->facts == NULL)
        (void)snprintf(out, bytes, "Trying again: %s", screen->trouble);
    else if (screen->trouble[0] != '\0')
        (void)snprintf(out, bytes, "Figures are %llu s old. Trying again: %s", age_s,
                       screen->trouble);
    else if (!screen->is_paused && age_ns > screen->top->interval_ns + LATE_NS)
        (void)snprintf(out, bytes, "No answer for %llu s. Waiting for it", age_s);
}

static void draw(struct screen *screen)
{
    char clock[16], trouble[sizeof(screen->trouble) + 64];
    struct frame_view view = {.has_colours = terminal_has_colours(),
                              .is_paused = screen->is_paused,
                              .where = screen->top->where,
                              .clock = clock,
                              .selected = screen->selected,
                              .trouble = trouble,
                              .keys = keys};
    struct buffer frame;

    clock_write(clock);
    trouble_write(screen, trouble, sizeof(trouble));
    terminal_size(&view.width, &view.height);
    buffer_init(&frame, FRAME_BYTES_MAX);
    frame_write(screen->facts, &view, &frame);
    /* Without memory the old frame stays. */
    if (frame.failed == STATUS_OK && !terminal_show(&frame)) {
        screen->is_over = true;
        screen->exit_code = 1;
    }
    buffer_deinit(&frame);
}

static void model_choose(struct screen *screen, bool is_next)
{
    struct minutes minutes;

    if (screen->facts == NULL || !minutes_init(&minutes, screen->facts))
        return;
    if (minutes.count > 0) {
        uint32_t at = minutes_find(&minutes, screen->selected);

        at = (at + (is_next ? 1 : minutes.count - 1)) % minutes.count;
        (void)snprintf(screen->selected, sizeof(screen->selected), "%s", minutes.models[at].name);
    }
    minutes_deinit(&minutes);
}

static void keys_hear(struct screen *screen)
{
    char text[256];
    ssize_t bytes = read(STDIN_FILENO, text, sizeof(text));
    size_t taken = 0;

    if (bytes == 0 || (bytes < 0 && errno != EINTR && errno != EAGAIN)) {
        screen->is_over = true; /* the terminal is gone */
        screen->exit_code = 1;
    }
    for (ssize_t at = 0; at < bytes; at += (ssize_t)taken) {
        enum key key = terminal_key(text + at, (size_t)(bytes - at), &taken);

        if (key == KEY_QUIT)
            screen->is_over = true;
        else if (key == KEY_PAUSE)
            screen->is_paused = !screen->is_paused;
        else if (key != KEY_NONE)
            model_choose(screen, key == KEY_NEXT);
    }
}

static void signal_hear(struct screen *screen, int descriptor)
{
    struct signalfd_siginfo heard;

    if (read(descriptor, &heard, sizeof(heard)) != (ssize_t)sizeof(heard))
        return;
    if (heard.ssi_signo == SIGTSTP) {
        terminal_leave(&screen->terminal);
        (void)raise(SIGSTOP);
        screen->is_over = !terminal_enter(&screen->terminal);
    } else if (heard.ssi_signo != SIGWINCH && heard.ssi_signo != SIGCONT) {
        screen->is_over = true;
        screen->exit_code = 128 + (int)heard.ssi_signo;
    }
}

static void news_take(struct screen *screen)
{
    struct top_facts *facts = NULL;
    struct error_note note;

    if (!reader_take(screen->reader, &facts, &note))
        return;
    (void)snprintf(screen->trouble, sizeof(screen->trouble), "%s", note.text);
    if (facts == NULL)
        return;
    screen->trouble[0] = '\0';
    if (screen->is_paused) {
        top_facts_destroy(facts);
        return;
    }
    top_facts_destroy(screen->facts);
    screen->facts = facts;
    screen->facts_ns = clock_now_ns();
}

static void screen_run(struct screen *screen, int signals)
{
    struct pollfd heard[] = {{STDIN_FILENO, POLLIN, 0},
                             {signals, POLLIN, 0},
                             {reader_descriptor(screen->reader), POLLIN, 0}};

    while (!screen->is_over) {
        draw(screen);
        if (screen->is_over || poll(heard, ARRAY_COUNT(heard), DRAW_MS) <= 0)
            continue;
        if (heard[1].revents != 0)
            signal_hear(screen, signals);
        if (heard[0].revents != 0 && !screen->is_over)
            keys_hear(screen);
        if (heard[2].revents != 0)
            news_take(screen);
    }
}

static int many(const struct top *top)
{
    static const int heard[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
    struct screen screen = {.top = top, .facts_ns = clock_now_ns(), .exit_code = 0};
    sigset_t set;
    int signals;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_COUNT(heard); i++)
        (void)sigaddset(&set, heard[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    screen.reader = signals >= 0 ? reader_create(top) : NULL;
    if (screen.reader == NULL) {
        (void)fprintf(stderr, "penstock top: the system has no room for it\n");
        return 1;
    }
    if (terminal_enter(&screen.terminal)) {
        screen_run(&screen, signals);
    } else {
        (void)fprintf(stderr, "penstock top: the terminal cannot be set: %s\n", strerror(errno));
        screen.exit_code = 1;
    }
    terminal_leave(&screen.terminal);
    reader_destroy(screen.reader);
    top_facts_destroy(screen.facts);
    (void)close(signals);
    return screen.exit_code;
}

int top_run(const struct top *top)
{
    (void)cells_locale_set();
    return top->is_once || !terminal_is_there() ? once(top) : many(top);
}
