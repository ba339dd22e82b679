#include "audit_counts.h"

#include <stdio.h>
#include <string.h>

/* Who it was: the key's name and id where there is one, and the address. */
static void actor_write(const struct request_record *record, char *out, size_t bytes)
{
    if (record->key_id[0] == '\0')
        (void)snprintf(out, bytes, "%s", record->peer);
    else if (strcmp(record->key_id, record->key_name) == 0 || record->key_name[0] == '\0')
        (void)snprintf(out, bytes, "%s at %s", record->key_id, record->peer);
    else
        (void)snprintf(out, bytes, "%s (%s) at %s", record->key_id, record->key_name, record->peer);
}

void audit_counts_add(struct audit_counts *counts, const struct request_record *record)
{
    struct audit_count fresh = {.action = record->audit_action, .count = 1};

    actor_write(record, fresh.actor, sizeof(fresh.actor));
    (void)snprintf(fresh.object, sizeof(fresh.object), "%s", record->audit_object);
    for (uint32_t i = 0; i < counts->used; i++) {
        struct audit_count *item = &counts->items[i];

        if (strcmp(item->action, fresh.action) == 0 && strcmp(item->actor, fresh.actor) == 0 &&
            strcmp(item->object, fresh.object) == 0) {
            item->count++;
            return;
        }
    }
    if (counts->used < AUDIT_COUNTS_MAX) {
        counts->items[counts->used++] = fresh;
    } else if (counts->used == AUDIT_COUNTS_MAX) {
        counts->items[counts->used++] = (struct audit_count){
            .action = "others", .actor = "more than are told apart", .count = 1};
    } else {
        counts->items[AUDIT_COUNTS_MAX].count++;
    }
}

status audit_counts_flush(struct audit_counts *counts,
                          status (*take)(void *context, const struct audit_count *count),
                          void *context)
{
    status result = STATUS_OK;
    uint32_t done = 0;

    while (done < counts->used && result == STATUS_OK) {
        result = take(context, &counts->items[done]);
        done += result == STATUS_OK;
    }
    counts->used -= done;
    memmove(counts->items, counts->items + done, counts->used * sizeof(counts->items[0]));
    return result;
}
