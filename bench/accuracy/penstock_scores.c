/* Penstock's answers to accuracy.py, on the path that this CPU takes by itself: see scores.h.
 *
 *     penstock_scores MODEL.gguf */

#include <stdio.h>

#include "check.h"
#include "forced_model.h"
#include "scores.h"

struct answer {
    const struct scores_sequence *sequence;
    uint32_t vocabulary;
};

static void write_position(void *context, uint32_t position, const float *logprobs)
{
    const struct answer *answer = context;
    scores_write(answer->sequence, position, logprobs, answer->vocabulary);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: penstock_scores MODEL.gguf < questions\n");
        return 2;
    }
    enum kv_type type; /* as it is served */
    CHECK(kv_type_find("auto", &type));
    struct forced_model forced;
    forced_model_open(&forced, argv[1], BACKEND_AUTO, type, SCORES_COUNT_MAX);
    static struct scores_sequence sequence; /* 48 kB */
    struct answer answer = {&sequence, model_get_info(forced.m)->vocabulary};
    while (scores_read(&sequence, answer.vocabulary)) {
        struct forced_run run = {.ids = sequence.ids,
                                 .count = sequence.count,
                                 .chunk = FORCED_CHUNK_MAX,
                                 .decode_from = sequence.decode_from};
        forced_model_run(&forced, &run, write_position, &answer);
    }
    forced_model_close(&forced);
    return 0;
}
