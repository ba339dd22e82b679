#ifndef PENSTOCK_GATEWAY_HEARTBEAT_H
#define PENSTOCK_GATEWAY_HEARTBEAT_H

#include "buffer.h"
#include "shared_page.h"

/* What a replica on another machine tells its gateway four times a second, instead of writing into a page that both map: the page's
 * numbers, which names have come to it and gone since what the gateway has confirmed, and in which phase of its life it is. The
 * numbers go as they stand in memory, since both sides are of the same version (JOIN_PROTOCOL) on little-endian machines; times go as ages, since
 * their clocks differ. */

/* --- what both sides of a join know --- */

/* Rises with every change of what follows, of the shared page, or of what a gateway asks of a replica. */
#define JOIN_PROTOCOL 1u

#define JOIN_URL_VARIABLE     "PENSTOCK_JOIN_URL"     /* "https://host:port" */
#define JOIN_PIN_VARIABLE     "PENSTOCK_JOIN_PIN"     /* of the gateway's key */
#define JOIN_TOKEN_VARIABLE   "PENSTOCK_JOIN_TOKEN"   /* good once */
#define JOIN_TIMEOUT_VARIABLE "PENSTOCK_JOIN_TIMEOUT" /* seconds that it is good for */
/* Beside them, and also for replicas that need not join: whose the slice is (slice_vendor_name). */
#define SLICE_VENDOR_VARIABLE "PENSTOCK_SLICE_VENDOR"

#define JOIN_PATH      "/replicas/join"
#define JOIN_BEAT_PATH "/replicas/heartbeat"
#define JOIN_TEXT_PATH "/replicas/config"

/* Shown by the replica with all but the join, and by the gateway with all that it asks of the replica. */
#define JOIN_SESSION_HEADER "x-penstock-session"
#define JOIN_KEY_BYTES      80u /* of a token's or session's text, with the NUL */

#define HEARTBEAT_INTERVAL_NS 250000000ull

/* --- the message --- */

enum heartbeat_phase {
    HEARTBEAT_STARTING,
    HEARTBEAT_READY,
    HEARTBEAT_ASLEEP, /* it would be ready, and waits to be woken */
    HEARTBEAT_STUCK,  /* it should be ready, and is not */
    HEARTBEAT_DRAINING,
    HEARTBEAT_FAILED, /* it ends: the reason tells why */
    HEARTBEAT_PHASES  /* how many there are */
};

#define HEARTBEAT_NAMES_MAX    2048u /* each way; more come with the next */
#define HEARTBEAT_REASON_BYTES 512u

struct heartbeat {
    uint64_t number; /* of the message, rising */
    enum heartbeat_phase phase;
    bool
        is_afresh; /* what was told of names before is not so any more: these are all, or the first of all */
    bool has_state;                     /* the page has been written to */
    uint32_t context_max, capabilities; /* of the model; 0: not known yet */
    float bytes_per_token;
    struct shared_page_state state;     /* times are the reader's own */
    uint64_t moments_ns[START_MOMENTS]; /* likewise; 0: not yet */
    /* Bytes of words, which need not stand where words may: heartbeat_name. Borrowed. */
    const char *came, *gone;
    uint32_t came_count, gone_count; /* up to HEARTBEAT_NAMES_MAX */
    struct text_slice reason;        /* up to HEARTBEAT_REASON_BYTES, printable; borrowed */
};

/* Bytes of the longest message; the ceiling that a buffer for it needs. */
size_t heartbeat_bytes_max(void);

/* Appends the message. `now_ns`: monotonic here. */
void heartbeat_write(const struct heartbeat *beat, uint64_t now_ns, struct buffer *out);

/* Reads one; `out` borrows from `bytes`. STATUS_OK, or STATUS_INVALID: it is none, and nothing is written. Pure. */
NODISCARD status heartbeat_read(struct text_slice bytes, uint64_t now_ns, struct heartbeat *out);

uint64_t heartbeat_name(const char *names, uint32_t index);

/* --- names: what the other side has been told of them --- */

typedef struct told_names told_names;

/* STATUS_OK, STATUS_NO_MEMORY. One thread. */
NODISCARD status told_names_create(told_names **out);
void told_names_destroy(told_names *told); /* accepts NULL */

/* What has changed since what the other side has confirmed, as much as one message holds, goes into the message, which borrows it until
 * the next call. */
void told_names_compare(told_names *told, const shared_page *page, struct heartbeat *beat);
/* The message of the last comparison has arrived. */
void told_names_confirm(told_names *told);
/* Whether it has is not known, or nobody knows anything: the next message begins afresh. */
void told_names_forget(told_names *told);

/* The other side: does to `page` what the message says. */
void heartbeat_take(const struct heartbeat *beat, shared_page_writer *page);

#endif
