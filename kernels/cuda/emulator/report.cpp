#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulated_thread.h"

static bool reports_are_kept;
static uint64_t report_counts[EMULATOR_REPORT_KIND_COUNT];
static struct emulator_report first_report;

static const char *const kind_names[EMULATOR_REPORT_KIND_COUNT] = {
    "race",       "unwritten",    "bounds", "copy pending",       "alignment",
    "divergence", "partial warp", "launch", "no k_wait_previous",
};

void emulator_reports_keep(bool is_kept)
{
    reports_are_kept = is_kept;
    memset(report_counts, 0, sizeof(report_counts));
    first_report = emulator_report();
}

uint64_t emulator_report_count(void)
{
    uint64_t count = 0;
    for (uint64_t of_kind : report_counts)
        count += of_kind;
    return count;
}

uint64_t emulator_report_count_of(enum emulator_report_kind kind)
{
    return report_counts[kind];
}

struct emulator_report emulator_report_first(void)
{
    return first_report;
}

void emulated_report(enum emulator_report_kind kind, uint32_t other_thread, uint64_t byte,
                     const char *format, ...)
{
    struct emulator_report report = {};
    const struct emulated_thread *thread = emulated_current;
    report.kind = kind;
    report.thread = thread != nullptr ? thread->index : UINT32_MAX;
    report.other_thread = other_thread;
    report.byte = byte;
    snprintf(report.kernel, sizeof(report.kernel), "%s", emulated_current_launch.kernel);
    if (thread != nullptr) {
        report.block_x = thread->block->x;
        report.block_y = thread->block->y;
        report.block_z = thread->block->z;
    }
    if (reports_are_kept) {
        if (emulator_report_count() == 0)
            first_report = report;
        report_counts[kind]++;
        return;
    }
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "emulator: %s: %s\n  kernel %s, block %u,%u,%u, thread %d", kind_names[kind],
            text, report.kernel, report.block_x, report.block_y, report.block_z,
            static_cast<int>(report.thread));
    if (other_thread != UINT32_MAX)
        fprintf(stderr, " and thread %u", other_thread);
    fprintf(stderr, ", seed %" PRIu64 "\n", emulator_seed());
    abort();
}
