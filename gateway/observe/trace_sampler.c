#include "trace_sampler.h"

#define RANDOM_BYTES 7u /* of the id, its last ones */

bool trace_is_in_share(const uint8_t trace_id[TRACE_ID_BYTES], double share)
{
    uint64_t random = 0;

    for (uint32_t i = TRACE_ID_BYTES - RANDOM_BYTES; i < TRACE_ID_BYTES; i++)
        random = random << 8 | trace_id[i];
    return random >= (uint64_t)((1 - share) * 0x1p56);
}

bool trace_is_sampled_early(const struct config_tracing *settings,
                            const struct trace_context *context, bool has_remote_parent)
{
    return (has_remote_parent && settings->follow_parent &&
            (context->flags & TRACE_FLAG_SAMPLED) != 0) ||
           trace_is_in_share(context->trace_id, settings->sample_ratio);
}

/* Its first token where it is a stream that has had one, else its end. */
static uint64_t latency_of(const struct request_story *story)
{
    uint64_t first_ns = story->moments_ns[STORY_FIRST_TOKEN];

    return story->is_stream && first_ns > 0 ? first_ns : story->moments_ns[STORY_ENDED];
}

bool trace_is_wanted(const struct config_tracing *settings, const struct trace_facts *facts)
{
    struct trace_context context = {.flags = facts->flags};

    if (!trace_id_read(facts->trace_id, context.trace_id))
        return false;
    if (settings->keep_errors && facts->is_error)
        return true;
    if (settings->slow_ns > 0 && facts->latency_ns >= settings->slow_ns)
        return true;
    return trace_is_sampled_early(settings, &context, facts->has_remote_parent);
}

bool trace_story_is_wanted(const struct config_tracing *settings, const struct request_story *story)
{
    const struct trace_facts facts = {.trace_id = story->trace_id,
                                      .flags = story->trace_flags,
                                      .has_remote_parent = story->has_remote_parent,
                                      .is_error = story->status_code >= 500,
                                      .latency_ns = latency_of(story)};

    return trace_is_wanted(settings, &facts);
}
