#ifndef PENSTOCK_OBSERVE_OTLP_RETRY_H
#define PENSTOCK_OBSERVE_OTLP_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* What a receiver's answer means for the batch, as the protocol's specification says: 2xx is the end; 429, 502, 503 and 504,
 * and no answer at all, are tried again; every other answer is the end too, of a batch that is lost. Pure. */

enum otlp_verdict { OTLP_TAKEN, OTLP_AGAIN, OTLP_REFUSED };

/* `result` is http_fetch's. */
enum otlp_verdict otlp_judge(status result, int status_code);

/* How long to wait before try number `tries` + 1 (`tries` from 1): what the receiver has asked for, else doubling from one
 * second to thirty, of which a random part between a half and the whole is taken, so that many gateways do not come at
 * once. `random`: any number. */
uint64_t otlp_retry_wait_ns(uint32_t tries, uint64_t retry_after_s, uint64_t random);

#endif
