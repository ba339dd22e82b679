/* What the router is told
 *
 * Of a local replica: its shared page, which is no older than its last step. Of the prompts that were sent to it and not yet
 * read, what this gateway knows by itself: read_until_ns is when they should be read at the pace that the replica has measured, and
 * each request that is sent moves it on. So two requests that come in one moment see each other, and no answer is waited
 * for. Without requests under way it does not count: whatever was reckoned is over.
 *
 * Of a server elsewhere: how many requests others have there, from its metrics; how long a prompt's token takes, from the first
 * events of what it was sent while no other prompt of ours was being read; and the beginnings it was sent stand for its cache. */
#include "replica_choice.h"

#include "check.h"
#include "clock.h"
#include "hash.h"
#include "request_stories.h"
#include "upstream.h"

/* English text in JSON; until a replica has measured its own. */
#define BYTES_PER_TOKEN_GUESS 4.0f
/* Chunks of a prompt that is no session's which consistent_hash goes by: a long system prompt's. */
#define HASHED_CHUNKS_MAX 16u
/* A first event tells of a server's pace when its prompt had so much to read: below, it tells of the way there. */
#define PACE_TOKENS_MIN 64u
#define PACE_WEIGHT     0.2f
/* What shares of requests are counted in. */
#define VERSION_WEIGHTS 1000000u

/* --- the request --- */

/* Equal keys of equal tenants. The key is no secret: whoever makes groups collide only fills a replica
 * up to ROUTER_NEAR_SLACK. */
static uint64_t group_of(struct text_slice text, const char *tenant)
{
    static const struct hash_key key = {0x70726f6d70742063ull, 0x61636865206b6579ull};
    uint64_t group = hash64(&key, text.data, text.bytes);

    return tenant != NULL ? group ^ hash64(&key, tenant, strlen(tenant)) : group;
}

bool replica_choice_session(const struct edge_record *record, const struct route_target *target,
                            uint64_t *number)
{
    const struct text_slice sources[] = {http_request_header(record->request, "x-session-id"),
                                         target->prompt_cache_key, target->user};

    for (size_t i = 0; i < ARRAY_COUNT(sources); i++) {
        if (sources[i].bytes == 0)
            continue;
        *number = group_of(sources[i], record->caller->tenant);
        return true;
    }
    return false;
}

void replica_choice_learn(struct replica_choice *choice, const struct edge_record *record,
                          const struct route_target *target, struct text_slice name,
                          enum router_policy policy)
{
    struct text_slice tenant = text_slice_of(record->caller->tenant);
    bool needs_names;

    choice->policy = policy;
    choice->has_group = replica_choice_session(record, target, &choice->group);
    needs_names =
        policy == ROUTER_PREDICTED_TTFT || (policy == ROUTER_CONSISTENT_HASH && !choice->has_group);
    choice->text_bytes = prompt_text_bytes(&target->prompt);
    choice->name_count = prompt_chunk_count(&target->prompt);
    if (!needs_names || choice->name_count == 0 || edge_ready_count(choice->model) < 2) {
        choice->name_count = 0;
        return;
    }
    choice->names =
        http_request_allocate(record->request, choice->name_count * sizeof(choice->names[0]));
    prompt_chunks_name(&target->prompt,
                       prompt_chunks_root(prompt_chunks_tenant(tenant), name, target->cache_salt),
                       choice->names);
    if (policy != ROUTER_CONSISTENT_HASH || choice->has_group)
        return;
    choice->has_group = true;
    choice->group = choice->names[(choice->name_count < HASHED_CHUNKS_MAX ? choice->name_count
                                                                          : HASHED_CHUNKS_MAX) -
                                  1];
}

/* --- the replicas --- */

/* What the replicas of a model have measured, together: they run the same model on like slices, and what one measures of
 * itself is mostly noise. 0: not known. */
struct paces {
    float bytes_per_token;
    double prefill_ns_alone, prefill_ns_beside; /* of a prompt's token */
};

static double mean_of(double sum, uint32_t count)
{
    return count > 0 ? sum / count : 0;
}

/* What the replicas' pages say now, read once for all that is made of it. */
struct pages {
    bool is_read[REPLICA_CHOICE_MAX];
    struct shared_page_state states[REPLICA_CHOICE_MAX];
};

static void pages_read(const struct edge_model *model, struct pages *out)
{
    for (uint32_t i = 0; i < model->replica_count; i++) {
        const shared_page *page = model->replicas[i].page;

        out->is_read[i] = page != NULL && shared_page_read(page, &out->states[i]);
    }
}

static struct paces paces_of(const struct edge_model *model, const struct pages *pages)
{
    double bytes = 0, alone = 0, beside = 0;
    uint32_t byte_count = 0, alone_count = 0, beside_count = 0;
    struct paces paces;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        const shared_page *page = model->replicas[i].page;
        const struct shared_page_state *state = &pages->states[i];

        if (!pages->is_read[i])
            continue;
        bytes += (double)shared_page_bytes_per_token(page);
        byte_count += shared_page_bytes_per_token(page) > 0;
        alone += (double)state->prefill_ns_alone;
        alone_count += state->prefill_ns_alone > 0;
        beside += (double)state->prefill_ns_beside;
        beside_count += state->prefill_ns_beside > 0;
    }
    paces.bytes_per_token =
        byte_count > 0 ? (float)mean_of(bytes, byte_count) : BYTES_PER_TOKEN_GUESS;
    paces.prefill_ns_alone = mean_of(alone, alone_count);
    paces.prefill_ns_beside = mean_of(beside, beside_count);
    if (paces.prefill_ns_alone <= 0)
        paces.prefill_ns_alone = paces.prefill_ns_beside;
    if (paces.prefill_ns_beside <= 0)
        paces.prefill_ns_beside = paces.prefill_ns_alone;
    return paces;
}

static bool is_of_version(const struct replica_choice *choice, const struct edge_replica *replica)
{
    return choice->version == 0 ||
           choice->version == atomic_load_explicit(&replica->version, memory_order_relaxed);
}

static bool is_open(const struct replica_choice *choice, const struct edge_replica *replica,
                    uint64_t now_ns)
{
    bool has_just_failed = replica == choice->avoid && now_ns < choice->avoid_until_ns &&
                           atomic_load_explicit(&replica->generation, memory_order_relaxed) ==
                               choice->avoid_generation;

    return edge_replica_state(replica) == REPLICA_READY && !has_just_failed &&
           is_of_version(choice, replica) && replica_guard_is_open(&replica->guard, now_ns);
}

/* `state`: what the replica's page says; NULL: it has none. */
static void look_up(const struct replica_choice *choice, const struct edge_replica *replica,
                    const struct shared_page_state *state, const struct paces *paces,
                    uint64_t now_ns, struct router_candidate *out)
{
    uint64_t read_until_ns = atomic_load_explicit(&replica->read_until_ns, memory_order_relaxed);

    if (out->outstanding > 0 && read_until_ns > now_ns)
        out->queued_ns = (double)(read_until_ns - now_ns);
    if (state == NULL)
        return;
    out->prefill_ns = state->running > 0 ? paces->prefill_ns_beside : paces->prefill_ns_alone;
    out->step_ns = state->running > 0 ? (double)state->step_ms * 1e6 : 0;
    out->cached_tokens =
        (uint32_t)((float)(shared_page_match(replica->page, choice->names, choice->name_count) *
                           PROMPT_CHUNK_BYTES) /
                   paces->bytes_per_token);
}

/* As look_up, of a server elsewhere. The prompts of others that wait there are taken to be as long as this one. */
static void look_up_elsewhere(const struct replica_choice *choice,
                              const struct edge_replica *replica,
                              const struct router_request *request, uint64_t now_ns,
                              struct router_candidate *out)
{
    const struct edge_upstream *upstream = replica->upstream;
    uint64_t read_until_ns = atomic_load_explicit(&replica->read_until_ns, memory_order_relaxed);
    uint32_t chunks = prefix_memory_match(upstream->sent, choice->names, choice->name_count);

    out->prefill_ns = (double)atomic_load_explicit(&upstream->prefill_ns, memory_order_relaxed);
    if (out->outstanding > 0 && read_until_ns > now_ns)
        out->queued_ns = (double)(read_until_ns - now_ns);
    out->outstanding += atomic_load_explicit(&upstream->others, memory_order_relaxed);
    out->queued_ns += (double)atomic_load_explicit(&upstream->waiting, memory_order_relaxed) *
                      (double)request->prompt_tokens * out->prefill_ns;
    out->cached_tokens = (uint32_t)((float)(chunks * PROMPT_CHUNK_BYTES) / BYTES_PER_TOKEN_GUESS);
}

/* The prompt will be read there, after what is before it. Two loops at once: one of them is lost, and the next request's
 * guess is a little short. */
static void count_on(struct replica_choice *choice, struct edge_replica *replica,
                     const struct router_candidate *candidate, const struct router_request *request,
                     uint64_t now_ns)
{
    uint64_t ttft_ns = (uint64_t)router_predicted_ttft_ns(candidate, request, 0);

    choice->picked_ns = now_ns;
    choice->prompt_tokens = request->prompt_tokens;
    choice->matched_tokens = candidate->cached_tokens < request->prompt_tokens
                                 ? candidate->cached_tokens
                                 : request->prompt_tokens;
    choice->is_read_alone = candidate->queued_ns <= 0;
    choice->reading_tokens = request->prompt_tokens > candidate->cached_tokens
                                 ? request->prompt_tokens - candidate->cached_tokens
                                 : 0;
    atomic_store_explicit(&replica->read_until_ns, now_ns + ttft_ns, memory_order_relaxed);
    if (replica->upstream != NULL)
        prefix_memory_note(replica->upstream->sent, choice->names, choice->name_count);
}

void replica_choice_first_event(const struct replica_choice *choice, struct edge_replica *replica,
                                uint64_t now_ns)
{
    _Atomic float *pace = replica->upstream != NULL ? &replica->upstream->prefill_ns : NULL;
    float before, measured;

    if (pace == NULL || !choice->is_read_alone || choice->reading_tokens < PACE_TOKENS_MIN)
        return;
    before = atomic_load_explicit(pace, memory_order_relaxed);
    measured = (float)(now_ns - choice->picked_ns) / (float)choice->reading_tokens;
    atomic_store_explicit(pace, before > 0 ? before + PACE_WEIGHT * (measured - before) : measured,
                          memory_order_relaxed);
}

void replica_choice_look(const struct replica_choice *choice, uint64_t now_ns,
                         struct router_candidate *out, struct router_request *request)
{
    const struct edge_model *model = choice->model;
    struct paces paces;
    struct pages pages;

    CHECK(model->replica_count <= REPLICA_CHOICE_MAX);
    pages_read(model, &pages);
    paces = paces_of(model, &pages);
    *request = (struct router_request){
        .prompt_tokens = (uint32_t)((float)choice->text_bytes / paces.bytes_per_token),
        .has_group = choice->has_group,
        .group = choice->group,
    };
    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];

        out[i] = (struct router_candidate){
            .is_ready = is_open(choice, replica, now_ns),
            .outstanding = atomic_load_explicit(&replica->outstanding, memory_order_relaxed),
        };
        if (replica->upstream != NULL)
            look_up_elsewhere(choice, replica, request, now_ns, &out[i]);
        else if (out[i].is_ready && choice->policy == ROUTER_PREDICTED_TTFT)
            look_up(choice, replica, pages.is_read[i] ? &pages.states[i] : NULL, &paces, now_ns,
                    &out[i]);
    }
}

/* The router begins its turn at a candidate by this number: those that are ready take turns evenly, however many empty slots lie
 * between them. */
static uint32_t turn_among_ready(const struct router_candidate *candidates, uint32_t count,
                                 uint32_t turn)
{
    uint32_t ready = 0, place, index = 0;

    for (uint32_t i = 0; i < count; i++)
        ready += candidates[i].is_ready;
    if (ready == 0)
        return turn;
    for (place = turn % ready; !candidates[index].is_ready || place > 0; index++)
        place -= candidates[index].is_ready;
    return index + turn / ready * count;
}

/* While versions run side by side with a share for the new one: leaves the candidates of one of them, the same for a session's
 * requests, unless none of it is ready or all are full. */
static void version_choose(const struct replica_choice *choice, struct router_candidate *candidates,
                           const struct router_request *request)
{
    struct edge_model *model = choice->model;
    uint32_t fresh = atomic_load_explicit(&model->versions.fresh, memory_order_relaxed);
    double share = atomic_load_explicit(&model->versions.fresh_share, memory_order_relaxed);
    uint32_t weights[2];
    bool wants_fresh, has_room = false, is_of_it[REPLICA_CHOICE_MAX];

    if (share < 0 || choice->version != 0)
        return;
    weights[0] = (uint32_t)(share * VERSION_WEIGHTS);
    weights[1] = VERSION_WEIGHTS - weights[0];
    wants_fresh = router_pick_version(weights, ARRAY_COUNT(weights),
                                      choice->has_group ? choice->group : request->turn) == 0;
    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];
        uint32_t version = atomic_load_explicit(&replica->version, memory_order_relaxed);

        is_of_it[i] = (version == fresh) == wants_fresh;
        has_room |= is_of_it[i] && candidates[i].is_ready &&
                    candidates[i].outstanding <
                        atomic_load_explicit(&replica->sequences_max, memory_order_relaxed);
    }
    for (uint32_t i = 0; has_room && i < model->replica_count; i++)
        candidates[i].is_ready &= is_of_it[i];
}

static enum routing_reason reason_of(const struct replica_choice *choice,
                                     const struct router_candidate *candidates, uint32_t picked)
{
    uint32_t ready = 0, least = UINT32_MAX, most = 0;

    for (uint32_t i = 0; i < choice->model->replica_count; i++) {
        if (!candidates[i].is_ready)
            continue;
        ready++;
        least = candidates[i].cached_tokens < least ? candidates[i].cached_tokens : least;
        most = candidates[i].cached_tokens > most ? candidates[i].cached_tokens : most;
    }
    if (ready == 1)
        return ROUTING_ONLY_ONE;
    if (choice->policy == ROUTER_ROUND_ROBIN)
        return ROUTING_TURN;
    if (choice->policy == ROUTER_CONSISTENT_HASH)
        return ROUTING_HASH;
    return most > least && candidates[picked].cached_tokens == most ? ROUTING_CACHE : ROUTING_LOAD;
}

struct edge_replica *replica_choice_pick(struct replica_choice *choice, uint64_t now_ns)
{
    struct router_candidate candidates[REPLICA_CHOICE_MAX];
    struct edge_model *model = choice->model;
    struct router_request request;
    uint32_t picked;

    choice->reason = ROUTING_KEEPER;
    choice->prompt_tokens = choice->matched_tokens = 0;
    if (choice->keeper != NULL)
        return edge_replica_state(choice->keeper) == REPLICA_READY ? choice->keeper : NULL;
    replica_choice_look(choice, now_ns, candidates, &request);
    request.turn = atomic_fetch_add_explicit(&model->turn, 1, memory_order_relaxed);
    version_choose(choice, candidates, &request);
    request.turn = turn_among_ready(candidates, model->replica_count, request.turn);
    picked = router_choose(choice->policy, candidates, model->replica_count, &request);
    request_stories_decide(choice->story, choice, candidates, &request, picked, now_ns);
    if (picked == ROUTER_NONE)
        return NULL;
    choice->reason = reason_of(choice, candidates, picked);
    count_on(choice, &model->replicas[picked], &candidates[picked], &request, now_ns);
    return &model->replicas[picked];
}

void replica_choice_avoid(struct replica_choice *choice, const struct edge_replica *replica,
                          uint32_t generation, uint64_t now_ns)
{
    choice->avoid = replica;
    choice->avoid_generation = generation;
    choice->avoid_until_ns = now_ns + REPLICA_CHOICE_AVOID_NS;
}

bool replica_choice_has_hope(const struct replica_choice *choice)
{
    const struct edge_model *model = choice->model;

    /* None is wanted: the request itself has one started. */
    if (model->scales_from_zero && atomic_load_explicit(&model->wanted, memory_order_relaxed) == 0)
        return true;
    for (uint32_t i = 0; i < model->replica_count; i++) {
        enum replica_state state = edge_replica_state(&model->replicas[i]);

        if (!is_of_version(choice, &model->replicas[i]))
            continue;
        if (state != REPLICA_FAILED && state != REPLICA_STOPPED)
            return true;
    }
    return false;
}

/* Sooner nobody can tell, and what takes longer may have been mended by then. */
#define RETRY_MS_MIN 500u
#define RETRY_MS_MAX 60000u

uint64_t replica_choice_retry_ms(const struct replica_choice *choice, uint64_t now_ns)
{
    const struct edge_model *model = choice->model;
    uint64_t ms = RETRY_MS_MAX;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        uint64_t expected_ns =
            atomic_load_explicit(&model->replicas[i].expected_ns, memory_order_relaxed);
        uint64_t wait_ms = expected_ns > now_ns ? (expected_ns - now_ns) / NS_PER_MS + 1 : 0;

        ms = wait_ms < ms ? wait_ms : ms;
    }
    return ms > RETRY_MS_MIN ? ms : RETRY_MS_MIN;
}
