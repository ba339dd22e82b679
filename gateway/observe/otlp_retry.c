#include "otlp_retry.h"

#include "clock.h"

#define WAIT_FIRST_NS      NS_PER_SECOND
#define WAIT_MAX_NS        (30 * NS_PER_SECOND)
#define RETRY_AFTER_S_MAX  3600u /* what is more is a mistake of the receiver's */
#define DOUBLING_COUNT_MAX 5u

enum otlp_verdict otlp_judge(status result, int status_code)
{
    if (result == STATUS_CLOSED || result == STATUS_TIMEOUT || result == STATUS_DENIED)
        return OTLP_AGAIN;
    if (result != STATUS_OK)
        return OTLP_REFUSED;
    if (status_code >= 200 && status_code < 300)
        return OTLP_TAKEN;
    return status_code == 429 || (status_code >= 502 && status_code <= 504) ? OTLP_AGAIN
                                                                            : OTLP_REFUSED;
}

uint64_t otlp_retry_wait_ns(uint32_t tries, uint64_t retry_after_s, uint64_t random)
{
    uint32_t doublings = tries > DOUBLING_COUNT_MAX ? DOUBLING_COUNT_MAX : tries - 1;
    uint64_t wait_ns = WAIT_FIRST_NS << doublings;

    if (retry_after_s > 0)
        return (retry_after_s < RETRY_AFTER_S_MAX ? retry_after_s : RETRY_AFTER_S_MAX) *
               NS_PER_SECOND;
    wait_ns = wait_ns < WAIT_MAX_NS ? wait_ns : WAIT_MAX_NS;
    return wait_ns / 2 + random % (wait_ns / 2 + 1);
}
