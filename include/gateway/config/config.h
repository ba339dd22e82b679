#ifndef PENSTOCK_GATEWAY_CONFIG_H
#define PENSTOCK_GATEWAY_CONFIG_H

#include "arena.h"
#include "http_server.h"
#include "observability_settings.h"
#include "pool_settings.h"
#include "rollout_settings.h"
#include "settings.h"

/* The serving config: plain structs that the settings table (gateway/config/config_table.c) fills from YAML. Immutable once
 * loaded; a reload loads a new one and swaps. Keys use words that vLLM and LiteLLM operators know. */

struct config_server {
    const char *listen;       /* "127.0.0.1:8080" */
    const char *admin_listen; /* metrics, admin; "127.0.0.1:8081"; "" : none */
    int64_t loops;
    const char *tls_certificate, *tls_key; /* "" : none */
    const char *tls_client_ca;             /* "": clients show no certificates */
    bool tls_client_required;
    const char *run_directory; /* sockets of replicas; "" : a private one under /run/user or /tmp */
    uint64_t drain_delay_ns, drain_idle_timeout_ns, drain_timeout_ns, upgrade_timeout_ns;
    bool strict_params; /* unknown or unsupported request fields are 400 instead of a header */
};

struct config_log {
    int level; /* enum log_level */
    bool json;
};

struct config_limits { /* http_limits plus what the API layer checks */
    uint64_t body_bytes, buffered_bytes, upload_bytes_per_address, header_bytes,
        upload_bytes_per_second;
    int64_t headers, connections, connections_per_address, accepts_per_second, streams_per_second,
        stream_burst;
    uint64_t header_timeout_ns, body_timeout_ns, idle_timeout_ns, write_timeout_ns, keepalive_ns,
        response_buffer_bytes, receive_buffer_bytes;
    int64_t json_depth, json_values, messages, stops, stop_bytes, n, prompt_logprobs, logit_bias,
        pooling_inputs;
    uint64_t prompt_bytes;
};

struct config_responses { /* answers that a replica keeps for clients to continue */
    uint64_t memory_bytes, ttl_ns;
    int64_t count; /* 0: none are kept */
};

struct config_upstream { /* the gateway's patience with replicas */
    uint64_t connect_timeout_ns, first_byte_timeout_ns, idle_timeout_ns;
    uint64_t ready_timeout_ns; /* how long a request waits for a replica to become ready */
    int64_t retries;           /* of a request that has produced nothing */
    double retry_budget;       /* of all requests */
    int64_t retry_burst;
    int64_t breaker_failures; /* in a row; 0: breakers never open */
    double breaker_share;
    uint64_t breaker_open_ns, breaker_open_max_ns;
    uint64_t quarantine_ns;      /* 0: none */
    int64_t continuation_tokens; /* kept of a stream; 0: it does not go on elsewhere */
};

struct config_admission { /* the waiting room of each model */
    int64_t requests, tokens, queue_ahead;
    uint64_t timeout_ns, report_interval_ns;
    double prompt_weight, output_weight, reserve;
};

struct config_key {
    const char *name;
    const char *sha256;                 /* 64 hex digits of SHA-256 of the key */
    const char *organisation, *team;    /* "": none */
    struct setting_list scopes, models; /* const char *; empty: the usual ones, all */
    int64_t weight, priority_max;
    uint64_t ttft_slo_ns; /* 0: none */
};

struct config_issuer { /* of tokens */
    const char *issuer, *audience, *jwks;
    struct setting_list algorithms; /* const char * */
    uint64_t leeway_ns, refresh_ns;
    const char *name_claim, *organisation_claim, *team_claim, *scopes_claim; /* "": not taken */
    struct setting_list scopes,
        models; /* const char *; of tokens that name none; "": as for keys */
};

struct config_auth {
    struct setting_list jwt;  /* struct config_issuer */
    struct setting_list keys; /* struct config_key; empty: see config_asks_for_keys */
    bool admin;               /* the admin listener asks for one too */
};

enum quota_per { QUOTA_PER_ALL, QUOTA_PER_ORGANISATION, QUOTA_PER_TEAM, QUOTA_PER_KEY };

struct config_limit {
    int per;                                       /* enum quota_per: who shares it */
    const char *organisation, *team, *key, *model; /* patterns of what it is for; "": all */
    int64_t requests_per_minute, tokens_per_minute, tokens_per_day,
        concurrent_requests; /* 0: none */
    double kv_share;         /* 0: no limit */
};

struct config_group { /* an organisation, or a team of it */
    const char *organisation, *team;
    int64_t weight;
};

enum budget_period { BUDGET_DAY, BUDGET_MONTH };

struct config_budget {
    int per, period;                       /* enum quota_per, budget_period */
    const char *organisation, *team, *key; /* patterns; "": all */
    double amount;
};

struct config_price {                   /* of a million tokens, or of an hour of a slice */
    double input, cached_input, output; /* cached_input below 0: as input */
    double slice_hour;                  /* 0: tokens have prices */
    double idle_factor_max;             /* 1: idle time is paid by nobody */
};

struct config_tenants {
    struct setting_list budgets; /* struct config_budget */
    struct setting_list groups;  /* struct config_group */
    struct setting_list limits;  /* struct config_limit */
    int64_t expected_output_tokens;
};

struct config_state { /* what outlives the process, or is shared with other gateways */
    const char *
        database; /* SQLite file; with neither this nor postgres nothing is kept, and there are no stored keys */
    const char *postgres, *postgres_password_file, *postgres_password_env;
    const char *spool; /* folder for what PostgreSQL has not taken yet; "": it waits in memory */
    const char *redis, *redis_password_file, *redis_password_env;
    double share;      /* of a budget or limit, by which each gateway may go too far */
    uint64_t lease_ns; /* how long what a gateway holds outlives it */
};

enum ledger_full { LEDGER_FULL_CONTINUE, LEDGER_FULL_REFUSE };

struct config_records { /* what is written down of requests, and of what is done to the gateway */
    const char *access_log; /* "off", "stdout" or an absolute path */
    const char *audit_log;  /* "": none */
    bool ledger;            /* where there is a state database */
    int ledger_full;        /* enum ledger_full */
    int64_t ledger_memory, queue;
    uint64_t interval_ns, keep_requests_ns, keep_hours_ns;
};

struct config_routing { /* which of a model's replicas a request goes to */
    int policy;         /* enum router_policy */
};

enum speculative_method { SPECULATIVE_NONE, SPECULATIVE_NGRAM };

struct config_grammar {
    uint64_t source_bytes, compile_timeout_ns, learn_time_ns, compile_memory, mask_memory,
        cache_bytes;
    int64_t states, depth;
};
struct config_speculative {
    int method; /* enum speculative_method */
    int64_t num_speculative_tokens, prompt_lookup_max, prompt_lookup_min;
};

struct config_adapter { /* LoRA */
    const char *name;   /* served name */
    const char *path;   /* folder, as PEFT writes it */
};

struct config_model_upstream { /* servers that are not ours */
    struct setting_list urls;  /* const char *, one a server; empty: the model is not there */
    const char *api_key_file, *api_key_env;
    const char *model; /* its name there; "": the same */
    const char *ca_file;
    uint64_t health_interval_ns;
};

struct config_version {
    const char *model;
    int64_t weight;
};

struct config_shadow {
    const char *model; /* "": none */
    double share;
};

struct config_hedge { /* copies of streaming requests that nobody answers */
    uint64_t after_ns;
    double quantile;           /* both 0: none are sent */
    int64_t priority_max;      /* of requests that get one */
    const char *organisations; /* patterns; "": all */
};

/* Where a request may go when its model fails: on which failures (bits of fallback_on). */
enum fallback_cause {
    FALLBACK_UNAVAILABLE = 1,
    FALLBACK_OVERLOADED = 2,
    FALLBACK_TIMEOUT = 4,
    FALLBACK_ERROR = 8,
    FALLBACK_CONTEXT = 16
};

/* One of three: weights that local replicas serve (path), a server elsewhere (upstream), or a name for a choice among
 * others (versions). */
struct config_model {
    const char *name; /* served name */
    const char *path; /* GGUF or folder; "": none */
    struct config_model_upstream upstream;
    struct setting_list versions;    /* struct config_version */
    struct setting_list fallbacks;   /* const char *: other models */
    struct setting_list fallback_on; /* const char *; see config_fallback_causes */
    struct config_shadow shadow;
    struct config_hedge hedge;
    uint64_t first_byte_timeout_ns, idle_timeout_ns; /* 0: as upstream.* say */
    struct setting_list aliases;                     /* const char * */
    int64_t replicas;                                /* autoscale.max 0: so many, always */
    struct config_autoscale autoscale;
    struct config_rollout rollout;
    struct config_placement placement;
    const char *backend;
    const char *weight_cache; /* "auto", "off" or a folder */
    int64_t threads;          /* 0: the cores divided among local replicas */
    int64_t tensor_parallel;  /* ranks of a replica */
    int64_t max_model_len, max_num_seqs, max_num_batched_tokens;
    uint64_t kv_cache_memory, kv_host_memory;
    const char *kv_cache_dtype;
    const char *tool_parser, *reasoning_parser; /* "auto", "none" or the name of a form */
    const char *pooling;                        /* "auto", "last" or "mean" */
    int64_t max_queued_requests, max_queued_tokens;
    struct config_price price;
    bool enable_prefix_caching;
    double prompt_cache_pin_max; /* share of the KV cache, 0 to 1 */
    bool trust_request_chat_template;
    uint64_t inter_token_target_ns;
    double inter_token_factor;
    struct setting_list adapters;     /* struct config_adapter */
    int64_t max_loras, max_lora_rank; /* see config_adapters_max */
    bool allow_runtime_lora_updating;
    struct config_speculative speculative;
};

struct config_supervise { /* restarting replicas */
    uint64_t backoff_first_ns, backoff_max_ns, start_timeout_ns, heartbeat_timeout_ns,
        stall_timeout_ns;
};

struct config {
    struct config_server server;
    struct config_log log;
    struct config_limits limits;
    struct config_grammar grammar;
    struct config_upstream upstream;
    struct config_routing routing;
    struct config_admission admission;
    struct config_auth auth;
    struct config_state state;
    struct config_tenants tenants;
    struct config_records records;
    struct config_observability observability;
    struct config_supervise supervise;
    struct config_pool pool;
    struct config_responses responses;
    struct setting_list models;  /* struct config_model */
    arena *memory;               /* owns all of the above's texts and lists */
    settings_document *document; /* where each value stood; in `memory` */
    const char *file;
    struct text_slice
        text; /* the YAML as it was read: what a replica is given, whatever the file says by then */
};

/* An adapter that a client has loaded into a model. */
struct config_runtime_adapter {
    const char *model, *name, *path;
};

/* A model whose replicas have other settings than the text says: those that a rollout changes (RELOAD_ROLLOUT) are read from `file`, as
 * though it stood in the same place. */
struct config_version_text {
    const char *model, *file;
};

/* What the command line and clients say on top of the file; a reload applies it again. Borrowed during the load. */
struct config_overrides {
    const char *text_file;  /* read the YAML here, as though it stood in `file`; NULL: in `file` */
    const char *model_path; /* for `model_name`, or for the only model; NULL: none */
    const char *model_name; /* NULL: the only model */
    int32_t port, admin_port; /* -1: as in the file */
    /* [adapter_count] beside those of the file */
    const struct config_runtime_adapter *adapters;
    uint32_t adapter_count;
    bool
        is_elsewhere; /* it was written for another machine: the files that it names need not be here */
    const struct config_version_text *versions; /* [version_count] */
    uint32_t version_count;
};
#define CONFIG_OVERRIDES_NONE                                                                      \
    ((struct config_overrides){NULL, NULL, NULL, -1, -1, NULL, 0, false, NULL, 0})

extern const struct setting config_table[];
extern const struct setting config_model_table[]; /* of a struct config_model */

/* Reads and checks (also across keys: names unique, model files there, TLS pair complete). `overrides` may be NULL.
 * On STATUS_INVALID the report has every mistake with line, column and remedy; on STATUS_IO it says why the file could
 * not be read. Thread: any; the config belongs to the caller. */
NODISCARD status config_load(const char *file, const struct config_overrides *overrides,
                             struct config **out, struct settings_report *report);
void config_destroy(struct config *config); /* accepts NULL */

/* The HTTP limits of a config. */
struct http_limits config_http_limits(const struct config *config);

static inline const struct config_model *config_model_at(const struct config *config,
                                                         uint32_t index)
{
    return &((const struct config_model *)config->models.items)[index];
}

/* Whether callers must show who they are: static keys, or a place where others are kept. */
bool config_asks_for_keys(const struct config *config);

/* Whether there is a database for keys, spent money and the ledger. */
static inline bool config_keeps_state(const struct config_state *state)
{
    return state->database[0] != '\0' || state->postgres[0] != '\0';
}

static inline bool config_model_is_local(const struct config_model *row)
{
    return row->upstream.urls.count == 0 && row->versions.count == 0;
}
/* The most replicas of it that there should be; 0: it is served elsewhere. */
static inline int64_t config_model_replicas(const struct config_model *row)
{
    if (!config_model_is_local(row))
        return 0;
    return row->autoscale.max > 0 ? row->autoscale.max : row->replicas;
}
/* Beside these some more, while they are replaced: moved off a slice that goes, or by another version. */
static inline int64_t config_model_slots(const struct config_model *row)
{
    int64_t replicas = config_model_replicas(row);

    return replicas == 0 ? 0 : replicas + 1 + replicas / 4;
}

/* 0: monday; -1: no day. */
int config_weekday(const char *text);
/* "08:30" in minutes of the day; false: it is none. */
bool config_minute(const char *text, uint32_t *out);

/* Bits of enum fallback_cause; without a word in the list all but context_length. Words that are none give 0. */
uint32_t config_fallback_causes(const struct setting_list *words);

/* Whether replicas may run on this machine: else the paths of models and adapters are those of other ones. */
bool config_weights_are_here(const struct config *config);

/* Local replicas of all models: so many share the cores and the memory. */
uint32_t config_replica_count(const struct config *config);

/* The index of the model of this name or alias, or that has an adapter of this name; -1 when there is none. */
int32_t config_model_find(const struct config *config, struct text_slice name);

/* The model's adapter of this name; NULL: there is none. */
const struct config_adapter *config_adapter_find(const struct config_model *model,
                                                 struct text_slice name);
/* Adapters that a replica of the model can hold; 0: it takes none. */
uint32_t config_adapters_max(const struct config_model *model);

/* Appends the values that are in force as one JSON object, keyed as in the file. Secrets (hashes of keys) are left out. */
void config_write_json(const struct config *config, struct buffer *out);

#endif
