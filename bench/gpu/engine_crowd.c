#include "engine_crowd.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "clock.h"

struct crowd_member {
    struct engine_request request; /* first */
    int32_t *prompt;
    int32_t *tokens;
    uint64_t *times_ns; /* [output_tokens] */
    uint32_t token_count;
    uint64_t submitted_ns;
    sem_t *ended;
};

static void *must_allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count > 0 ? count : 1, bytes);
    CHECK(memory != NULL);
    return memory;
}

static void on_event(struct engine_request *request, const struct engine_event *event)
{
    struct crowd_member *member = (struct crowd_member *)request;
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < event->token_count; i++) {
        member->times_ns[member->token_count] = now_ns;
        member->tokens[member->token_count++] = event->tokens[i].id;
    }
    if (event->finish == FINISH_ERROR) {
        (void)fprintf(stderr, "a request failed: %s\n", status_name(event->error));
        exit(1);
    }
    if (event->is_last)
        (void)sem_post(member->ended);
}

/* Any words will do, as long as no two prompts share blocks. */
static int32_t word_of(uint32_t seed, uint32_t request, uint32_t position, uint32_t vocabulary)
{
    uint64_t x = ((uint64_t)seed << 40) + ((uint64_t)request << 20) + position + 1;
    x ^= x >> 31;
    x *= 0x7fb5d329728ea185ull;
    x ^= x >> 27;
    x *= 0x81dadef4bc2dd44dull;
    x ^= x >> 33;
    return (int32_t)(x % vocabulary);
}

static void member_init(struct crowd_member *member, const engine *e, uint32_t number,
                        const struct crowd_options *options, int32_t *tokens, sem_t *ended)
{
    uint32_t vocabulary = engine_get_info(e)->vocabulary;
    *member = (struct crowd_member){.tokens = tokens, .ended = ended};
    member->prompt = must_allocate(options->prompt_tokens, sizeof *member->prompt);
    member->times_ns = must_allocate(options->output_tokens, sizeof *member->times_ns);
    for (uint32_t i = 0; i < options->prompt_tokens; i++)
        member->prompt[i] = word_of(options->seed, number, i, vocabulary);
    member->request = (struct engine_request){
        .prompt = member->prompt,
        .prompt_count = options->prompt_tokens,
        .n = 1,
        .max_tokens = options->output_tokens,
        .sampling = {.top_p = 1, .repetition_penalty = 1, .logprobs = -1, .ignore_eos = true},
        .on_event = on_event};
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* When all decode and none has ended. */
static void find_plateau(const struct crowd_member *members, const struct crowd_options *options,
                         struct crowd_result *out)
{
    uint64_t from_ns = 0, until_ns = UINT64_MAX;
    for (uint32_t i = 0; i < options->requests; i++) {
        uint64_t first_ns = members[i].times_ns[0];
        uint64_t last_ns = members[i].times_ns[options->output_tokens - 1];
        from_ns = first_ns > from_ns ? first_ns : from_ns;
        until_ns = last_ns < until_ns ? last_ns : until_ns;
    }
    out->decode_ns = until_ns > from_ns ? until_ns - from_ns : 0;
    for (uint32_t i = 0; i < options->requests; i++)
        for (uint32_t t = 0; t < options->output_tokens; t++)
            out->decode_tokens +=
                members[i].times_ns[t] > from_ns && members[i].times_ns[t] <= until_ns;
}

static void collect(const struct crowd_member *members, const struct crowd_options *options,
                    struct crowd_result *out)
{
    uint64_t first_ns = 0;
    for (uint32_t i = 0; i < options->requests; i++) {
        const struct crowd_member *member = &members[i];
        if (member->token_count != options->output_tokens) {
            (void)fprintf(stderr, "request %u has %u tokens, not %u\n", i, member->token_count,
                          options->output_tokens);
            exit(1);
        }
        first_ns += member->times_ns[0] - member->submitted_ns;
        for (uint32_t t = 1; t < member->token_count; t++)
            out->gaps_ns[out->gap_count++] = member->times_ns[t] - member->times_ns[t - 1];
    }
    out->first_token_ns = first_ns / options->requests;
    qsort(out->gaps_ns, out->gap_count, sizeof *out->gaps_ns, compare_numbers);
    find_plateau(members, options, out);
}

void crowd_run(engine *e, const struct crowd_options *options, struct crowd_result *out)
{
    CHECK(options->requests > 0 && options->prompt_tokens > 0 && options->output_tokens > 0);
    struct crowd_member *members = must_allocate(options->requests, sizeof *members);
    size_t tokens = (size_t)options->requests * options->output_tokens;
    sem_t ended;
    CHECK(sem_init(&ended, 0, 0) == 0);
    *out = (struct crowd_result){.tokens = must_allocate(tokens, sizeof *out->tokens),
                                 .gaps_ns = must_allocate(tokens, sizeof *out->gaps_ns)};
    for (uint32_t i = 0; i < options->requests; i++)
        member_init(&members[i], e, i, options, out->tokens + (size_t)i * options->output_tokens,
                    &ended);
    uint64_t begin_ns = clock_now_ns();
    for (uint32_t i = 0; i < options->requests; i++) {
        members[i].submitted_ns = clock_now_ns();
        status s = engine_submit(e, &members[i].request);
        if (s != STATUS_OK) {
            (void)fprintf(stderr, "request %u was refused: %s\n", i, status_name(s));
            exit(1);
        }
    }
    for (uint32_t i = 0; i < options->requests; i++)
        while (sem_wait(&ended) != 0)
            ;
    out->elapsed_ns = clock_now_ns() - begin_ns;
    collect(members, options, out);
    for (uint32_t i = 0; i < options->requests; i++) {
        free(members[i].prompt);
        free(members[i].times_ns);
    }
    free(members);
    (void)sem_destroy(&ended);
}

void crowd_result_deinit(struct crowd_result *result)
{
    free(result->tokens);
    free(result->gaps_ns);
}
