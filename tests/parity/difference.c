#include "difference.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"

void differences_add(struct differences *d, double ours, double theirs)
{
    if (d->count == d->capacity) {
        d->capacity = d->capacity != 0 ? 2 * d->capacity : 1024;
        d->values = realloc(d->values, d->capacity * sizeof *d->values);
        CHECK(d->values != NULL);
    }
    double difference = fabs(ours - theirs);
    d->values[d->count++] = isnan(difference) ? INFINITY : difference;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double differences_at(struct differences *d, double share)
{
    if (d->count == 0)
        return 0;
    qsort(d->values, d->count, sizeof *d->values, compare);
    return d->values[(size_t)((double)(d->count - 1) * share)];
}

void differences_free(struct differences *d)
{
    free(d->values);
    *d = (struct differences){0};
}
