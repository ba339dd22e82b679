/* The clairvoyant plan
 *
 * It knows every request beforehand, and that a request takes, on a replica that is as full as the service level allows, its share of
 * the reading and `step` for every token. So it knows how many requests are under way at each second and how many full
 * replicas carry them. That many are ready, always: each is started early enough, and kept through a lull that is no longer than
 * a start takes, since ending and starting it would cost as much. This is the optimal offline schedule for machines that cost the
 * same each second and a start of a fixed length (Lin, Wierman, Andrew and Thereska 2011, section 3: each level of the need is a ski
 * rental of its own, whose future is known). Nothing can do with less at the same capacity of a replica. */
#include <math.h>
#include <string.h>

#include "memory.h"
#include "sim.h"

/* Requests under way at each second, each with the length it has at capacity. */
static void under_way(const struct sim_model *model, uint64_t seed, uint32_t seconds,
                      float *under_way_at)
{
    const struct sim_spec *spec = &model->spec;
    double mean_s = spec->truth.concurrency / spec->truth.requests_per_s, level = 0;
    struct traffic traffic;
    struct traffic_request request;

    sim_traffic_begin(model, seed, seconds, &traffic);
    memset(under_way_at, 0, (seconds + 1) * sizeof(*under_way_at));
    while (traffic_next(&traffic, &request)) {
        double at_s = (double)request.at_ns / SIM_SECOND_NS;
        double end_s = at_s + mean_s * request.output_tokens / spec->shape.output_tokens;

        under_way_at[(uint32_t)at_s] += 1;
        if (end_s < seconds)
            under_way_at[(uint32_t)end_s] -= 1;
    }
    for (uint32_t i = 0; i < seconds; i++) {
        level += under_way_at[i];
        under_way_at[i] = (float)level;
    }
}

/* Levels' gaps of up to `width` are filled: the highest of the seconds to come, then the lowest of those past (a morphological
 * closing, which does the same to each level). Then everything begins `width` earlier. */
static void close_gaps(uint16_t *plan, uint32_t seconds, uint32_t width, uint16_t *scratch)
{
    for (uint32_t i = 0; i < seconds; i++) {
        scratch[i] = 0;
        for (uint32_t k = i; k < seconds && k <= i + width; k++)
            scratch[i] = plan[k] > scratch[i] ? plan[k] : scratch[i];
    }
    for (uint32_t i = 0; i < seconds; i++) {
        plan[i] = UINT16_MAX;
        for (uint32_t k = i > width ? i - width : 0; k <= i; k++)
            plan[i] = scratch[k] < plan[i] ? scratch[k] : plan[i];
    }
    for (uint32_t i = 0; i < seconds; i++) {
        scratch[i] = 0;
        for (uint32_t k = i; k < seconds && k <= i + width; k++)
            scratch[i] = plan[k] > scratch[i] ? plan[k] : scratch[i];
    }
    memcpy(plan, scratch, seconds * sizeof(*plan));
}

status plan_make(struct sim_model *model, uint64_t seed, uint32_t seconds, double *slice_hours)
{
    float *at = memory_allocate_array(seconds + 1, sizeof(*at));
    uint16_t *scratch = memory_allocate_array(seconds, sizeof(*scratch));

    model->plan = memory_allocate_array(seconds, sizeof(*model->plan));
    if (at == NULL || scratch == NULL || model->plan == NULL) {
        memory_release(at);
        memory_release(scratch);
        return STATUS_NO_MEMORY;
    }
    under_way(model, seed, seconds, at);
    for (uint32_t i = 0; i < seconds; i++) {
        double need = ceil(at[i] / model->spec.truth.concurrency - 1e-6);

        model->plan[i] = (uint16_t)fmin(fmax(need, model->spec.count_min), UINT16_MAX);
    }
    close_gaps(model->plan, seconds, (uint32_t)ceil(model->spec.start_s), scratch);
    *slice_hours = 0;
    for (uint32_t i = 0; i < seconds; i++)
        *slice_hours += (double)model->plan[i] * model->spec.parts / 3600;
    memory_release(at);
    memory_release(scratch);
    return STATUS_OK;
}
