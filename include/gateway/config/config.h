#ifndef PENSTOCK_GATEWAY_CONFIG_H
#define PENSTOCK_GATEWAY_CONFIG_H

#include "arena.h"
#include "http_server.h"
#include "settings.h"

/* The serving config: plain structs that the settings table (gateway/config/config_table.c) fills from YAML. Immutable once
 * loaded; a reload loads a new one and swaps. Keys use words that vLLM and LiteLLM operators know. */

struct config_server {
    const char *listen;              /* "127.0.0.1:8080" */
    const char *admin_listen;        /* metrics, admin; "127.0.0.1:8081"; "" : none */
    int64_t loops;
    const char *tls_certificate, *tls_key; /* "" : none */
    const char *run_directory;       /* sockets of replicas; "" : a private one under /run/user or /tmp */
    uint64_t drain_timeout_ns;
    bool strict_params;              /* unknown or unsupported request fields are 400 instead of a header */
};

struct config_log {
    int level;                       /* enum log_level */
    bool json;
};

struct config_limits {               /* http_limits plus what the API layer checks */
    uint64_t body_bytes, buffered_bytes, header_bytes;
    int64_t headers, connections, connections_per_address, streams_per_second, stream_burst;
    uint64_t header_timeout_ns, body_timeout_ns, idle_timeout_ns, write_timeout_ns, keepalive_ns, response_buffer_bytes;
    int64_t json_depth, json_values, messages, stops, stop_bytes, n, logit_bias;
    uint64_t prompt_bytes;
};

struct config_upstream {             /* the gateway's patience with replicas */
    uint64_t connect_timeout_ns, first_byte_timeout_ns, idle_timeout_ns;
    int64_t retries;                 /* of a request that has produced nothing */
};

struct config_key {
    const char *name;
    const char *sha256;              /* 64 hex digits of SHA-256 of the key */
};

struct config_auth {
    struct setting_list keys;        /* struct config_key; empty: no authentication */
};

struct config_model {
    const char *name;                /* served name */
    const char *path;                /* GGUF */
    struct setting_list aliases;     /* const char * */
    int64_t replicas;
    const char *backend;
    int64_t threads;                 /* 0: the cores divided among local replicas */
    int64_t max_model_len, max_num_seqs, max_num_batched_tokens;
    uint64_t kv_cache_memory;
    int64_t max_queued_requests, max_queued_tokens;
    bool enable_prefix_caching, deterministic;
    uint64_t step_target_ns;
};

struct config_supervise {            /* restarting replicas */
    uint64_t backoff_first_ns, backoff_max_ns, start_timeout_ns, heartbeat_timeout_ns;
};

struct config {
    struct config_server server;
    struct config_log log;
    struct config_limits limits;
    struct config_upstream upstream;
    struct config_auth auth;
    struct config_supervise supervise;
    struct setting_list models;      /* struct config_model */
    arena *memory;                   /* owns all of the above's texts and lists */
    const char *file;
};

extern const struct setting config_table[];

/* Reads and checks (also across keys: names unique, model files there, TLS pair complete). On STATUS_INVALID the report
 * has every mistake with line, column and remedy. */
NODISCARD status config_load(const char *file, struct config **out, struct settings_report *report);
void config_destroy(struct config *config);

/* The HTTP limits of a config. */
struct http_limits config_http_limits(const struct config *config);

#endif
