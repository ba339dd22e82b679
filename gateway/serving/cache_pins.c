/* From the marks of a request to tokens of its prompt. A mark stands in a message; where its text has come to lie in the
 * prompt is looked up in what the template made of the messages, from the front on, message by message. Templates may
 * trim a text, leave one out or say something in its stead: what is not found moves the mark to the end of what was
 * found before it. A pin is a wish about blocks of 16 tokens, and too short a one costs no more than computing again. */

#include "job.h"

#include <string.h>

/* Messages that are not in the prompt, until the search is given up: each costs a walk over the text. */
#define LOST_MESSAGES_MAX 16u

struct mark_search {
    struct text_slice text; /* the prompt's */
    size_t found;           /* the end of what was found */
    uint32_t lost_count;
};

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static struct text_slice trim(struct text_slice text)
{
    while (text.bytes > 0 && is_blank(text.data[text.bytes - 1]))
        text.bytes--;
    while (text.bytes > 0 && is_blank(text.data[0])) {
        text.data++;
        text.bytes--;
    }
    return text;
}

/* Where the text stands first after what was found before; false: nowhere. */
static bool find(struct mark_search *search, struct text_slice wanted, size_t *start)
{
    if (wanted.bytes == 0 || search->lost_count >= LOST_MESSAGES_MAX)
        return false;
    const char *from = search->text.data + search->found;
    const char *at = memmem(from, search->text.bytes - search->found, wanted.data, wanted.bytes);
    if (at == NULL) {
        search->lost_count++;
        return false;
    }
    *start = (size_t)(at - search->text.data);
    return true;
}

static struct text_slice content_of(const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    return (struct text_slice){json_is_string(content) ? json_string_value(content) : "",
                               json_string_length(content)};
}

/* The places in the prompt's text that the marks in and before this message stand at. */
static void find_in_message(struct mark_search *search, const struct api_cache_mark *marks,
                            const json_t *message, size_t index, bool is_first, size_t *places)
{
    struct text_slice content = content_of(message);
    size_t start = 0, end = search->found;
    bool is_there = find(search, trim(content), &start);
    if (is_there)
        end = start + trim(content).bytes;
    for (int i = 0; i < CACHE_TTL_COUNT; i++) {
        const struct api_cache_mark *mark = &marks[i];
        struct text_slice marked = {content.data, mark->bytes};
        if (mark->place == CACHE_TOOLS && is_first)
            places[i] = is_there ? start : search->found;
        if (mark->place != CACHE_MESSAGE || mark->message != index)
            continue;
        places[i] = end;
        if (is_there && mark->bytes < content.bytes &&
            memcmp(search->text.data + start, trim(marked).data, trim(marked).bytes) == 0)
            places[i] = start + trim(marked).bytes;
    }
    search->found = end;
}

/* Tokens that lie wholly in the first `bytes` bytes of the text that they are of. */
static void count_tokens(const struct job_part *part, const size_t *places, uint32_t *tokens)
{
    const tokenizer *t = replica_tokenizer(part->job->replica);
    size_t end = 0;
    for (size_t i = 0; i < part->prompt.count; i++) {
        end += tokenizer_piece(t, part->prompt.ids[i], true).bytes;
        for (int j = 0; j < CACHE_TTL_COUNT; j++)
            tokens[j] += end <= places[j] ? 1 : 0;
    }
}

static bool is_marked(const struct api_cache_mark *marks)
{
    bool is_marked = false;
    for (int i = 0; i < CACHE_TTL_COUNT; i++)
        is_marked |= marks[i].place == CACHE_TOOLS || marks[i].place == CACHE_MESSAGE;
    return is_marked;
}

void part_find_marks(struct job_part *part, struct text_slice text)
{
    const struct api_completion_request *parsed = &part->job->parsed;
    struct mark_search search = {.text = text};
    size_t places[CACHE_TTL_COUNT] = {0};
    bool is_first = true; /* of those that are not the system's */
    size_t index;
    const json_t *message;
    if (!is_marked(parsed->cache_marks))
        return;
    json_array_foreach((json_t *)parsed->messages, index, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        bool is_system = role != NULL && strcmp(role, "system") == 0;
        find_in_message(&search, parsed->cache_marks, message, index, is_first && !is_system,
                        places);
        is_first = is_first && is_system;
    }
    count_tokens(part, places, part->marked_tokens);
}

void part_pin(struct job_part *part)
{
    struct engine_request *request = &part->request;
    const struct api_cache_mark *marks = part->job->parsed.cache_marks;
    _Static_assert(CACHE_TTL_COUNT <= ENGINE_PINS_MAX, "each time to live can have its pin");
    for (int i = 0; i < CACHE_TTL_COUNT; i++) {
        uint32_t tokens = part->marked_tokens[i];
        if (marks[i].place == CACHE_PROMPT)
            tokens = request->prompt_count;
        else if (request->prompt_count < part->prompt.count)
            tokens = 0; /* cut at the front: what the mark stood behind is gone */
        if (tokens > 0)
            request->pins[request->pin_count++] =
                (struct engine_pin){.tokens = tokens, .ttl_ns = api_cache_ttl_ns[i]};
    }
}

uint32_t part_written_before_pin(const struct job_part *part, uint64_t ttl_ns)
{
    uint32_t pinned = 0;
    for (uint32_t i = 0; i < part->request.pin_count; i++) {
        const struct engine_pin *pin = &part->request.pins[i];
        if (pin->ttl_ns >= ttl_ns && pin->tokens > pinned)
            pinned = pin->tokens;
    }
    pinned -= pinned % ENGINE_BLOCK_TOKENS;
    uint32_t new = pinned > part->cached_tokens ? pinned - part->cached_tokens : 0;
    return new < part->cache_write_tokens ? new : part->cache_write_tokens;
}
