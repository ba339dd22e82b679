#include "pull_progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define SHOW_NS    (NS_PER_SECOND / 10)
#define BAR_CELLS  24u
#define NAME_CELLS 32

static void bytes_write(double bytes, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    (void)snprintf(out, 24, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void pull_progress_begin(struct pull_progress *progress, const char *name, bool is_quiet)
{
    *progress = (struct pull_progress){.name = name,
                                       .total_bytes = UINT64_MAX,
                                       .begin_bytes = UINT64_MAX,
                                       .begin_ns = clock_now_ns(),
                                       .is_quiet = is_quiet,
                                       .is_terminal = isatty(STDERR_FILENO) == 1};
}

static void line_write(const struct pull_progress *progress, uint64_t now)
{
    double seconds = (double)(now - progress->begin_ns) / NS_PER_SECOND;
    double speed =
        seconds > 0 ? (double)(progress->done_bytes - progress->begin_bytes) / seconds : 0;
    char bar[BAR_CELLS + 1] = "", done[24], total[24], rate[24];
    size_t name_bytes = strlen(progress->name);
    const char *name =
        name_bytes > NAME_CELLS ? progress->name + name_bytes - NAME_CELLS : progress->name;

    bytes_write((double)progress->done_bytes, done);
    bytes_write(speed, rate);
    if (progress->total_bytes == UINT64_MAX) {
        (void)fprintf(stderr, "\r%-*s %s, %s/s\033[K", NAME_CELLS, name, done, rate);
        return;
    }
    double share = progress->total_bytes > 0
                       ? (double)progress->done_bytes / (double)progress->total_bytes
                       : 1;
    double left = speed > 0 ? (double)(progress->total_bytes - progress->done_bytes) / speed : 0;

    for (unsigned i = 0; i < BAR_CELLS; i++)
        bar[i] = i < (unsigned)(share * BAR_CELLS) ? '#' : '.';
    bytes_write((double)progress->total_bytes, total);
    (void)fprintf(stderr, "\r%-*s %3.0f%% [%s] %s of %s, %s/s, %u:%02u left\033[K", NAME_CELLS,
                  name, share * 100, bar, done, total, rate, (unsigned)(left / 60),
                  (unsigned)left % 60);
}

void pull_progress_show(struct pull_progress *progress, uint64_t done_bytes, uint64_t total_bytes)
{
    uint64_t now = clock_now_ns();

    if (progress->begin_bytes == UINT64_MAX)
        progress->begin_bytes = done_bytes;
    progress->done_bytes = done_bytes;
    progress->total_bytes = total_bytes;
    if (done_bytes < progress->begin_bytes) /* it had to begin anew */
        progress->begin_bytes = done_bytes;
    if (!progress->is_terminal || progress->is_quiet || now - progress->shown_ns < SHOW_NS)
        return;
    progress->shown_ns = now;
    line_write(progress, now);
}

void pull_progress_break(struct pull_progress *progress)
{
    if (progress->shown_ns != 0)
        (void)fputc('\n', stderr);
    progress->shown_ns = 0;
}

void pull_progress_end(struct pull_progress *progress, const char *word)
{
    char size[24];

    if (progress->is_quiet)
        return;
    bytes_write((double)progress->done_bytes, size);
    (void)fprintf(stderr, "%s%s: %s, %s\n", progress->shown_ns != 0 ? "\r\033[K" : "",
                  progress->name, size, word);
    progress->shown_ns = 0;
}
