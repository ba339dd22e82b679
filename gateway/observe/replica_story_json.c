/* A replica's story as JSON, there and back. Numbers of the struct are members of the same name, in a table; times are nanoseconds, since
 * another program reads them. */
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "json.h"
#include "replica_story.h"

static const char *const finish_words[] = {"", "stop", "length", "repetition", "abort", "error"};

/* Members that are numbers of 32 bits. */
#define SMALL(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct replica_story, name)                                                \
    }
static const struct {
    const char *name;
    size_t offset;
} small_members[] = {SMALL(waiting_before),     SMALL(running_before),    SMALL(prompt_count),
                     SMALL(sequence_count),     SMALL(prompt_tokens),     SMALL(cached_tokens),
                     SMALL(cache_write_tokens), SMALL(completion_tokens), SMALL(chunk_count),
                     SMALL(decode_steps),       SMALL(preemption_count),  SMALL(drafted_tokens),
                     SMALL(accepted_tokens)};

static void u64_write(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static uint32_t kept_chunks(const struct replica_story *story)
{
    return story->chunk_count < REPLICA_STORY_CHUNKS_MAX ? story->chunk_count
                                                         : REPLICA_STORY_CHUNKS_MAX;
}

static void chunks_write(const struct replica_story *story, struct buffer *out)
{
    json_write_key(out, "chunks");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < kept_chunks(story); i++) {
        json_write_comma(out);
        buffer_append_byte(out, '{');
        u64_write(out, "end_ns", story->chunks[i].end_ns);
        u64_write(out, "step_ns", story->chunks[i].step_ns);
        u64_write(out, "tokens", story->chunks[i].tokens);
        u64_write(out, "other_rows", story->chunks[i].other_rows);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, ']');
}

void replica_story_write(const struct replica_story *story, struct buffer *out)
{
    buffer_append_byte(out, '{');
    json_write_key(out, "request_id");
    json_write_text(out, story->request_id);
    json_write_key(out, "trace_id");
    json_write_text(out, story->trace_id);
    json_write_key(out, "parent_span_id");
    json_write_text(out, story->parent_span_id);
    json_write_key(out, "is_over");
    json_write_bool(out, story->is_over);
    json_write_key(out, "finish");
    json_write_text(out, story->finish);
    u64_write(out, "start_ns", story->start_ns);
    u64_write(out, "start_wall_ns", story->start_wall_ns);
    json_write_key(out, "moments_ns");
    buffer_append_byte(out, '{');
    for (unsigned i = 0; i < REPLICA_STORY_MOMENT_COUNT; i++) {
        if (story->moments_ns[i] > 0)
            u64_write(out, replica_story_moment_name(i), story->moments_ns[i]);
    }
    buffer_append_byte(out, '}');
    for (size_t i = 0; i < ARRAY_COUNT(small_members); i++)
        u64_write(out, small_members[i].name,
                  *(const uint32_t *)(const void *)((const char *)story + small_members[i].offset));
    u64_write(out, "chunk_tokens", story->chunk_tokens);
    u64_write(out, "busy_ns", story->busy_ns);
    u64_write(out, "flight_number", story->flight_number);
    chunks_write(story, out);
    buffer_append_byte(out, '}');
}

/* --- and back --- */

/* What is not there, or no number of that size, is 0. */
static uint64_t u64_of(const json_t *object, const char *key, uint64_t max)
{
    const json_t *value = json_object_get(object, key);
    json_int_t number = json_integer_value(value);

    return json_is_integer(value) && number > 0 && (uint64_t)number <= max ? (uint64_t)number : 0;
}

static bool text_of(const json_t *object, const char *key, char *out, size_t bytes)
{
    const json_t *value = json_object_get(object, key);
    size_t length = json_string_length(value);

    if (!json_is_string(value) || length >= bytes)
        return false;
    memcpy(out, json_string_value(value), length + 1);
    return strlen(out) == length;
}

static void chunks_read(const json_t *chunks, struct replica_story *out)
{
    uint32_t count = kept_chunks(out);

    /* More were told than there are: no rest is made up. */
    if (json_array_size(chunks) < count)
        out->chunk_count = count = (uint32_t)json_array_size(chunks);
    for (uint32_t i = 0; i < count; i++) {
        const json_t *chunk = json_array_get(chunks, i);

        out->chunks[i] = (struct replica_story_chunk){
            .end_ns = u64_of(chunk, "end_ns", INT64_MAX),
            .step_ns = u64_of(chunk, "step_ns", INT64_MAX),
            .tokens = (uint32_t)u64_of(chunk, "tokens", UINT32_MAX),
            .other_rows = (uint32_t)u64_of(chunk, "other_rows", UINT32_MAX),
        };
    }
}

static const char *finish_of(const json_t *story)
{
    const char *word = json_string_value(json_object_get(story, "finish"));

    for (size_t i = 1; word != NULL && i < ARRAY_COUNT(finish_words); i++) {
        if (strcmp(finish_words[i], word) == 0)
            return finish_words[i];
    }
    return finish_words[0];
}

status replica_story_read(const json_t *answer, struct replica_story *out)
{
    const json_t *stories = json_object_get(answer, "stories");
    const json_t *story = json_array_get(stories, 0), *moments;

    if (!json_is_array(stories))
        return STATUS_INVALID;
    if (json_array_size(stories) == 0)
        return STATUS_NOT_FOUND;
    memset(out, 0, sizeof(*out));
    if (!text_of(story, "request_id", out->request_id, sizeof(out->request_id)) ||
        !text_of(story, "trace_id", out->trace_id, sizeof(out->trace_id)) ||
        !text_of(story, "parent_span_id", out->parent_span_id, sizeof(out->parent_span_id)))
        return STATUS_INVALID;
    out->is_over = json_is_true(json_object_get(story, "is_over"));
    out->finish = finish_of(story);
    out->start_ns = u64_of(story, "start_ns", INT64_MAX);
    out->start_wall_ns = u64_of(story, "start_wall_ns", INT64_MAX);
    out->chunk_tokens = u64_of(story, "chunk_tokens", INT64_MAX);
    out->busy_ns = u64_of(story, "busy_ns", INT64_MAX);
    out->flight_number = u64_of(story, "flight_number", INT64_MAX);
    moments = json_object_get(story, "moments_ns");
    for (unsigned i = 0; i < REPLICA_STORY_MOMENT_COUNT; i++)
        out->moments_ns[i] = u64_of(moments, replica_story_moment_name(i), INT64_MAX);
    for (size_t i = 0; i < ARRAY_COUNT(small_members); i++)
        *(uint32_t *)(void *)((char *)out + small_members[i].offset) =
            (uint32_t)u64_of(story, small_members[i].name, UINT32_MAX);
    chunks_read(json_object_get(story, "chunks"), out);
    return STATUS_OK;
}
