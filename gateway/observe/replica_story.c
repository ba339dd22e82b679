#include "replica_story.h"

#include <pthread.h>
#include <string.h>

#include "check.h"
#include "json.h"
#include "memory.h"

static const char *const moment_names[] = {
    [REPLICA_STORY_PREPARED] = "prepared",     [REPLICA_STORY_SUBMITTED] = "submitted",
    [REPLICA_STORY_STARTED] = "started",       [REPLICA_STORY_FIRST_TOKEN] = "first_token",
    [REPLICA_STORY_LAST_TOKEN] = "last_token", [REPLICA_STORY_ENDED] = "ended",
};
_Static_assert(ARRAY_COUNT(moment_names) == REPLICA_STORY_MOMENT_COUNT, "a name for each");

const char *replica_story_moment_name(enum replica_story_moment moment)
{
    CHECK((unsigned)moment < REPLICA_STORY_MOMENT_COUNT);
    return moment_names[moment];
}

/* --- the last ones --- */

struct slot {
    uint64_t number; /* 0: none */
    struct replica_story story;
};

struct replica_stories {
    pthread_mutex_t lock; /* of what follows */
    uint64_t number_next; /* from 1 */
    uint32_t count_max;
    struct slot slots[]; /* [count_max] */
};

status replica_stories_create(uint32_t count_max, replica_stories **out)
{
    replica_stories *stories =
        memory_allocate_array(1, sizeof(*stories) + count_max * sizeof(stories->slots[0]));

    if (stories == NULL)
        return STATUS_NO_MEMORY;
    (void)pthread_mutex_init(&stories->lock, NULL);
    stories->number_next = 1;
    stories->count_max = count_max;
    *out = stories;
    return STATUS_OK;
}

void replica_stories_destroy(replica_stories *stories)
{
    if (stories == NULL)
        return;
    (void)pthread_mutex_destroy(&stories->lock);
    memory_release(stories);
}

uint64_t replica_stories_begin(replica_stories *stories, const struct replica_story *story)
{
    uint64_t number;

    if (stories->count_max == 0)
        return 0;
    pthread_mutex_lock(&stories->lock);
    number = stories->number_next++;
    stories->slots[number % stories->count_max] = (struct slot){number, *story};
    pthread_mutex_unlock(&stories->lock);
    return number;
}

void replica_stories_put(replica_stories *stories, uint64_t number,
                         const struct replica_story *story)
{
    struct slot *slot;

    if (stories->count_max == 0)
        return;
    slot = &stories->slots[number % stories->count_max];
    pthread_mutex_lock(&stories->lock);
    if (slot->number == number)
        slot->story = *story;
    pthread_mutex_unlock(&stories->lock);
}

/* Of this request, older than number `before`; 0: there is none. */
static uint64_t find(replica_stories *stories, struct text_slice request_id, uint64_t before,
                     struct replica_story *out)
{
    uint64_t found = 0;

    pthread_mutex_lock(&stories->lock);
    for (uint32_t i = 0; i < stories->count_max; i++) {
        const struct slot *slot = &stories->slots[i];

        if (slot->number > found && slot->number < before &&
            text_slice_is(request_id, slot->story.request_id))
            found = slot->number;
    }
    if (found > 0)
        *out = stories->slots[found % stories->count_max].story;
    pthread_mutex_unlock(&stories->lock);
    return found;
}

bool replica_stories_write(replica_stories *stories, struct text_slice request_id,
                           struct buffer *out)
{
    struct replica_story story;
    uint64_t number = find(stories, request_id, UINT64_MAX, &story);

    if (number == 0)
        return false;
    buffer_append_text(out, "{\"stories\":[");
    for (uint32_t i = 0; i < REPLICA_STORY_MATCHES_MAX && number > 0; i++) {
        json_write_comma(out);
        replica_story_write(&story, out);
        number = find(stories, request_id, number, &story);
    }
    buffer_append_text(out, "]}");
    return true;
}
