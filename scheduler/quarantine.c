#include "quarantine.h"

#include <stddef.h>

/* Linear: the table is looked at only while it is not empty, which is for a while after a loss. */
static struct quarantine_entry *find(struct quarantine *quarantine, uint64_t hash)
{
    for (uint32_t i = 0; i < QUARANTINE_ENTRIES_MAX; i++) {
        if (quarantine->entries[i].loss_count > 0 && quarantine->entries[i].hash == hash)
            return &quarantine->entries[i];
    }
    return NULL;
}

/* A free place, or that of the one that would be forgotten first. */
static struct quarantine_entry *place(struct quarantine *quarantine)
{
    struct quarantine_entry *best = &quarantine->entries[0];

    for (uint32_t i = 0; i < QUARANTINE_ENTRIES_MAX; i++) {
        struct quarantine_entry *entry = &quarantine->entries[i];

        if (entry->loss_count == 0)
            return entry;
        if (entry->until_ns < best->until_ns)
            best = entry;
    }
    return best;
}

static void forget(struct quarantine *quarantine, struct quarantine_entry *entry)
{
    *entry = (struct quarantine_entry){0};
    quarantine->count--;
}

uint32_t quarantine_note(struct quarantine *quarantine, uint64_t hash, uint64_t loss,
                         uint64_t time_ns, uint64_t now_ns)
{
    struct quarantine_entry *entry;

    quarantine_sweep(quarantine, now_ns);
    entry = find(quarantine, hash);
    if (entry == NULL) {
        entry = place(quarantine);
        quarantine->count += entry->loss_count == 0;
        *entry = (struct quarantine_entry){.hash = hash};
    }
    if (entry->loss_count == 0 || entry->loss != loss)
        entry->loss_count++;
    entry->loss = loss;
    entry->until_ns = now_ns + time_ns;
    return entry->loss_count;
}

uint32_t quarantine_losses(const struct quarantine *quarantine, uint64_t hash, uint64_t now_ns)
{
    for (uint32_t i = 0; i < QUARANTINE_ENTRIES_MAX; i++) {
        const struct quarantine_entry *entry = &quarantine->entries[i];

        if (entry->loss_count > 0 && entry->hash == hash)
            return now_ns < entry->until_ns ? entry->loss_count : 0;
    }
    return 0;
}

void quarantine_clear(struct quarantine *quarantine, uint64_t hash)
{
    struct quarantine_entry *entry = find(quarantine, hash);

    if (entry != NULL && entry->loss_count < QUARANTINE_LOSS_MAX)
        forget(quarantine, entry);
}

void quarantine_sweep(struct quarantine *quarantine, uint64_t now_ns)
{
    for (uint32_t i = 0; i < QUARANTINE_ENTRIES_MAX && quarantine->count > 0; i++) {
        if (quarantine->entries[i].loss_count > 0 && now_ns >= quarantine->entries[i].until_ns)
            forget(quarantine, &quarantine->entries[i]);
    }
}
