#include "peer_table.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>

#include "clock.h"

void peer_table_init(struct peer_table *table)
{
    memset(table, 0, sizeof *table);
    random_bytes(&table->key, sizeof table->key);
}

struct peer_key peer_table_key(const struct peer_table *table, const struct address *address)
{
    uint64_t hash = 0;
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        hash = hash64(&table->key, &in->sin_addr, sizeof in->sin_addr);
    } else if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        hash = hash64(&table->key, &in6->sin6_addr, 8);
    }
    return (struct peer_key){{(uint16_t)(hash % PEER_TABLE_COLUMNS),
                              (uint16_t)(hash / PEER_TABLE_COLUMNS % PEER_TABLE_COLUMNS)}};
}

/* The bucket is over its rate only if both cells say so. */
static bool rate_is_over(struct peer_table *table, struct peer_key key, uint32_t per_second,
                         uint64_t now_ns)
{
    const uint64_t interval_ns = NS_PER_SECOND / per_second + 1;
    bool is_over = true;
    for (unsigned row = 0; row < 2; row++) {
        _Atomic uint64_t *cell = &table->accept_ready_ns[row][key.columns[row]];
        uint64_t ready_ns = atomic_load_explicit(cell, memory_order_relaxed), next_ns;
        do {
            next_ns = (ready_ns > now_ns ? ready_ns : now_ns) + interval_ns;
            if (next_ns - now_ns > NS_PER_SECOND + interval_ns)
                break; /* a full second's worth is used up: no charge for the refusal */
        } while (!atomic_compare_exchange_weak_explicit(
            cell, &ready_ns, next_ns, memory_order_relaxed, memory_order_relaxed));
        if (next_ns - now_ns <= NS_PER_SECOND + interval_ns)
            is_over = false;
    }
    return is_over;
}

bool peer_table_admit(struct peer_table *table, struct peer_key key, uint32_t count_max,
                      uint32_t per_second, uint64_t now_ns)
{
    if (per_second != 0 && rate_is_over(table, key, per_second, now_ns))
        return false;
    uint32_t count = UINT32_MAX;
    for (unsigned row = 0; row < 2; row++) {
        uint32_t before = atomic_fetch_add_explicit(&table->connections[row][key.columns[row]], 1,
                                                    memory_order_relaxed);
        if (before < count)
            count = before;
    }
    if (count_max == 0 || count < count_max)
        return true;
    peer_table_release(table, key);
    return false;
}

void peer_table_release(struct peer_table *table, struct peer_key key)
{
    for (unsigned row = 0; row < 2; row++)
        atomic_fetch_sub_explicit(&table->connections[row][key.columns[row]], 1,
                                  memory_order_relaxed);
}

uint64_t peer_table_upload(struct peer_table *table, struct peer_key key, uint64_t before,
                           uint64_t now)
{
    uint64_t least = UINT64_MAX;
    for (unsigned row = 0; row < 2; row++) {
        uint64_t bytes = atomic_fetch_add_explicit(&table->upload_bytes[row][key.columns[row]],
                                                   now - before, memory_order_relaxed) +
                         (now - before);
        if (bytes < least)
            least = bytes;
    }
    return least;
}
