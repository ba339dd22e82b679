#include "sequence.h"

bool sequence_is_before(const struct sequence *a, const struct sequence *b)
{
    if (a->request->priority != b->request->priority)
        return a->request->priority < b->request->priority;
    if (a->request->turn != b->request->turn)
        return a->request->turn < b->request->turn;
    if (a->request->arrival != b->request->arrival)
        return a->request->arrival < b->request->arrival;
    return a->index < b->index;
}
