#include "request_wishes.h"

#include "check.h"
#include "clock.h"
#include "decimal.h"

#define TIMEOUT_MS_MAX 86400000 /* a day; a longer one is as good as none */

bool request_number_read(struct text_slice text, int64_t min, int64_t max, int64_t *out)
{
    bool is_short = text.bytes <= 18, is_negative = text_slice_skip(&text, "-");
    uint64_t digits;
    int64_t value;

    if (!is_short || !decimal_read(text, INT64_MAX, &digits))
        return false;
    value = is_negative ? -(int64_t)digits : (int64_t)digits;
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}

/* One step before or behind those that name no tier, as in the replica. */
static int32_t tier_priority(struct text_slice raw)
{
    if (text_slice_is(raw, "\"flex\""))
        return 1;
    return text_slice_is(raw, "\"priority\"") || text_slice_is(raw, "\"fast\"") ? -1 : 0;
}

int32_t request_priority_read(struct text_slice priority, struct text_slice tier)
{
    int64_t number;

    if (request_number_read(priority, INT32_MIN, INT32_MAX, &number))
        return (int32_t)number;
    return tier_priority(tier);
}

int32_t request_priority_of_header(const http_request *request, int32_t of_body)
{
    int64_t number = of_body;

    (void)request_number_read(http_request_header(request, "x-penstock-priority"), INT32_MIN,
                              INT32_MAX, &number);
    return (int32_t)number;
}

uint64_t request_due_ns(const http_request *request, uint64_t slo_ns)
{
    static const char *const names[] = {"x-slo-ttft-ms", "x-llm-d-slo-ttft-ms",
                                        "x-request-timeout-ms"};
    uint64_t least_ns = slo_ns;

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        int64_t ms;

        if (!request_number_read(http_request_header(request, names[i]), 0, TIMEOUT_MS_MAX, &ms))
            continue;
        /* 0 is a limit too: one nanosecond, since 0 stands for none. */
        if (least_ns == 0 || (uint64_t)ms * NS_PER_MS < least_ns)
            least_ns = ms > 0 ? (uint64_t)ms * NS_PER_MS : 1;
    }
    return least_ns > 0 ? http_request_start_ns(request) + least_ns : 0;
}
