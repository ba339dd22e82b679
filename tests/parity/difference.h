#ifndef PENSTOCK_TESTS_DIFFERENCE_H
#define PENSTOCK_TESTS_DIFFERENCE_H

#include <stddef.h>

/* Absolute differences collected one by one, then looked at in order. */
struct differences {
    double *values; /* owned */
    size_t count, capacity;
};

void differences_add(struct differences *d, double ours, double theirs);
/* The value below which `share` of all lie: 0.5 median, 1 largest. Sorts. 0 when there are none. */
double differences_at(struct differences *d, double share);
void differences_free(struct differences *d);

#endif
