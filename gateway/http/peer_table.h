#ifndef PENSTOCK_GATEWAY_HTTP_PEER_TABLE_H
#define PENSTOCK_GATEWAY_HTTP_PEER_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "hash.h"

/* Who is connected and how fast they come, for all loops of a server, in constant memory and
 * without a lock: outsiders choose the keys, so a table that grows would be a hole of its own. Two
 * rows of counters under two keyed hashes; the smaller of an address's two counters is its count
 * (count-min sketch, Cormode and Muthukrishnan 2005). It may be too high when an address shares
 * both of its cells with busy ones (1 in 2^24 a pair), never too low. */

#define PEER_TABLE_COLUMNS 4096u

struct peer_table {
    struct hash_key key; /* random a process: nobody can choose colliding addresses */
    _Atomic uint32_t connections[2][PEER_TABLE_COLUMNS];
    _Atomic uint64_t upload_bytes[2][PEER_TABLE_COLUMNS]; /* of bodies that are still coming */
    /* Generic cell rate algorithm (ITU-T I.371): the time at which the bucket would be empty again.
     */
    _Atomic uint64_t accept_ready_ns[2][PEER_TABLE_COLUMNS];
};

struct peer_key {
    uint16_t columns[2];
};

void peer_table_init(struct peer_table *table);
/* IPv4: the address; IPv6: its /64, which is what one customer owns. */
struct peer_key peer_table_key(const struct peer_table *table, const struct address *address);

/* Counts one more connection, unless the address has `count_max` (0: no limit) or came more than
 * `per_second` times a second (0: no limit; a burst of as many is fine). False: refused, nothing is
 * counted. Any thread. */
bool peer_table_admit(struct peer_table *table, struct peer_key key, uint32_t count_max,
                      uint32_t per_second, uint64_t now_ns);
void peer_table_release(struct peer_table *table, struct peer_key key);

/* A connection of the address has `now` bytes of bodies that are still coming, and had `before`; returns the address's. Any thread. */
uint64_t peer_table_upload(struct peer_table *table, struct peer_key key, uint64_t before,
                           uint64_t now);

#endif
