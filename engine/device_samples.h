#ifndef PENSTOCK_ENGINE_DEVICE_SAMPLES_H
#define PENSTOCK_ENGINE_DEVICE_SAMPLES_H

#include "engine_private.h"

/* What a device with a queue of its own samples, and what is left to the host: the device knows the wishes of device_sampling.h,
 * and gives the token that the sampler would. Anything else a request asks for is done by the host for all its tokens. */

/* What the device is told of a request's sequences: made with the request when its wishes are those that a device knows. */
struct device_wishes {
    struct device_sampling_state
        state;               /* but for the outputs; its arrays are in the request's arena */
    bool has_state;          /* else no sample needs a slot */
    const uint32_t *allowed; /* mask of allowed_tokens, in the arena; NULL: all are */
};

/* STATUS_OK, with r->device_wishes NULL where the host has to sample; STATUS_NO_MEMORY. After what it points to has been
 * made. Thread: the submitting one. */
NODISCARD status device_wishes_create(engine *e, struct live_request *r);

/* Fills what `step` asks a device for besides its rows: samples with their masks, the states of slots, and which logits the
 * host wants to see. STATUS_OK; STATUS_INTERNAL: the device has failed. Thread: step. */
NODISCARD status device_samples_ask(engine *e, struct step_flight *f, struct model_step *step);

/* What the device has sampled. STATUS_OK; else as sampler_sample. */
NODISCARD status device_sample_read(const struct device_sample_result *result, struct sample *out);

#endif
