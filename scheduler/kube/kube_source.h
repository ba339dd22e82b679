#ifndef PENSTOCK_SCHEDULER_KUBE_SOURCE_H
#define PENSTOCK_SCHEDULER_KUBE_SOURCE_H

#include <jansson.h>

#include "kube_client.h"

/* One collection of an API server, held as it is now: listed page by page, then followed by a watch from the list's version.
 * A watch that ends goes on from the last version seen (events and bookmarks); one whose version is too old (410, as an answer or as an
 * event) needs a new list. List and watch work on every server; streamed initial lists (sendInitialEvents) need a storage that not
 * every server has, and bring no more. */

/* What of an object is kept; takes the reference, gives one. NULL: nothing of it. */
typedef json_t *(*kube_object_keep)(json_t *object);

struct kube_source {
    char path[1024];    /* without a query; "": the server has no such thing */
    char selector[512]; /* "labelSelector=..." or "fieldSelector=...", encoded; "" */
    kube_object_keep keep;
    json_t *objects;           /* owned: "namespace/name" -> object; NULL: not listed yet */
    char version[256];         /* opaque */
    struct http_stream *watch; /* owned; NULL: none is open */
    struct buffer events;      /* what has come of it and is not a whole line yet */
    bool was_refused;          /* by a 401, once */
    uint32_t failures;         /* of watches, in a row */
    uint64_t opened_ns, next_open_ns;
};

enum kube_news {
    KUBE_NOTHING,
    KUBE_HEARD,   /* a bookmark, or the watch was opened */
    KUBE_CHANGED, /* objects are others */
    KUBE_EXPIRED, /* list anew */
};

/* Told before an object changes: what was (NULL: new) and what is (NULL: gone). */
typedef void (*kube_object_changed)(void *context, const json_t *before, const json_t *after);

void kube_source_init(struct kube_source *source);
void kube_source_deinit(struct kube_source *source);
/* A complete list; the objects stay as they were until it is. Statuses of kube_client_call, STATUS_DENIED (401, 403), STATUS_INVALID. */
NODISCARD status kube_source_list(struct kube_client *client, struct kube_source *source,
                                  struct error_note *note);
/* Opens the watch where there is none, and takes what has come. STATUS_OK with news; else watches are no good (nobody is there, or
 * several in a row have failed) and the list is to be taken anew. */
NODISCARD status kube_source_follow(struct kube_client *client, struct kube_source *source,
                                    kube_object_changed changed, void *context,
                                    enum kube_news *news, struct error_note *note);

/* The words of a Status body: "403 Forbidden: pods is forbidden ..."; and what its code means to a caller: STATUS_DENIED (401, 403),
 * STATUS_NOT_FOUND (404), STATUS_TIMEOUT (408, 504), STATUS_AGAIN (409, 410, 429), STATUS_CLOSED (other 5xx), STATUS_INVALID. */
status kube_answer_status(int code, struct text_slice body, struct error_note *note);

#endif
