#include "slice_faults.h"

#include <stdio.h>
#include <string.h>

/* SLICE_FAULTS_MAX: it is not there. */
static uint32_t row_find(const struct slice_faults *faults, uint32_t member, const char *id)
{
    for (uint32_t row = 0; row < faults->count; row++)
        if (faults->entries[row].member == member && strcmp(faults->entries[row].id, id) == 0)
            return row;
    return SLICE_FAULTS_MAX;
}

static bool is_in_quarantine(const struct slice_fault_entry *entry, uint64_t now_ns)
{
    return now_ns < entry->until_ns;
}

/* The one that was quiet for the longest time; NULL: none may go. */
static struct slice_fault_entry *quietest(struct slice_faults *faults, uint64_t now_ns)
{
    struct slice_fault_entry *best = NULL;

    for (uint32_t i = 0; i < faults->count; i++) {
        struct slice_fault_entry *entry = &faults->entries[i];

        if (!is_in_quarantine(entry, now_ns) && !entry->is_closed &&
            (best == NULL || entry->last_ns < best->last_ns))
            best = entry;
    }
    return best;
}

static struct slice_fault_entry *place(struct slice_faults *faults, uint32_t member, const char *id,
                                       uint64_t now_ns)
{
    struct slice_fault_entry *entry;

    if (faults->count < SLICE_FAULTS_MAX)
        entry = &faults->entries[faults->count++];
    else
        entry = quietest(faults, now_ns);
    if (entry == NULL)
        return NULL;
    *entry = (struct slice_fault_entry){.member = member};
    (void)snprintf(entry->id, sizeof entry->id, "%s", id);
    return entry;
}

static void strike_add(struct slice_fault_entry *entry, enum slice_fault fault, uint64_t now_ns)
{
    memmove(&entry->strikes[1], &entry->strikes[0],
            (SLICE_FAULT_STRIKES - 1) * sizeof entry->strikes[0]);
    entry->strikes[0].at_ns = now_ns;
    entry->strikes[0].fault = fault;
    entry->strike_count += entry->strike_count < SLICE_FAULT_STRIKES;
    entry->last_ns = now_ns;
}

static bool has_enough(const struct slice_fault_entry *entry, uint64_t now_ns)
{
    static const uint32_t weights[SLICE_FAULT_COUNT] = {
        [SLICE_FAULT_PROGRAM] = 1,
        [SLICE_FAULT_DEVICE] = 2,
    };
    uint32_t sum = 0;

    for (uint32_t i = 0; i < entry->strike_count; i++)
        if (now_ns - entry->strikes[i].at_ns < SLICE_FAULT_WINDOW_NS)
            sum += weights[entry->strikes[i].fault];
    return sum >= SLICE_FAULT_STRIKES;
}

static bool has_room(const struct slice_faults *faults, uint32_t slice_count, uint64_t now_ns)
{
    uint32_t most = slice_count / SLICE_FAULT_SHARE, count = 0;

    for (uint32_t i = 0; i < faults->count; i++)
        count += is_in_quarantine(&faults->entries[i], now_ns);
    return count < (most > 0 ? most : 1);
}

static void quarantine_begin(struct slice_fault_entry *entry, uint64_t now_ns)
{
    uint64_t time_ns = SLICE_FAULT_FIRST_NS;

    for (uint32_t i = 0; i < entry->quarantine_count && time_ns < SLICE_FAULT_MOST_NS; i++)
        time_ns *= 2;
    if (time_ns > SLICE_FAULT_MOST_NS)
        time_ns = SLICE_FAULT_MOST_NS;
    entry->quarantine_count++;
    entry->strike_count = 0;
    entry->until_ns = entry->last_ns = now_ns + time_ns;
}

uint64_t slice_faults_note(struct slice_faults *faults, uint32_t member, const char *id,
                           enum slice_fault fault, uint32_t slice_count, uint64_t now_ns)
{
    struct slice_fault_entry *entry;
    uint32_t row;

    (void)slice_faults_sweep(faults, now_ns);
    row = row_find(faults, member, id);
    entry = row < SLICE_FAULTS_MAX ? &faults->entries[row] : place(faults, member, id, now_ns);
    if (entry == NULL)
        return 0;
    if (is_in_quarantine(entry, now_ns)) /* one that ran on there: it is known */
        return entry->until_ns;
    strike_add(entry, fault, now_ns);
    if (!has_enough(entry, now_ns) || !has_room(faults, slice_count, now_ns))
        return 0;
    quarantine_begin(entry, now_ns);
    return entry->until_ns;
}

uint64_t slice_faults_until(const struct slice_faults *faults, uint32_t member, const char *id,
                            uint64_t now_ns)
{
    uint32_t row = row_find(faults, member, id);

    if (row == SLICE_FAULTS_MAX || !is_in_quarantine(&faults->entries[row], now_ns))
        return 0;
    return faults->entries[row].until_ns;
}

static void entry_remove(struct slice_faults *faults, struct slice_fault_entry *entry)
{
    *entry = faults->entries[--faults->count];
}

uint64_t slice_faults_sweep(struct slice_faults *faults, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = faults->count; i > 0; i--) {
        struct slice_fault_entry *entry = &faults->entries[i - 1];

        if (is_in_quarantine(entry, now_ns))
            next_ns = entry->until_ns < next_ns ? entry->until_ns : next_ns;
        else if (!entry->is_closed && now_ns - entry->last_ns >= SLICE_FAULT_MEMORY_NS)
            entry_remove(faults, entry);
    }
    return next_ns;
}
