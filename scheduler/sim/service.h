#ifndef PENSTOCK_SIM_SERVICE_H
#define PENSTOCK_SIM_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "capacity.h"

/* A replica that batches continuously, token by token, in few events: steps last
 *
 *      fixed + prefill_token * (chunk, while a prompt is read) + kv_token * tokens in the cache
 *
 * and each gives every generating sequence one token and reads a chunk of the first prompt in the queue. Between two events (a
 * prompt comes, is read, a sequence ends) the batch is the same, so that many steps are one multiplication: all sequences
 * advance by the same number of tokens (`clock`), and who ends first is who has the least clock to end at. Fractions of
 * steps count as such. A prompt is begun when a slot and the cache have room for it and for all that it will generate. */

#define SERVICE_SLOTS_MAX 128u

struct service_sequence {
    double ends_clock;
    uint32_t request, held_tokens; /* of the cache, at its end */
};

struct service_prompt {
    uint32_t request, tokens, output_tokens;
};

struct service {
    struct step_cost cost;
    struct replica_limits limits;
    uint64_t now_ns;        /* the state is of this moment */
    double clock;           /* steps that were done */
    double kv_tokens;       /* in the cache now */
    double reserved_tokens; /* with what the running ones will still generate */
    double head_left;       /* tokens of the first prompt that are not read yet */
    double queued_tokens;   /* of the prompts behind it */
    bool is_reading;        /* the first prompt was begun */
    uint32_t running_count, queue_count, queue_first;
    struct service_sequence running[SERVICE_SLOTS_MAX]; /* heap by ends_clock */
    struct service_prompt queue[SERVICE_SLOTS_MAX];     /* ring */
};

void service_init(struct service *service, const struct step_cost *cost,
                  const struct replica_limits *limits, uint64_t now_ns);

/* A request for it. False: its queue is full. The service must have been brought to now_ns. */
bool service_add(struct service *service, uint32_t request, uint32_t prompt_tokens,
                 uint32_t output_tokens);

enum service_event { SERVICE_NOTHING, SERVICE_FIRST_TOKEN, SERVICE_END };

/* Goes on to now_ns, but not beyond the next event, which must be due by then to be returned; call again until nothing happens. */
enum service_event service_advance(struct service *service, uint64_t now_ns, uint32_t *request);

/* When something will happen if nothing comes; UINT64_MAX: never. */
uint64_t service_next_ns(const struct service *service);

double service_step_ns(const struct service *service);
/* Until what waits has been read; and what a prompt's token takes. */
double service_queued_ns(const struct service *service);
double service_prefill_ns(const struct service *service);
uint32_t service_outstanding(const struct service *service);

/* Takes out any request with what it has still to generate; false: none is left. */
bool service_take(struct service *service, uint32_t *request, uint32_t *output_tokens_left);

#endif
