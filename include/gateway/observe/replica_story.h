#ifndef PENSTOCK_OBSERVE_REPLICA_STORY_H
#define PENSTOCK_OBSERVE_REPLICA_STORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"
#include "text_slice.h"

/* What has happened to one request in the replica that computed it: the other half of request_story.h. A replica keeps those of
 * its last requests and answers GET /stories/{request id} with them; the gateway asks when somebody wants to know. Plain data
 * of fixed size, and nothing of the request's text.
 *
 * Moments are nanoseconds from the story's start, which is when the replica had read the request; 0: it has not come to that. */

#define REPLICA_STORY_ID_BYTES   129u
#define REPLICA_STORY_CHUNKS_MAX 32u
#define REPLICA_STORY_MATCHES_MAX                                                                  \
    8u /* stories of one request that are told: it may have come again */
#define REPLICA_STORY_ANSWER_BYTES (256u << 10) /* more than that many take as JSON */

enum replica_story_moment {
    REPLICA_STORY_PREPARED,    /* parsed, and its prompt is tokens */
    REPLICA_STORY_SUBMITTED,   /* the engine has it */
    REPLICA_STORY_STARTED,     /* its prompt has begun to be computed */
    REPLICA_STORY_FIRST_TOKEN, /* was sampled */
    REPLICA_STORY_LAST_TOKEN,
    REPLICA_STORY_ENDED,
    REPLICA_STORY_MOMENT_COUNT
};

/* A step that has computed some of its prompt. */
struct replica_story_chunk {
    uint64_t end_ns;     /* a moment */
    uint64_t step_ns;    /* what the step took */
    uint32_t tokens;     /* of the prompt */
    uint32_t other_rows; /* of the step, for other requests or answers */
};

struct replica_story {
    char request_id[REPLICA_STORY_ID_BYTES];
    char trace_id[33], parent_span_id[17]; /* of the traceparent that it came with; "": none */
    uint64_t start_ns;                     /* monotonic */
    uint64_t start_wall_ns;                /* since 1970 */
    uint64_t moments_ns[REPLICA_STORY_MOMENT_COUNT];
    bool is_over;
    /* Before it, when it was submitted */
    uint32_t waiting_before, running_before;
    uint32_t prompt_count, sequence_count; /* it may have several prompts, and answers */
    uint32_t prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens;
    uint32_t chunk_count; /* also those beyond REPLICA_STORY_CHUNKS_MAX, which are not kept */
    struct replica_story_chunk chunks[REPLICA_STORY_CHUNKS_MAX];
    uint64_t chunk_tokens; /* of all chunks: more than the prompt where it was computed again */
    uint32_t decode_steps; /* that have computed a token of its answers */
    uint32_t preemption_count;
    uint32_t drafted_tokens, accepted_tokens; /* speculation */
    uint64_t flight_number; /* of it, or its first prompt, in the flight recorder; 0: none */
    uint64_t busy_ns;       /* its shares of the steps */
    const char *finish;     /* static: "stop", "length", "abort", "error"; "": it runs */
};

const char *replica_story_moment_name(enum replica_story_moment moment); /* static */

/* A story as a JSON object; the gateway reads it back with replica_story_read. */
void replica_story_write(const struct replica_story *story, struct buffer *out);
/* The newest story of a replica's answer, {"stories": [...]}: STATUS_OK, STATUS_NOT_FOUND: it has none, STATUS_INVALID: it is not
 * such an answer. `finish` is one of the static words. Any thread. */
NODISCARD status replica_story_read(const json_t *answer, struct replica_story *out);

/* The last stories of a replica. Any thread; a mutex is held for the time of a copy. */
typedef struct replica_stories replica_stories;

/* count_max 0: none are kept. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status replica_stories_create(uint32_t count_max, replica_stories **out);
void replica_stories_destroy(replica_stories *stories); /* accepts NULL */
/* A place for a story that begins: the oldest one goes. Its number is good for replica_stories_put. */
uint64_t replica_stories_begin(replica_stories *stories, const struct replica_story *story);
/* What the story has come to; nothing where its place has gone to another by now. */
void replica_stories_put(replica_stories *stories, uint64_t number,
                         const struct replica_story *story);
/* {"stories": [...]}, those of this request, the newest first; false: there are none. */
bool replica_stories_write(replica_stories *stories, struct text_slice request_id,
                           struct buffer *out);

#endif
