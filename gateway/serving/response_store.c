/* The store: a table of chains by the keyed hash of the id, and a list by age. All records live for
 * the same time, so the list's front is both the oldest and the next to end.
 *
 *   buckets: hash -> node -> node        by `chained`
 *   oldest -> node -> node -> newest     by `next` and `previous`
 *
 * A node is unlinked under the lock and freed outside of it, by whoever drops its last reference. */

#include "response_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "memory.h"

#define ID_BYTES_MAX 64u

struct node {
    struct response_record record; /* texts follow the node */
    struct node *chained, *next, *previous;
    _Atomic uint32_t references; /* the store's own, and one for each holder */
    char id[ID_BYTES_MAX];
    struct hash128 tenant;
    uint64_t end_ns;
    uint64_t bytes; /* with the node */
};

struct response_store {
    pthread_mutex_t lock;
    struct response_store_limits limits;
    struct hash_key key;
    struct node **buckets; /* owned; [bucket_count] */
    uint32_t bucket_count; /* power of two */
    struct node *oldest, *newest;
    uint64_t bytes;
    uint32_t count;
};

status response_store_create(const struct response_store_limits *limits, const struct hash_key *key,
                             response_store **out)
{
    uint32_t buckets = 1;
    while (buckets < limits->count_max && buckets < 1u << 20)
        buckets *= 2;
    response_store *store = memory_allocate_array(1, sizeof *store);
    if (store == NULL)
        return STATUS_NO_MEMORY;
    store->buckets = memory_allocate_array(buckets, sizeof *store->buckets);
    if (store->buckets == NULL) {
        memory_release(store);
        return STATUS_NO_MEMORY;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->limits = *limits;
    store->key = *key;
    store->bucket_count = buckets;
    *out = store;
    return STATUS_OK;
}

static void node_release(struct node *node)
{
    /* release: our reads come before the free; acquire: the others' do */
    if (atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) == 1)
        memory_release(node);
}

/* Frees nodes that are linked by `chained`. */
static void nodes_release(struct node *node)
{
    while (node != NULL) {
        struct node *next = node->chained;
        node_release(node);
        node = next;
    }
}

void response_store_destroy(response_store *store)
{
    if (store == NULL)
        return;
    for (struct node *node = store->oldest, *next; node != NULL; node = next) {
        next = node->next;
        node_release(node);
    }
    pthread_mutex_destroy(&store->lock);
    memory_release(store->buckets);
    memory_release(store);
}

static struct node **bucket_of(response_store *store, struct text_slice id)
{
    uint64_t hash = hash64(&store->key, id.data, id.bytes);
    return &store->buckets[hash & (store->bucket_count - 1)];
}

/* Under the lock. The node's reference is the caller's then. */
static void unlink_node(response_store *store, struct node *node)
{
    struct node **link = bucket_of(store, text_slice_of(node->id));
    while (*link != node)
        link = &(*link)->chained;
    *link = node->chained;
    node->chained = NULL;
    *(node->previous != NULL ? &node->previous->next : &store->oldest) = node->next;
    *(node->next != NULL ? &node->next->previous : &store->newest) = node->previous;
    store->bytes -= node->bytes;
    store->count--;
}

/* Under the lock: unlinks what is over, and the oldest until `bytes` and one record more fit.
 * Returns the chain of them. */
static struct node *make_room(response_store *store, uint64_t bytes, uint32_t count,
                              uint64_t now_ns)
{
    struct node *removed = NULL;
    while (store->oldest != NULL &&
           (store->oldest->end_ns <= now_ns || store->count + count > store->limits.count_max ||
            store->bytes + bytes > store->limits.bytes_max)) {
        struct node *node = store->oldest;
        unlink_node(store, node);
        node->chained = removed;
        removed = node;
    }
    return removed;
}

/* Copies a text behind the node. */
static struct text_slice place(char **at, struct text_slice text)
{
    struct text_slice copy = {*at, text.bytes};
    if (text.bytes > 0)
        memcpy(*at, text.data, text.bytes);
    *at += text.bytes;
    return copy;
}

static struct node *node_create(const char *id, struct hash128 tenant,
                                const struct response_record *record)
{
    size_t texts =
        record->response.bytes + record->context.bytes + record->input.bytes + record->output.bytes;
    struct node *node = memory_allocate(sizeof *node + texts);
    if (node == NULL)
        return NULL;
    char *at = (char *)(node + 1);
    *node = (struct node){.tenant = tenant, .bytes = sizeof *node + texts};
    atomic_store_explicit(&node->references, 1, memory_order_relaxed);
    memcpy(node->id, id, strlen(id) + 1);
    node->record = (struct response_record){
        .response = place(&at, record->response),
        .context = place(&at, record->context),
        .input = place(&at, record->input),
        .output = place(&at, record->output),
    };
    return node;
}

status response_store_put(response_store *store, const char *id, struct hash128 tenant,
                          const struct response_record *record, uint64_t now_ns)
{
    CHECK(strlen(id) < ID_BYTES_MAX);
    struct node *node = node_create(id, tenant, record);
    if (node == NULL)
        return STATUS_NO_MEMORY;
    if (node->bytes > store->limits.bytes_max || store->limits.count_max == 0) {
        memory_release(node);
        return STATUS_TOO_LARGE;
    }
    node->end_ns = now_ns + store->limits.ttl_ns;
    struct node **bucket = bucket_of(store, text_slice_of(id));
    pthread_mutex_lock(&store->lock);
    struct node *removed = make_room(store, node->bytes, 1, now_ns);
    node->chained = *bucket;
    *bucket = node;
    node->previous = store->newest;
    *(store->newest != NULL ? &store->newest->next : &store->oldest) = node;
    store->newest = node;
    store->bytes += node->bytes;
    store->count++;
    pthread_mutex_unlock(&store->lock);
    nodes_release(removed);
    return STATUS_OK;
}

/* Under the lock. */
static struct node *find(response_store *store, struct text_slice id, struct hash128 tenant)
{
    struct node *node = *bucket_of(store, id);
    while (node != NULL && (!text_slice_is(id, node->id) || !hash128_equals(node->tenant, tenant)))
        node = node->chained;
    return node;
}

const struct response_record *response_store_get(response_store *store, struct text_slice id,
                                                 struct hash128 tenant, uint64_t now_ns)
{
    pthread_mutex_lock(&store->lock);
    struct node *removed = make_room(store, 0, 0, now_ns);
    struct node *node = find(store, id, tenant);
    if (node != NULL)
        atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&store->lock);
    nodes_release(removed);
    return node != NULL ? &node->record : NULL;
}

void response_store_release(response_store *store, const struct response_record *record)
{
    (void)store;
    node_release(CONTAINER_OF(record, struct node, record));
}

bool response_store_delete(response_store *store, struct text_slice id, struct hash128 tenant,
                           uint64_t now_ns)
{
    pthread_mutex_lock(&store->lock);
    struct node *removed = make_room(store, 0, 0, now_ns);
    struct node *node = find(store, id, tenant);
    if (node != NULL)
        unlink_node(store, node);
    pthread_mutex_unlock(&store->lock);
    nodes_release(removed);
    if (node != NULL)
        node_release(node);
    return node != NULL;
}

uint64_t response_store_bytes(response_store *store)
{
    pthread_mutex_lock(&store->lock);
    uint64_t bytes = store->bytes;
    pthread_mutex_unlock(&store->lock);
    return bytes;
}

uint32_t response_store_count(response_store *store)
{
    pthread_mutex_lock(&store->lock);
    uint32_t count = store->count;
    pthread_mutex_unlock(&store->lock);
    return count;
}
