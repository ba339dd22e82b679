#ifndef PENSTOCK_RECORDS_REQUEST_RECORD_H
#define PENSTOCK_RECORDS_REQUEST_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "request_usage.h"

/* What is kept of a request that has ended: one line of the access log, one row of the ledger. Of fixed size, so that a loop
 * fills one without allocating and the writer thread needs nothing of the request's memory. Never anything of its text. */

#define RECORD_TEXT_BYTES 129u /* request ids and names; what is longer is cut */
#define RECORD_CODE_BYTES 64u
#define RECORD_NO_REPLICA UINT32_MAX
#define RECORD_NO_COST    UINT64_MAX

struct request_record {
    uint64_t ended_ms;            /* wall clock */
    uint64_t duration_ns;         /* from its head to the answer's end */
    uint64_t first_token_ns;      /* from its head to the first event with content; 0: none came */
    uint64_t wait_ns;             /* for a slot of the model */
    uint64_t bytes_in, bytes_out; /* of the bodies */
    uint64_t cost_nano;           /* thousand-millionths; RECORD_NO_COST: no price is set */
    uint64_t number; /* of its loop; with `loop` and the process's own number it names the row */
    uint32_t loop, retries, replica; /* index in its model, or RECORD_NO_REPLICA */
    int status_code;                 /* 499: the client went first */
    bool is_metered;                 /* the ledger keeps it */
    struct request_usage usage;
    const char *route, *model; /* live as long as the process; model "": none */
    const char *finish; /* static; why the answer has ended, as OpenAI says it; "": not known */
    const char *audit_action; /* static; what the audit log counts it as; NULL: not at all */
    char audit_object[64];    /* "": its peer */
    char method[16], peer[64];
    char trace_id[33];                   /* of the client's traceparent; "": it sent none */
    char error_code[RECORD_CODE_BYTES];  /* of the error that was answered; "": none */
    char asked_model[RECORD_TEXT_BYTES]; /* what the client called the model */
    char request_id[RECORD_TEXT_BYTES], key_id[RECORD_TEXT_BYTES], key_name[RECORD_TEXT_BYTES],
        organisation[RECORD_TEXT_BYTES], team[RECORD_TEXT_BYTES];
};

#endif
