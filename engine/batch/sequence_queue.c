#include "sequence_queue.h"

#include <stddef.h>

#include "check.h"

/* heap_child: first child. heap_next: next sibling. heap_previous: the sibling before, or the
 * parent for a first child; NULL for the root. */

/* Makes the later of two roots the first child of the other. Either may be NULL. */
static struct sequence *meld(struct sequence *a, struct sequence *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (sequence_is_before(b, a)) {
        struct sequence *swap = a;
        a = b;
        b = swap;
    }
    b->heap_previous = a;
    b->heap_next = a->heap_child;
    if (a->heap_child != NULL)
        a->heap_child->heap_previous = b;
    a->heap_child = b;
    a->heap_next = NULL;
    a->heap_previous = NULL;
    return a;
}

/* Melds a list of siblings in two passes: pairs from the left, then the pairs from the right.
 * Without recursion: the pairs are stacked through heap_next. */
static struct sequence *meld_siblings(struct sequence *first)
{
    struct sequence *pairs = NULL;
    while (first != NULL) {
        struct sequence *second = first->heap_next;
        struct sequence *rest = second != NULL ? second->heap_next : NULL;
        first->heap_next = first->heap_previous = NULL;
        if (second != NULL)
            second->heap_next = second->heap_previous = NULL;
        struct sequence *pair = meld(first, second);
        pair->heap_next = pairs;
        pairs = pair;
        first = rest;
    }
    struct sequence *root = NULL;
    while (pairs != NULL) {
        struct sequence *next = pairs->heap_next;
        pairs->heap_next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void sequence_queue_insert(struct sequence_queue *queue, struct sequence *s)
{
    s->heap_child = s->heap_next = s->heap_previous = NULL;
    queue->root = meld(queue->root, s);
    queue->count++;
}

void sequence_queue_remove(struct sequence_queue *queue, struct sequence *s)
{
    CHECK(queue->count > 0);
    if (s == queue->root) {
        queue->root = NULL;
    } else {
        struct sequence *before = s->heap_previous;
        CHECK(before != NULL);
        if (before->heap_child == s)
            before->heap_child = s->heap_next;
        else
            before->heap_next = s->heap_next;
        if (s->heap_next != NULL)
            s->heap_next->heap_previous = before;
    }
    queue->root = meld(queue->root, meld_siblings(s->heap_child));
    s->heap_child = s->heap_next = s->heap_previous = NULL;
    queue->count--;
}
