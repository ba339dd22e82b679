#include "workload.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "json.h"
#include "memory.h"

struct workload {
    struct workload_options options;
    uint64_t random;   /* state of arrivals */
    uint64_t clock_ns; /* arrival of the last request */
    uint64_t count;
    FILE *trace;
};

/* Each is one token in GPT-2 style vocabularies when a space precedes it. */
static const char *const words[] = {
    "the",   "of",      "and",     "to",     "in",   "is",    "that",   "for",    "it",
    "as",    "was",     "with",    "be",     "by",   "on",    "not",    "he",     "his",
    "but",   "at",      "are",     "this",   "have", "from",  "or",     "had",    "an",
    "they",  "which",   "one",     "you",    "were", "her",   "all",    "she",    "there",
    "would", "their",   "we",      "him",    "been", "has",   "when",   "who",    "will",
    "more",  "no",      "if",      "out",    "so",   "said",  "what",   "up",     "its",
    "about", "into",    "than",    "them",   "can",  "only",  "other",  "new",    "some",
    "could", "time",    "these",   "two",    "may",  "then",  "do",     "first",  "any",
    "my",    "now",     "such",    "like",   "our",  "over",  "man",    "me",     "even",
    "most",  "made",    "after",   "also",   "did",  "many",  "before", "must",   "through",
    "years", "where",   "much",    "your",   "way",  "well",  "down",   "should", "because",
    "each",  "just",    "those",   "people", "how",  "too",   "little", "state",  "good",
    "very",  "make",    "world",   "still",  "own",  "see",   "men",    "work",   "long",
    "get",   "here",    "between", "both",   "life", "being", "under",  "never",  "day",
    "same",  "another", "know",    "while",  "last", "might",
};

/* splitmix64 (Steele, Lea, Flood 2014): every number is a function of the state alone. */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static double random_unit(uint64_t *state)
{
    return (double)((random_next(state) >> 11) + 1) * 0x1.0p-53;
}

static void append_words(struct buffer *out, uint64_t seed, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buffer_append_byte(out, ' ');
        buffer_append_text(out, words[random_next(&seed) % ARRAY_COUNT(words)]);
    }
}

status workload_create(const struct workload_options *options, workload **out,
                       struct error_note *note)
{
    workload *w = memory_allocate_array(1, sizeof(*w));
    if (w == NULL)
        return STATUS_NO_MEMORY;
    w->options = *options;
    w->random = options->seed * 0x2545f4914f6cdd1dull + 1;
    if (options->trace != NULL && (w->trace = fopen(options->trace, "r")) == NULL) {
        error_note_set(note, "%s: cannot open the trace: %m", options->trace);
        memory_release(w);
        return STATUS_IO;
    }
    *out = w;
    return STATUS_OK;
}

void workload_destroy(workload *w)
{
    if (w == NULL)
        return;
    if (w->trace != NULL)
        (void)fclose(w->trace);
    memory_release(w);
}

static bool trace_next(workload *w, struct workload_request *out)
{
    double arrival = 0;
    int fields = fscanf(w->trace, "%lf %" SCNu32 " %" SCNu32 " %" SCNu32, &arrival,
                        &out->prompt_words, &out->output_tokens, &out->group);
    if (fields != 4 || !(arrival >= 0))
        return false;
    out->arrival_ns = (uint64_t)(arrival * 1e9);
    return true;
}

bool workload_next(workload *w, struct workload_request *out)
{
    out->number = w->count++;
    if (w->trace != NULL)
        return trace_next(w, out);
    out->prompt_words = w->options.prompt_words;
    out->output_tokens = w->options.output_tokens;
    out->group = (uint32_t)(out->number % w->options.group_count);
    out->arrival_ns = 0;
    if (w->options.rate > 0) {
        w->clock_ns += (uint64_t)(-log(random_unit(&w->random)) / w->options.rate * 1e9);
        out->arrival_ns = w->clock_ns;
    }
    return true;
}

void workload_write_body(workload *w, const struct workload_request *request,
                         const struct buffer *history, struct buffer *question, struct buffer *body)
{
    const struct workload_options *o = &w->options;
    buffer_append_text(body, "{\"model\":");
    json_write_text(body, o->model);
    buffer_append_text(body, ",\"messages\":[");
    if (o->shared_words > 0) {
        buffer_append_text(body, "{\"role\":\"system\",\"content\":\"");
        append_words(body, o->seed * 1000003 + request->group + 1, o->shared_words);
        buffer_append_text(body, "\"},");
    }
    buffer_append_slice(body, buffer_slice(history));
    buffer_append_text(question, "{\"role\":\"user\",\"content\":\"");
    append_words(question, (o->seed << 32) + request->number * 0x10001 + 7, request->prompt_words);
    buffer_append_text(question, "\"}");
    buffer_append_slice(body, buffer_slice(question));
    buffer_append_byte(question, ',');
    buffer_append_format(
        body,
        "],\"max_tokens\":%u,\"ignore_eos\":true,\"temperature\":0,\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true}}",
        request->output_tokens);
}
