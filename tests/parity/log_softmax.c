#include "log_softmax.h"

#include <math.h>

uint32_t largest_index(const float *values, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

/* Terms as floats, their sum in double: with exp() the tests take half as long again. */
void log_softmax(const float *logits, uint32_t count, float *out)
{
    float top = logits[largest_index(logits, count)];
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += (double)expf(logits[i] - top);
    double log_sum = (double)top + log(sum);
    for (uint32_t i = 0; i < count; i++)
        out[i] = (float)((double)logits[i] - log_sum);
}
