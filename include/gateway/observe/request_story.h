#ifndef PENSTOCK_OBSERVE_REQUEST_STORY_H
#define PENSTOCK_OBSERVE_REQUEST_STORY_H

#include <stdbool.h>
#include <stdint.h>

/* What has happened to one request in the gateway: what `penstock explain`, traces and the history are made of. Of fixed size
 * and filled in place by the thread of the request's loop, which alone may touch it until it has ended, so that telling costs a few
 * stores and never an allocation. Never anything of the request's text.
 *
 * Moments are nanoseconds from the story's start, which is when the request's head was complete; 0 means that it has not come to
 * that. Something that happens in the first nanosecond is told as 1. */

#define STORY_TEXT_BYTES     129u /* ids and names; what is longer is cut */
#define STORY_CODE_BYTES     64u
#define STORY_ATTEMPTS_MAX   8u
#define STORY_CANDIDATES_MAX 16u
#define STORY_PLACES_MAX     16u
#define STORY_NO_REPLICA     UINT32_MAX
#define STORY_NO_COST        UINT64_MAX

enum story_moment {
    STORY_BODY_READ,   /* the whole request is there */
    STORY_ADMITTED,    /* its caller is known and within its limits */
    STORY_QUEUED,      /* it has come to its model's waiting room */
    STORY_SLOT,        /* it has a slot of its model */
    STORY_DISPATCHED,  /* it was sent to a replica, for the first time */
    STORY_FIRST_BYTE,  /* the head of the answer that the client got has come from the replica */
    STORY_FIRST_TOKEN, /* of a stream: the first event with content */
    STORY_LAST_TOKEN,  /* of a stream: the last one so far */
    STORY_ENDED,
    STORY_MOMENT_COUNT
};

/* Why a replica got the request. */
enum story_reason {
    STORY_ROUTED,    /* the router's choice among the candidates */
    STORY_KEEPER,    /* it has the response that is asked for */
    STORY_RETRY,     /* an attempt before it failed, and the client had had nothing */
    STORY_CONTINUED, /* it goes on with an answer that broke off */
    STORY_HEDGE,     /* a copy: nothing had come in time */
    STORY_FALLBACK,  /* another model failed */
    STORY_REASON_COUNT
};

enum story_result {
    STORY_UNDER_WAY,
    STORY_ANSWERED,  /* whole */
    STORY_REFUSED,   /* an answer, but not a good one: status_code tells */
    STORY_LOST,      /* the replica or the connection to it went */
    STORY_TIMED_OUT, /* nothing came in time */
    STORY_CANCELLED, /* nobody wanted it any more: the client has gone, or another copy was first */
    STORY_NOT_SENT,  /* the gateway had no room */
    STORY_RESULT_COUNT
};

/* Why a candidate did not get the request, as far as it is known. */
enum story_pass {
    STORY_CHOSEN,
    STORY_OUTSCORED,     /* another one was better by the policy */
    STORY_NOT_READY,     /* it starts, drains, sleeps or has failed */
    STORY_JUST_FAILED,   /* an attempt of this request failed there */
    STORY_BREAKER_OPEN,  /* its circuit breaker, or a stalled engine */
    STORY_OTHER_VERSION, /* of the model's settings than this request goes to */
    STORY_PASS_COUNT
};

/* One exchange with a replica. */
struct story_attempt {
    const char *model;  /* lives as long as the process */
    uint32_t replica;   /* index in its model */
    const char *member; /* of the pool, that it is on; lives as long as the process; "": none */
    uint64_t uid;       /* of the replica that had the slot; 0: it is not ours */
    uint64_t start_ns, head_ns, end_ns; /* moments; end_ns 0: under way */
    uint8_t reason, result;             /* enum story_reason, story_result */
    bool is_remote, is_upstream;        /* on another machine; a server that is not ours */
    int32_t status_code;                /* of its answer; 0: none */
    char span_id[17];                   /* "": none was made */
};

/* What the router was told of a replica, and what it made of it. */
struct story_candidate {
    uint32_t replica;          /* index in the model */
    uint8_t pass;              /* enum story_pass */
    bool is_told;              /* the numbers from `score_ns` on are known */
    uint32_t outstanding;      /* requests that were sent there and have not ended */
    double score_ns;           /* when its first token should come; what predicted_ttft goes by */
    double queued_ns;          /* of it: the prompts before this one */
    double step_ns;            /* of it: the step that runs */
    double prefill_ns;         /* what a prompt's token takes there */
    uint32_t cached_tokens;    /* of this prompt, in its cache */
    uint32_t waiting, running; /* requests in its queue and its batch */
};

/* Where it stood in its model's waiting room. */
struct story_place {
    uint64_t at_ns; /* a moment */
    uint32_t ahead; /* requests before it */
    int64_t eta_ms; /* until its slot, as reckoned then; -1: not known */
};

struct request_story {
    uint64_t number;        /* of the story in its loop; with `loop` its name within the process */
    uint32_t loop;          /* index of its loop */
    uint64_t start_ns;      /* monotonic */
    uint64_t start_wall_ns; /* since 1970 */
    uint64_t moments_ns[STORY_MOMENT_COUNT];

    char request_id[STORY_TEXT_BYTES];
    /* W3C Trace Context: lower case hexadecimal; "": none */
    char trace_id[33], span_id[17], parent_span_id[17];
    uint8_t trace_flags;
    bool has_remote_parent; /* the ids were given by the client */

    const char *route; /* lives as long as the process */
    const char *model; /* the one that it went to last; as long as the process; "": none yet */
    char method[16];
    char asked_model[STORY_TEXT_BYTES]; /* what the client called it */
    char key_name[STORY_TEXT_BYTES], organisation[STORY_TEXT_BYTES], team[STORY_TEXT_BYTES];
    bool is_stream, is_over; /* is_over: it has ended */

    int32_t status_code;               /* 0: it has not ended; 499: the client went first */
    char error_code[STORY_CODE_BYTES]; /* "": none */
    const char *finish;                /* static; "": not known */
    int32_t band;                      /* its priority in the waiting room */
    uint32_t retries, hedges, continuations, fallbacks;

    uint32_t attempt_count; /* also those beyond STORY_ATTEMPTS_MAX, which are not kept */
    struct story_attempt attempts[STORY_ATTEMPTS_MAX];

    /* The last decision of the router */
    const char *policy;        /* static; "": there was none */
    uint64_t decided_ns;       /* a moment */
    uint32_t decision_attempt; /* index of the attempt that it was for */
    uint32_t prompt_tokens_guess;
    uint32_t
        candidate_total; /* also those beyond STORY_CANDIDATES_MAX, which are not kept; the chosen one is */
    uint32_t candidate_count;
    struct story_candidate candidates[STORY_CANDIDATES_MAX];

    /* Samples at times that lie further and further apart */
    uint32_t place_count;
    struct story_place places[STORY_PLACES_MAX];

    bool usage_is_known, usage_is_estimated;
    uint32_t prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens;
    uint64_t busy_ns; /* its shares of the steps that replicas have computed it in */
    uint64_t
        cost_nano; /* thousand-millionths of the unit of the prices; STORY_NO_COST: none is set */
    uint64_t bytes_in, bytes_out;
};

/* Notes a moment that is now; the first time counts, but for STORY_LAST_TOKEN. Accepts a story that is NULL. */
void request_story_note(struct request_story *story, enum story_moment moment, uint64_t now_ns);
/* now_ns as a moment of the story. */
uint64_t request_story_moment(const struct request_story *story, uint64_t now_ns);

/* Opens a new attempt at now_ns and returns it; where there is no room for it, NULL. */
struct story_attempt *request_story_attempt(struct request_story *story, uint64_t now_ns);

/* A sample of its place is due: at once, then after 100 ms, 200 ms, 400 ms and so on; UINT64_MAX: no more is kept. Monotonic. */
uint64_t request_story_place_due_ns(const struct request_story *story);
void request_story_place(struct request_story *story, uint32_t ahead, int64_t eta_ms,
                         uint64_t now_ns);

/* Static words in lower case with underscores; never NULL. */
const char *story_moment_name(enum story_moment moment);
const char *story_reason_name(enum story_reason reason);
const char *story_result_name(enum story_result result);
const char *story_pass_name(enum story_pass pass);

/* --- who is told of stories that have ended --- */

#define STORY_SINKS_MAX 4u

struct story_sinks {
    uint32_t count;
    struct {
        void (*tell)(void *context, const struct request_story *story);
        void *context;
    } items[STORY_SINKS_MAX];
};

/* `tell` is called on the thread of the request's loop: it copies what it wants and never blocks. Before the loops serve. */
void story_sinks_add(struct story_sinks *sinks,
                     void (*tell)(void *context, const struct request_story *story), void *context);
/* The request has ended, and nothing of the story changes any more. Its loop's thread. */
void request_story_ended(const struct story_sinks *sinks, const struct request_story *story);

#endif
