#include "cuda_graphs.h"

#include "cuda_backend.h"

uint32_t graphs_bucket(uint32_t n, uint32_t most)
{
    uint32_t bucket = 1;
    while (bucket < n)
        bucket = bucket < 8     ? 2 * bucket
                 : bucket < 32  ? bucket + 8
                 : bucket < 64  ? bucket + 16
                 : bucket < 256 ? bucket + 32
                                : bucket + 128;
    return bucket < most ? bucket : most;
}

/* NULL: all entries are taken. */
static struct graph_entry *entry_of(struct cuda_graphs *graphs, uint32_t n_rows,
                                    uint32_t n_logit_rows)
{
    for (uint32_t i = 0; i < GRAPH_BUCKETS_MAX; i++) {
        struct graph_entry *entry = &graphs->entries[i];
        if (entry->n_rows == 0) {
            entry->n_rows = n_rows;
            entry->n_logit_rows = n_logit_rows;
        }
        if (entry->n_rows == n_rows && entry->n_logit_rows == n_logit_rows)
            return entry;
    }
    return NULL;
}

bool graphs_begin(struct cuda_backend *b, uint32_t n_rows, uint32_t n_logit_rows)
{
    struct cuda_graphs *graphs = &b->graphs;
    struct graph_entry *entry = entry_of(graphs, n_rows, n_logit_rows);
    if (entry == NULL)
        return false;
    if (entry->graph != NULL) {
        device_graph_launch(entry->graph, b->stream);
        graphs->replay_count++;
        return true;
    }
    if (entry->run_count++ > 0 && device_capture_begin(b->stream) == STATUS_OK)
        graphs->captured = entry;
    return false;
}

void graphs_finish(struct cuda_backend *b)
{
    struct graph_entry *entry = b->graphs.captured;
    if (entry == NULL)
        return;
    b->graphs.captured = NULL;
    status result = device_capture_end(b->stream, &entry->graph);
    if (result != STATUS_OK) {
        /* The step's work is lost: it was recorded, and not run. */
        device_stream_fail(b->stream, "a step's graph", status_name(result));
        return;
    }
    b->graphs.capture_count++;
    device_graph_launch(entry->graph, b->stream);
}

void graphs_drop(struct cuda_backend *b)
{
    graphs_finish(b);
    bool is_queued = true;
    for (uint32_t i = 0; i < GRAPH_BUCKETS_MAX; i++) {
        struct graph_entry *entry = &b->graphs.entries[i];
        if (entry->graph != NULL && is_queued) {
            (void)device_stream_synchronize(b->stream);
            is_queued = false;
        }
        device_graph_destroy(entry->graph);
        *entry = (struct graph_entry){.n_rows = 0};
    }
}
