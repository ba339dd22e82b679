/* Which names of a page the other side knows
 *
 * A second page, in memory, has what was confirmed. A comparison looks up each name of the one in the other, both ways: at 24,576
 * names that is 0.3 ms four times a second, on a thread that does nothing else, and needs nothing of the thread that writes the page. A
 * list of changes kept by the writer would be shorter, and would have to be bounded, locked, and thrown away whenever an
 * answer is lost. */
#include "check.h"
#include "heartbeat.h"
#include "memory.h"

struct told_names {
    shared_page_writer *known; /* owned; what was confirmed */
    bool is_afresh;            /* nothing is */
    uint32_t came_count, gone_count;
    uint64_t came[HEARTBEAT_NAMES_MAX], gone[HEARTBEAT_NAMES_MAX]; /* of the last comparison */
    uint64_t names[SHARED_PAGE_NAMES_MAX];
};

status told_names_create(told_names **out)
{
    told_names *told = memory_allocate_array(1, sizeof(*told));
    status result;

    if (told == NULL)
        return STATUS_NO_MEMORY;
    result = shared_page_writer_create(&told->known);
    if (result != STATUS_OK) {
        memory_release(told);
        return result;
    }
    told->is_afresh = true;
    *out = told;
    return STATUS_OK;
}

void told_names_destroy(told_names *told)
{
    if (told == NULL)
        return;
    shared_page_writer_close(told->known);
    memory_release(told);
}

/* Names of `page` that `other` has not. */
static uint32_t missing(told_names *told, const shared_page *page, const shared_page *other,
                        uint64_t out[HEARTBEAT_NAMES_MAX])
{
    uint32_t count = shared_page_names(page, told->names, ARRAY_COUNT(told->names)), found = 0;

    for (uint32_t i = 0; i < count && found < HEARTBEAT_NAMES_MAX; i++) {
        if (!shared_page_has(other, told->names[i]))
            out[found++] = told->names[i];
    }
    return found;
}

void told_names_compare(told_names *told, const shared_page *page, struct heartbeat *beat)
{
    const shared_page *known = shared_page_of(told->known);

    told->came_count = missing(told, page, known, told->came);
    told->gone_count = missing(told, known, page, told->gone);
    beat->is_afresh = told->is_afresh;
    beat->came = (const char *)told->came;
    beat->came_count = told->came_count;
    beat->gone = (const char *)told->gone;
    beat->gone_count = told->gone_count;
}

void told_names_confirm(told_names *told)
{
    for (uint32_t i = 0; i < told->gone_count; i++)
        shared_page_note(told->known, told->gone[i], false);
    /* One that moved while the list was made may stand in it twice. */
    for (uint32_t i = 0; i < told->came_count; i++) {
        if (!shared_page_has(shared_page_of(told->known), told->came[i]))
            shared_page_note(told->known, told->came[i], true);
    }
    told->came_count = told->gone_count = 0;
    told->is_afresh = false;
}

void told_names_forget(told_names *told)
{
    shared_page_writer_clear(told->known);
    told->came_count = told->gone_count = 0;
    told->is_afresh = true;
}
