#ifndef PENSTOCK_OBSERVE_STORY_BOOK_H
#define PENSTOCK_OBSERVE_STORY_BOOK_H

#include "request_story.h"
#include "status.h"

/* The stories of one loop: those of requests that are under way, and the last ones that have ended. A request takes one at its start and
 * gives it back at its end, and then it goes into the ring by itself: nothing is copied, and memory is asked for only until there are
 * as many as are kept and were ever under way at once. Thread: the loop's. */
typedef struct story_book story_book;

/* `kept_max` of those that have ended; 0: none. STATUS_OK, STATUS_NO_MEMORY. */
NODISCARD status story_book_create(uint32_t loop, uint32_t kept_max, story_book **out);
void story_book_destroy(story_book *book); /* with all its stories; accepts NULL */

/* A story that begins at start_ns, empty but for its number, its loop and texts that are never NULL; borrowed until its end. NULL:
 * no memory. */
struct request_story *story_book_begin(story_book *book, uint64_t start_ns);
/* It is over: kept until so many have ended after it. */
void story_book_end(story_book *book, struct request_story *story);

/* Visits those under way, the newest first, then those that have ended, the newest first, until the visitor says false. */
typedef bool story_visit_fn(void *context, const struct request_story *story);
void story_book_visit(const story_book *book, story_visit_fn *visit, void *context);

#endif
