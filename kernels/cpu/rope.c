#include "rope.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "memory.h"

#define ANGLES_COUNT 2u

void rope_cache_deinit(struct rope_cache *cache)
{
    for (uint32_t i = 0; i < ANGLES_COUNT; i++) {
        memory_release(cache->angles[i].positions);
        memory_release(cache->angles[i].cosines);
        memory_release(cache->angles[i].sines);
    }
    *cache = (struct rope_cache){0};
}

status rope_cache_reserve(struct rope_cache *cache, uint32_t rows_max, uint32_t d_max)
{
    if (rows_max <= cache->rows_max && d_max <= cache->d_max)
        return STATUS_OK;
    rows_max = rows_max > cache->rows_max ? rows_max : cache->rows_max;
    d_max = d_max > cache->d_max ? d_max : cache->d_max;
    rope_cache_deinit(cache);
    for (uint32_t i = 0; i < ANGLES_COUNT; i++) {
        struct rope_angles *angles = &cache->angles[i];
        angles->positions = memory_allocate_array(rows_max, sizeof(uint32_t));
        angles->cosines = memory_allocate_array((size_t)rows_max * d_max, sizeof(float));
        angles->sines = memory_allocate_array((size_t)rows_max * d_max, sizeof(float));
        if (angles->positions == NULL || angles->cosines == NULL || angles->sines == NULL) {
            rope_cache_deinit(cache);
            return STATUS_NO_MEMORY;
        }
    }
    cache->rows_max = rows_max;
    cache->d_max = d_max;
    return STATUS_OK;
}

static bool table_equals(const struct rope_angles *angles, const struct rope_table *rope)
{
    return angles->frequencies == rope->frequencies && angles->d_rope == rope->d_rope &&
           angles->magnitude == rope->magnitude && angles->is_interleaved == rope->is_interleaved;
}

static void fill_row(struct rope_angles *angles, uint32_t position, float *cosines, float *sines)
{
    for (uint32_t i = 0; i < angles->d_rope / 2; i++) {
        double angle = (double)position * (double)angles->frequencies[i];
        float c = (float)(cos(angle) * (double)angles->magnitude);
        float s = (float)(sin(angle) * (double)angles->magnitude);
        if (angles->is_interleaved) {
            cosines[2 * i] = cosines[2 * i + 1] = c;
            sines[2 * i] = -s;
            sines[2 * i + 1] = s;
        } else {
            cosines[i] = c;
            sines[i] = s;
        }
    }
}

const struct rope_angles *rope_cache_get(struct rope_cache *cache, const struct rope_table *rope,
                                         const uint32_t *positions, uint32_t n_rows)
{
    CHECK(n_rows <= cache->rows_max && rope->d_rope <= cache->d_max && rope->d_rope % 2 == 0);
    uint32_t index = cache->latest;
    if (!table_equals(&cache->angles[index], rope))
        index = 1 - index; /* the other: either it matches, or it is the older one */
    struct rope_angles *angles = &cache->angles[index];
    cache->latest = index;
    bool is_same_table = table_equals(angles, rope);
    uint32_t known = is_same_table ? angles->n_rows : 0;
    if (known == n_rows && memcmp(angles->positions, positions, n_rows * sizeof(uint32_t)) == 0)
        return angles;
    angles->frequencies = rope->frequencies;
    angles->d_rope = rope->d_rope;
    angles->magnitude = rope->magnitude;
    angles->is_interleaved = rope->is_interleaved;
    for (uint32_t r = 0; r < n_rows; r++)
        if (r >= known || angles->positions[r] != positions[r])
            fill_row(angles, positions[r], angles->cosines + (size_t)r * cache->d_max,
                     angles->sines + (size_t)r * cache->d_max);
    memcpy(angles->positions, positions, n_rows * sizeof(uint32_t));
    angles->n_rows = n_rows;
    return angles;
}
