#include "slurm_table.h"

#include <string.h>

#include "check.h"
#include "memory.h"

#define ROWS_FIRST 64u
#define ROWS_MAX   (1u << 20)

status slurm_table_init(struct slurm_table *table)
{
    *table = (struct slurm_table){.sizes = json_object()};
    if (table->sizes == NULL)
        return STATUS_NO_MEMORY;
    CHECK(pthread_mutex_init(&table->lock, NULL) == 0);
    return STATUS_OK;
}

void slurm_table_deinit(struct slurm_table *table)
{
    json_decref(table->sizes);
    memory_release(table->rows);
    CHECK(pthread_mutex_destroy(&table->lock) == 0);
}

static void lock(struct slurm_table *table)
{
    CHECK(pthread_mutex_lock(&table->lock) == 0);
}

static void unlock(struct slurm_table *table)
{
    CHECK(pthread_mutex_unlock(&table->lock) == 0);
}

uint64_t slurm_table_begin(struct slurm_table *table)
{
    uint64_t list;

    lock(table);
    list = ++table->list;
    unlock(table);
    return list;
}

static struct slurm_row *row_of(struct slurm_table *table, uint64_t job_id)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].job_id == job_id)
            return &table->rows[i];
    return NULL;
}

static struct slurm_row *row_add(struct slurm_table *table)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity == 0 ? ROWS_FIRST : table->capacity * 2;
        struct slurm_row *rows =
            capacity <= ROWS_MAX ? memory_resize(table->rows, capacity * sizeof(*rows)) : NULL;

        if (rows == NULL)
            return NULL;
        table->rows = rows;
        table->capacity = capacity;
    }
    table->rows[table->count] = (struct slurm_row){0};
    return &table->rows[table->count++];
}

status slurm_table_put(struct slurm_table *table, uint64_t list, const struct slurm_job *job)
{
    struct slurm_row *row;

    lock(table);
    row = row_of(table, job->id);
    if (row == NULL)
        row = row_add(table);
    if (row != NULL) {
        row->uid = job->mark.uid;
        row->job_id = job->id;
        row->list = list > row->list ? list : row->list;
        row->phase = job->phase;
        row->cause = job->cause;
        row->is_over = job->is_over;
        row->is_gang = job->is_gang;
        row->ends_seconds = job->ends_seconds;
        if (job->node[0] != '\0')
            memcpy(row->node, job->node, sizeof(row->node));
    }
    unlock(table);
    return row != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void slurm_table_end(struct slurm_table *table, uint64_t list)
{
    size_t kept = 0;

    lock(table);
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].list >= list)
            table->rows[kept++] = table->rows[i];
    table->count = kept;
    table->is_listed = true;
    unlock(table);
}

status slurm_table_submitted(struct slurm_table *table, const struct member_order *order,
                             uint64_t job_id)
{
    struct slurm_row *row;

    lock(table);
    row = row_of(table, job_id);
    if (row == NULL)
        row = row_add(table);
    if (row != NULL) {
        row->uid = order->uid;
        row->is_gang = order->part_count > 1;
        row->job_id = job_id;
        row->list = table->list + 1; /* one that began before may not have it */
        row->phase = MEMBER_REPLICA_PENDING;
    }
    unlock(table);
    return row != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void slurm_table_doubt(struct slurm_table *table)
{
    lock(table);
    table->is_listed = false;
    unlock(table);
}

bool slurm_table_is_listed(struct slurm_table *table)
{
    bool is_listed;

    lock(table);
    is_listed = table->is_listed;
    unlock(table);
    return is_listed;
}

static bool is_better(const struct slurm_row *row, const struct slurm_row *than)
{
    if (row->is_over != than->is_over)
        return !row->is_over;
    return row->is_over ? row->job_id > than->job_id : row->job_id < than->job_id;
}

bool slurm_table_find(struct slurm_table *table, uint64_t uid, struct slurm_row *out)
{
    const struct slurm_row *best = NULL;

    lock(table);
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].uid == uid && (best == NULL || is_better(&table->rows[i], best)))
            best = &table->rows[i];
    if (best != NULL)
        *out = *best;
    unlock(table);
    return best != NULL;
}

void slurm_table_cancel_at(struct slurm_table *table, uint64_t job_id, uint64_t when_ns)
{
    struct slurm_row *row;

    lock(table);
    row = row_of(table, job_id);
    if (row != NULL && (row->cancel_at_ns == 0 || when_ns < row->cancel_at_ns))
        row->cancel_at_ns = when_ns;
    if (row != NULL)
        row->is_asked = true;
    unlock(table);
}

bool slurm_table_due(struct slurm_table *table, uint64_t now_ns, uint64_t *job_id)
{
    bool is_due = false;

    lock(table);
    for (size_t i = 0; i < table->count && !is_due; i++) {
        struct slurm_row *row = &table->rows[i];

        if (row->cancel_at_ns == 0 || row->cancel_at_ns > now_ns)
            continue;
        row->cancel_at_ns = 0;
        *job_id = row->job_id;
        is_due = !row->is_over;
    }
    unlock(table);
    return is_due;
}

bool slurm_table_node(struct slurm_table *table, uint64_t job_id,
                      char out[SLURM_HOST_BYTES_MAX + 1])
{
    const struct slurm_row *row;

    lock(table);
    row = row_of(table, job_id);
    memcpy(out, row != NULL ? row->node : (const char[SLURM_HOST_BYTES_MAX + 1]){0},
           SLURM_HOST_BYTES_MAX + 1);
    unlock(table);
    return out[0] != '\0';
}

static bool is_moving(const struct slurm_row *row, uint64_t horizon_seconds)
{
    return !row->is_over && (row->phase != MEMBER_REPLICA_RUNNING || row->cancel_at_ns != 0 ||
                             (row->ends_seconds != 0 && row->ends_seconds <= horizon_seconds));
}

bool slurm_table_moving(struct slurm_table *table, uint64_t horizon_seconds, size_t *at,
                        uint64_t *job_id)
{
    bool is_found = false;

    lock(table);
    while (*at < table->count && !is_found) {
        const struct slurm_row *row = &table->rows[(*at)++];

        is_found = is_moving(row, horizon_seconds);
        *job_id = row->job_id;
    }
    unlock(table);
    return is_found;
}

void slurm_table_sizes_set(struct slurm_table *table, json_t *sizes)
{
    json_t *before;

    lock(table);
    before = table->sizes;
    table->sizes = sizes;
    unlock(table);
    json_decref(before);
}

bool slurm_table_size(struct slurm_table *table, const char *slice_id, struct slurm_slice_size *out)
{
    uint64_t packed;

    lock(table);
    packed = (uint64_t)json_integer_value(json_object_get(table->sizes, slice_id));
    unlock(table);
    *out = (struct slurm_slice_size){(uint32_t)(packed >> 32), (uint32_t)packed};
    return packed != 0;
}
