#ifndef PENSTOCK_GATEWAY_POOLING_WORK_H
#define PENSTOCK_GATEWAY_POOLING_WORK_H

#include <stdatomic.h>

#include "job.h"

/* What the files of embeddings, rerank and score share: pooling.c knows what is asked for and what the answer is,
 * pooling_prompts.c has a decoder compute it. An encoder takes all texts of a request at once, and needs no help. */

/* The model that turns the texts into numbers, of whichever kind. */
struct pooling_model {
    uint32_t context_max; /* tokens of a text */
    uint32_t width;       /* of an embedding */
    uint32_t class_count; /* > 0: it scores texts or pairs of them */
    bool is_normalized;   /* embeddings have length 1 */
};
struct pooling_model pooling_model_of(const struct replica *replica);

struct pooling_work {
    struct api_pooling_request parsed;
    struct encoder_request request;
    struct job *job;
    struct token_list tokens; /* of all texts */
    uint32_t text_count;
    uint32_t *text_start;   /* owned; [text_count + 1] */
    uint32_t *second_start; /* owned; [text_count] or NULL */
    float *numbers;         /* owned; what the model writes: [text_count, numbers of a text] */
    uint32_t *order;        /* owned; scratch of rerank */
    bool is_computed;       /* all numbers are there */

    /* Of a decoder. */
    struct engine_request *prompts; /* owned; [group_max] the engine has, or has had */
    uint32_t group_max;
    uint32_t next_text;          /* the first that the engine has not had */
    uint64_t adapter_number;     /* of the adapter that those before it had; 0: none */
    _Atomic uint32_t open_count; /* prompts that have not ended, and the worker that submits them */
    _Atomic int result;          /* enum status; not OK: of one that failed */
    uint32_t ended_count;        /* publisher: prompts that ended in this step */
    uint64_t busy_ns;            /* publisher: of all that have ended */
    struct pooling_work *next_done; /* publisher: work with such prompts */
};

/* Hands the next texts to the engine. JOB_PREPARING: it has some, and the job comes back to the workers; JOB_FAILED: the
 * error is set; JOB_ANSWERED: all numbers are there. Workers. */
enum job_stage pooling_run_prompts(struct job *job);

#endif
