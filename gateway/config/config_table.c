/* The settings table: every key of the config file, once. The YAML reader, the range errors,
 * configs/reference.yaml, /admin/config and the reload rule all follow from these rows. A row's
 * `danger` says what goes wrong when it is set badly, because that is what an operator wants to
 * know at three in the morning. */
#include "config.h"
#include "config_observability_table.h"
#include "config_pool_table.h"
#include "config_rollout_table.h"
#include "log.h"
#include "setting_rows.h"

static const char *const log_level_words[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL};

static const char *const speculative_method_words[] = {
    [SPECULATIVE_NONE] = "none", [SPECULATIVE_NGRAM] = "ngram", NULL};

static const char *const budget_period_words[] = {
    [BUDGET_DAY] = "day", [BUDGET_MONTH] = "month", NULL};

static const char *const quota_per_words[] = {[QUOTA_PER_ALL] = "all",
                                              [QUOTA_PER_ORGANISATION] = "organisation",
                                              [QUOTA_PER_TEAM] = "team",
                                              [QUOTA_PER_KEY] = "key",
                                              NULL};

// clang-format off
static const struct setting server_table[] = {
    {TEXT("listen", config_server, listen, "127.0.0.1:8080"), .reload = RELOAD_RESTART,
     .help = "Address of the API: 127.0.0.1:8080, [::1]:8080 or unix:/path. HTTP/1.1 and HTTP/2 share the port.",
     .danger = "0.0.0.0 opens the API to the network: set auth.keys and TLS first."},
    {TEXT("admin_listen", config_server, admin_listen, "127.0.0.1:8081"), .reload = RELOAD_RESTART,
     .help = "Address of metrics, health and the admin API; \"\" for none.",
     .danger = "It has no keys of its own. Keep it on loopback or on a network that only operators reach."},
    {INT("loops", config_server, loops, "0", 0, 64), .reload = RELOAD_RESTART, .unit = "threads",
     .help = "Event loops, one thread each. 0 takes half of the cores, at least one and at most four.",
     .danger = "Loops beyond the idle cores take time from the replicas on the same machine."},
    {FILE_PATH("tls_certificate", config_server, tls_certificate, ""), .reload = RELOAD_RESTART,
     .help = "PEM file with the certificate chain. With it the API's port speaks TLS beside cleartext. The file is "
             "read again at each reload."},
    {FILE_PATH("tls_key", config_server, tls_key, ""), .reload = RELOAD_RESTART,
     .help = "PEM file with the certificate's private key."},
    {FILE_PATH("tls_client_ca", config_server, tls_client_ca, ""), .reload = RELOAD_RESTART,
     .help = "PEM file of authorities. Clients are asked for a certificate that one of them has signed; who shows one and no "
             "key is known by it: its first alternative name (URI, DNS, e-mail) or CN is the name, O the organisation, OU the "
             "team. Who shows neither is refused.",
     .danger = "Whomever these authorities sign for may use every model."},
    {BOOL("tls_client_required", config_server, tls_client_required, "false"), .reload = RELOAD_RESTART,
     .help = "Refuse TLS connections without such a certificate, also from those who have a key."},
    {FILE_PATH("run_directory", config_server, run_directory, ""), .reload = RELOAD_RESTART,
     .help = "Folder for the sockets of replicas. \"\" makes a private one under $XDG_RUNTIME_DIR or /tmp.",
     .danger = "Whoever may write there can put itself in a replica's place."},
    {DURATION("drain_delay", config_server, drain_delay_ns, "0s", 0, 600 * SEC), .reload = RELOAD_LIVE,
     .help = "After SIGTERM, /readyz says no for this long before the listeners close, so that load balancers stop sending first.",
     .danger = "Shorter than a balancer's health check interval, clients that it still sends find the port closed."},
    {DURATION("drain_idle_timeout", config_server, drain_idle_timeout_ns, "1s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "While draining, a kept connection without a request stays open this long: a request that comes on it is still "
             "answered, with connection: close.",
     .danger = "0 closes it under a client that is just sending."},
    {DURATION("drain_timeout", config_server, drain_timeout_ns, "30s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "After SIGTERM, running requests get this long to finish before they are cut.",
     .danger = "Shorter than the longest answer cuts streams; longer than the service manager's patience gets the "
               "process killed."},
    {DURATION("upgrade_timeout", config_server, upgrade_timeout_ns, "60s", SEC, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "After SIGUSR2, the new process gets this long to be ready; then it is ended and the running one goes on. Models whose "
             "settings have changed load within it.",
     .danger = "Shorter than a model takes to load, an upgrade that changes it never succeeds."},
    {BOOL("strict_params", config_server, strict_params, "false"), .reload = RELOAD_RESTART,
     .help = "Refuse request fields that are unknown or not supported with 400, instead of naming them in the "
             "x-ignored-params header."},
    {.key = NULL}};

static const struct setting log_table[] = {
    {.key = "level", .kind = SETTING_ENUM, .offset = offsetof(struct config_log, level), .fallback = "info",
     .words = log_level_words, .reload = RELOAD_LIVE, .help = "The least important lines that are written."},
    {BOOL("json", config_log, json, "false"), .reload = RELOAD_RESTART,
     .help = "Write each line as a JSON object."},
    {.key = NULL}};

static const struct setting limits_table[] = {
    {BYTES("body_size", config_limits, body_bytes, "8MiB", 1 * KIB, 1 * GIB), .reload = RELOAD_LIVE,
     .help = "Largest request body; beyond it the answer is 413."},
    {BYTES("body_memory", config_limits, buffered_bytes, "256MiB", 1 * MIB, 1024 * GIB), .reload = RELOAD_LIVE,
     .help = "All request bodies in memory together; beyond it the answer is 503.",
     .danger = "Bodies stay in memory until a replica has answered: this bounds what clients can make the gateway hold."},
    {BYTES("upload_memory_per_address", config_limits, upload_bytes_per_address, "8MiB", 64 * KIB, 1024 * GIB), .reload = RELOAD_LIVE,
     .help = "Bodies of one client address that are still coming, in memory together, but always room for one of body_size; beyond "
             "it the answer is 503, over HTTP/2 the connection ends.",
     .danger = "Behind a load balancer all clients share its address: set it as high as body_memory."},
    {BYTES("header_size", config_limits, header_bytes, "32KiB", 1 * KIB, 1 * MIB), .reload = RELOAD_LIVE,
     .help = "Largest head of a request, decoded."},
    {INT("header_count", config_limits, headers, "100", 8, 1000), .reload = RELOAD_LIVE, .unit = "headers",
     .help = "Most headers of a request."},
    {INT("connections", config_limits, connections, "10000", 1, 1000000), .reload = RELOAD_LIVE, .unit = "connections",
     .help = "Open client connections.", .danger = "The process needs as many file descriptors (ulimit -n)."},
    {INT("connections_per_address", config_limits, connections_per_address, "1000", 1, 1000000), .reload = RELOAD_LIVE,
     .unit = "connections", .help = "Open connections of one client address.",
     .danger = "Behind a load balancer all clients share its address: set it as high as connections."},
    {INT("accepts_per_second", config_limits, accepts_per_second, "1000", 0, 1000000), .reload = RELOAD_LIVE,
     .unit = "connections/s", .help = "New connections of one client address, a burst of as many; 0 for no limit."},
    {INT("streams_per_second", config_limits, streams_per_second, "33", 1, 1000000), .reload = RELOAD_LIVE,
     .unit = "streams/s", .help = "Per connection: the rate at which credit for unfinished requests comes back.",
     .danger = "Higher weakens the guard against HTTP/2 reset floods."},
    {INT("stream_burst", config_limits, stream_burst, "1000", 1, 1000000), .reload = RELOAD_LIVE, .unit = "streams",
     .help = "Per connection: unfinished requests at once before the guard closes it."},
    {DURATION("header_timeout", config_limits, header_timeout_ns, "10s", 100 * MS, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "From the first byte of a request to its whole head."},
    {DURATION("body_timeout", config_limits, body_timeout_ns, "60s", 100 * MS, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "For the whole body of a request."},
    {BYTES("upload_rate", config_limits, upload_bytes_per_second, "128", 0, 1 * GIB), .reload = RELOAD_LIVE,
     .help = "Bytes a second that a body must come in with on average, after ten seconds; 0 for no minimum."},
    {DURATION("idle_timeout", config_limits, idle_timeout_ns, "75s", 100 * MS, 86400 * SEC), .reload = RELOAD_LIVE,
     .help = "A connection without requests is closed after this time."},
    {DURATION("write_timeout", config_limits, write_timeout_ns, "30s", 100 * MS, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "A client that takes none of the bytes that wait for it is cut after this time."},
    {DURATION("keepalive", config_limits, keepalive_ns, "15s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "A comment is sent on an event stream that was silent for so long; 0s for never."},
    {BYTES("response_buffer", config_limits, response_buffer_bytes, "256KiB", 4 * KIB, 64 * MIB), .reload = RELOAD_LIVE,
     .help = "Unsent bytes of one stream before the gateway stops reading from the replica."},
    {BYTES("receive_buffer", config_limits, receive_buffer_bytes, "256KiB", 16 * KIB, 64 * MIB), .reload = RELOAD_RESTART,
     .help = "What the kernel takes in for one TCP connection before we read it: one turn of a loop reads up to this.",
     .danger = "Lower slows uploads over long distances; higher lets one client's flood take that much memory."},
    {INT("json_depth", config_limits, json_depth, "64", 4, 512), .reload = RELOAD_RESTART, .unit = "levels",
     .help = "Nesting of a JSON body."},
    {INT("json_values", config_limits, json_values, "100000", 100, 100000000), .reload = RELOAD_RESTART,
     .unit = "values", .help = "Values in a JSON body; token-id prompts count each token."},
    {INT("messages", config_limits, messages, "2048", 1, 1000000), .reload = RELOAD_RESTART, .unit = "messages",
     .help = "Messages of a chat request."},
    {INT("stops", config_limits, stops, "16", 0, 1024), .reload = RELOAD_RESTART, .unit = "strings",
     .help = "Stop strings of a request."},
    {INT("pooling_inputs", config_limits, pooling_inputs, "2048", 1, 1000000), .reload = RELOAD_RESTART, .unit = "texts",
     .help = "Texts of one request for embeddings or scores."},
    {BYTES("stop_size", config_limits, stop_bytes, "1KiB", 1, 64 * KIB), .reload = RELOAD_RESTART,
     .help = "Longest stop string."},
    {INT("n", config_limits, n, "16", 1, 128), .reload = RELOAD_RESTART, .unit = "choices",
     .help = "Choices that one request may ask for."},
    {INT("prompt_logprobs", config_limits, prompt_logprobs, "1000000", 0, 1e9), .reload = RELOAD_RESTART, .unit = "values",
     .help = "Log probabilities of prompt tokens that one request may ask for (echo with logprobs, prompt_logprobs): its prompt "
             "tokens times the alternatives and one.",
     .danger = "Each takes 8 bytes while the request runs and about 60 in its answer."},
    {INT("logit_bias", config_limits, logit_bias, "1024", 0, 1000000), .reload = RELOAD_RESTART, .unit = "tokens",
     .help = "Entries of a request's logit_bias."},
    {BYTES("prompt_size", config_limits, prompt_bytes, "4MiB", 1 * KIB, 1 * GIB), .reload = RELOAD_RESTART,
     .help = "Text of a prompt after the chat template, before tokens."},
    {.key = NULL}};

static const struct setting grammar_table[] = {
    {BYTES("source_size", config_grammar, source_bytes, "1MiB", 1 * KIB, 64 * MIB), .reload = RELOAD_RESTART,
     .help = "Longest schema, regex or grammar of a request."},
    {DURATION("compile_timeout", config_grammar, compile_timeout_ns, "1s", 1 * MS, 60 * SEC), .reload = RELOAD_RESTART,
     .help = "A schema or grammar that takes longer to compile is refused with 400.",
     .danger = "Compiling keeps one of the two workers busy that prepare requests."},
    {DURATION("learn_time", config_grammar, learn_time_ns, "20ms", 0, 10 * SEC), .reload = RELOAD_RESTART,
     .help = "Time after compiling a new grammar in which its token masks are made, so that no step of the batch makes them.",
     .danger = "What is left is made when it is first needed, which holds up a step by up to 1 ms a mask; more time "
               "holds up the first request of a schema."},
    {INT("states", config_grammar, states, "200000", 100, 10000000), .reload = RELOAD_RESTART, .unit = "states",
     .help = "Size of a compiled grammar; beyond it the answer is 400. A string takes about 13 for each character of its "
             "maxLength."},
    {BYTES("compile_memory", config_grammar, compile_memory, "128MiB", 1 * MIB, 16 * GIB), .reload = RELOAD_RESTART,
     .help = "Memory while a grammar is compiled, for each of the two workers; beyond it the answer is 400."},
    {BYTES("mask_memory", config_grammar, mask_memory, "4MiB", 64 * KIB, 1 * GIB), .reload = RELOAD_RESTART,
     .help = "Token masks that a compiled grammar keeps.",
     .danger = "With too little, masks are computed again for every token, which takes milliseconds."},
    {BYTES("cache_size", config_grammar, cache_bytes, "128MiB", 0, 64 * GIB), .reload = RELOAD_RESTART,
     .help = "Compiled grammars that are kept for later requests, with their masks; the least recently used go first."},
    {INT("depth", config_grammar, depth, "512", 16, 100000), .reload = RELOAD_RESTART, .unit = "levels",
     .help = "Nesting that an answer under a grammar may have; deeper is never written. A sequence takes 150 bytes a level."},
    {.key = NULL}};

static const struct setting upstream_table[] = {
    {DURATION("connect_timeout", config_upstream, connect_timeout_ns, "1s", 1 * MS, 60 * SEC), .reload = RELOAD_LIVE,
     .help = "For a connection to a replica."},
    {DURATION("first_byte_timeout", config_upstream, first_byte_timeout_ns, "10m", 100 * MS, 86400 * SEC),
     .reload = RELOAD_LIVE,
     .help = "From the request to the first byte of a replica's answer: queueing and prefill, and for an answer that is "
             "not streamed the whole generation."},
    {DURATION("idle_timeout", config_upstream, idle_timeout_ns, "2m", 100 * MS, 86400 * SEC), .reload = RELOAD_LIVE,
     .help = "Longest silence inside an answer."},
    {DURATION("ready_timeout", config_upstream, ready_timeout_ns, "30s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "How long a request waits for a replica that is starting or being restarted; then the answer is 503."},
    {INT("retries", config_upstream, retries, "2", 0, 10), .reload = RELOAD_LIVE, .unit = "attempts",
     .help = "How often a request is sent again when its replica fails.",
     .danger = "Each is one more replica that a request may be lost with; upstream.quarantine_time bounds that."},
    {FLOAT("retry_budget", config_upstream, retry_budget, "0.1", 0, 1), .reload = RELOAD_LIVE,
     .help = "How many requests may be sent again, as a share of all requests of the model.",
     .danger = "Higher multiplies the load on what is left when much fails."},
    {INT("retry_burst", config_upstream, retry_burst, "256", 0, 1000000), .reload = RELOAD_LIVE, .unit = "requests",
     .help = "How many retries are saved up, for a replica that dies with all its requests."},
    {INT("breaker_failures", config_upstream, breaker_failures, "5", 0, 1000), .reload = RELOAD_LIVE, .unit = "requests",
     .help = "Failures in a row after which a replica gets no requests for a while; 0 for never. Failures are connections "
             "lost, time-outs, and answers of 500, 502 and 504."},
    {FLOAT("breaker_share", config_upstream, breaker_share, "0.5", 0.01, 1), .reload = RELOAD_LIVE,
     .help = "The same when more than this share of at least 20 requests in 10 seconds has failed."},
    {DURATION("breaker_open", config_upstream, breaker_open_ns, "1s", 10 * MS, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "How long at first; then it is tried with one request at a time, and each failure doubles the time."},
    {DURATION("breaker_open_max", config_upstream, breaker_open_max_ns, "30s", 10 * MS, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "The longest such time."},
    {DURATION("quarantine_time", config_upstream, quarantine_ns, "10m", 0, 7 * 86400 * SEC), .reload = RELOAD_LIVE,
     .help = "A request that was under way on two replicas when they were lost is refused for so long, with 500; 0s for "
             "never."},
    {INT("continuation_tokens", config_upstream, continuation_tokens, "32768", 0, 16777216), .reload = RELOAD_LIVE,
     .unit = "tokens",
     .help = "A stream whose replica is lost goes on with another one, to the token: how many tokens of a stream are kept for "
             "that, at three bytes each. One that has had more ends with an error then; 0 for all of them.",
     .danger = "Each time counts as a retry, and reads the prompt and these tokens again."},
    {.key = NULL}};

/* In the order of enum router_policy. */
static const char *const routing_policy_words[] = {"predicted_ttft", "least_load", "round_robin", "consistent_hash", NULL};

static const struct setting routing_table[] = {
    {.key = "policy", .kind = SETTING_ENUM, .offset = offsetof(struct config_routing, policy), .fallback = "predicted_ttft",
     .words = routing_policy_words, .reload = RELOAD_LIVE,
     .help = "predicted_ttft: the replica whose first token should come first, from what its cache holds of the prompt, the "
             "prompts before it and its measured speed; none gets much more than its share for its cache's sake. least_load: "
             "the fewest requests. round_robin: one after the other. consistent_hash: by the session (x-session-id, "
             "prompt_cache_key, user), else by the prompt's beginning, none much more than its share."},
    {.key = NULL}};

static const struct setting admission_table[] = {
    {INT("requests", config_admission, requests, "4096", 1, 1000000), .reload = RELOAD_LIVE, .unit = "requests",
     .help = "Requests that may wait in the gateway for a model. Beyond it whoever waits with the most loses its last "
             "request, with 429."},
    {INT("tokens", config_admission, tokens, "16777216", 16, 1000000000000), .reload = RELOAD_LIVE, .unit = "tokens",
     .help = "Prompt tokens of the waiting requests of a model together, as the gateway estimates them."},
    {DURATION("timeout", config_admission, timeout_ns, "10m", 100 * MS, 86400 * SEC), .reload = RELOAD_LIVE,
     .help = "Longest wait in the gateway; then the answer is 429."},
    {INT("queue_ahead", config_admission, queue_ahead, "2", 0, 4096), .reload = RELOAD_LIVE, .unit = "requests",
     .help = "Requests that a replica is given beyond those that it runs (max_num_seqs), so that one is at hand when "
             "another ends.",
     .danger = "What a replica has been given can no longer be overtaken: higher weakens priorities and fairness."},
    {FLOAT("reserve", config_admission, reserve, "0.125", 0, 0.5), .reload = RELOAD_LIVE,
     .help = "Share of the sequences that are computed together (max_num_seqs) that is kept for keys with nothing running, "
             "while more than one key sends requests: a flood then leaves places that others get at once.",
     .danger = "So much of the batch stays empty while only some keys have a backlog."},
    {FLOAT("prompt_weight", config_admission, prompt_weight, "1", 0, 1000), .reload = RELOAD_LIVE,
     .help = "What a prompt token that was not cached counts in the fair shares of tenants."},
    {FLOAT("output_weight", config_admission, output_weight, "2", 0, 1000), .reload = RELOAD_LIVE,
     .help = "What a generated token counts in them."},
    {DURATION("report_interval", config_admission, report_interval_ns, "2s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "A streaming request that waits longer is told its place, as a comment in its event stream, and so on "
             "in this interval; 0s for never.",
     .danger = "With the first comment the status 200 is sent: what is wrong with such a request is told by an error "
               "event."},
    {.key = NULL}};

static const struct setting key_table[] = {
    {TEXT("name", config_key, name, NULL), .reload = RELOAD_LIVE,
     .help = "Who the key belongs to: the tenant in metrics, logs and the prefix cache's salt."},
    {TEXT("sha256", config_key, sha256, NULL), .reload = RELOAD_LIVE,
     .help = "SHA-256 of the key in 64 hex digits; `penstock hash-key` prints it. The key itself is never stored.",
     .danger = "Hash only long random keys: a guessable one can be found from its hash."},
    {TEXT("organisation", config_key, organisation, ""), .reload = RELOAD_LIVE,
     .help = "Who pays for it: limits, budgets and fairness are shared by the keys of an organisation."},
    {TEXT("team", config_key, team, ""), .reload = RELOAD_LIVE, .help = "A part of the organisation, with shares of its own."},
    {.key = "scopes", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_key, scopes), .min = 0, .max = 8,
     .reload = RELOAD_LIVE,
     .help = "What the key opens: inference (text), embeddings (embeddings, rerank, score), admin (the admin listener, where "
             "auth.admin asks for it). Without any: inference and embeddings."},
    {.key = "models", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_key, models), .min = 0, .max = 64,
     .reload = RELOAD_LIVE, .help = "The models that it may use, as names or shell patterns (llama-*). Without any: all."},
    {INT("weight", config_key, weight, "100", 1, 10000), .reload = RELOAD_LIVE,
     .help = "Its share beside the other keys of its team when requests wait."},
    {INT("priority_max", config_key, priority_max, "0", -2147483648.0, 2147483647), .reload = RELOAD_LIVE,
     .help = "The most urgent priority that its requests may ask for; a lower number is served first."},
    {DURATION("ttft_slo", config_key, ttft_slo_ns, "0s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "Its requests are refused at once when the first token is expected later than this; 0s for no such limit."},
    {.key = NULL}};

static const struct setting issuer_table[] = {
    {TEXT("issuer", config_issuer, issuer, NULL), .reload = RELOAD_RESTART, .help = "What the token's iss must be."},
    {TEXT("audience", config_issuer, audience, NULL), .reload = RELOAD_RESTART,
     .help = "What its aud must be or contain: so that tokens for other services are no good here."},
    {TEXT("jwks", config_issuer, jwks, NULL), .reload = RELOAD_RESTART,
     .help = "The issuer's public keys, a JSON Web Key Set: an https URL or the absolute path of a file.",
     .danger = "With http whoever stands between can give his own keys."},
    {.key = "algorithms", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_issuer, algorithms), .min = 1, .max = 3,
     .fallback = "[RS256, ES256, EdDSA]", .reload = RELOAD_RESTART,
     .help = "The signatures that are accepted. A token's own word for it counts only if it is one of them."},
    {DURATION("leeway", config_issuer, leeway_ns, "30s", 0, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "How far the clocks may differ when exp and nbf are looked at."},
    {DURATION("refresh", config_issuer, refresh_ns, "5m", 1 * SEC, 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "How often the keys are read again; also two seconds after a token has named a key that is not there.",
     .danger = "A key that the issuer has withdrawn is good for as long."},
    {TEXT("name_claim", config_issuer, name_claim, "sub"), .reload = RELOAD_RESTART,
     .help = "The claim that says who it is; a token without it is refused."},
    {TEXT("organisation_claim", config_issuer, organisation_claim, ""), .reload = RELOAD_RESTART,
     .help = "The claim that says the organisation; \"\": none has one."},
    {TEXT("team_claim", config_issuer, team_claim, ""), .reload = RELOAD_RESTART, .help = "The same for the team."},
    {TEXT("scopes_claim", config_issuer, scopes_claim, ""), .reload = RELOAD_RESTART,
     .help = "The claim with the scopes, a text with blanks between or a list; names that are none of ours are passed over. "
             "\"\": all have those below."},
    {.key = "scopes", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_issuer, scopes), .min = 0, .max = 8,
     .reload = RELOAD_RESTART, .help = "The scopes of a token without the claim, as those of a key."},
    {.key = "models", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_issuer, models), .min = 0, .max = 64,
     .reload = RELOAD_RESTART, .help = "The models that its tokens may use, as those of a key."},
    {.key = NULL}};

static const struct setting auth_table[] = {
    {.key = "jwt", .kind = SETTING_LIST, .offset = offsetof(struct config_auth, jwt), .table = issuer_table,
     .item_bytes = sizeof(struct config_issuer), .min = 0, .max = 16, .reload = RELOAD_RESTART,
     .help = "Issuers whose JSON Web Tokens are accepted in the place of keys."},
    {.key = "keys", .kind = SETTING_LIST, .offset = offsetof(struct config_auth, keys), .table = key_table,
     .item_bytes = sizeof(struct config_key), .min = 0, .max = 3000, .reload = RELOAD_LIVE,
     .help = "API keys, given by clients as 'Authorization: Bearer KEY' or 'x-api-key: KEY'. Without any the API is open.",
     .danger = "An open API on a reachable address serves everybody."},
    {BOOL("admin", config_auth, admin, "false"), .reload = RELOAD_LIVE,
     .help = "Ask on the admin listener for a key with the scope admin; health and metrics stay open."},
    {.key = NULL}};

static const struct setting group_table[] = {
    {TEXT("organisation", config_group, organisation, NULL), .reload = RELOAD_LIVE, .help = "Its name, as the keys say it."},
    {TEXT("team", config_group, team, ""), .reload = RELOAD_LIVE, .help = "A team of it; \"\" for the organisation itself."},
    {INT("weight", config_group, weight, "100", 1, 10000), .reload = RELOAD_LIVE,
     .help = "Its share beside the other organisations, or the other teams, when requests wait."},
    {.key = NULL}};

static const struct setting limit_table[] = {
    {.key = "per", .kind = SETTING_ENUM, .offset = offsetof(struct config_limit, per), .fallback = "key",
     .words = quota_per_words, .reload = RELOAD_LIVE,
     .help = "Who shares it: each key, each team or each organisation has the whole of it for itself; all divide it."},
    {TEXT("organisation", config_limit, organisation, ""), .reload = RELOAD_LIVE,
     .help = "Whom it is for: names or shell patterns, blanks between. \"\" for everybody."},
    {TEXT("team", config_limit, team, ""), .reload = RELOAD_LIVE, .help = "The same for the team."},
    {TEXT("key", config_limit, key, ""), .reload = RELOAD_LIVE, .help = "The same for the name of the key."},
    {TEXT("model", config_limit, model, ""), .reload = RELOAD_LIVE,
     .help = "The same for the model; what it matches is counted together."},
    {INT("requests_per_minute", config_limit, requests_per_minute, "0", 0, 1e9), .reload = RELOAD_LIVE, .unit = "requests",
     .help = "Earned back evenly, as many at once; beyond it the answer is 429. 0 for no limit."},
    {INT("tokens_per_minute", config_limit, tokens_per_minute, "0", 0, 1e12), .reload = RELOAD_LIVE, .unit = "tokens",
     .help = "Input and output. What a request may use is taken when it comes (see expected_output_tokens) and what it did "
             "not use is given back when it ends. 0 for no limit.",
     .danger = "A request that may use more than this is refused for good."},
    {INT("tokens_per_day", config_limit, tokens_per_day, "0", 0, 1e15), .reload = RELOAD_LIVE, .unit = "tokens",
     .help = "The same over a day."},
    {INT("concurrent_requests", config_limit, concurrent_requests, "0", 0, 1000000), .reload = RELOAD_LIVE,
     .unit = "requests", .help = "Requests at once; 0 for no limit."},
    {FLOAT("kv_share", config_limit, kv_share, "0", 0, 1), .reload = RELOAD_LIVE,
     .help = "Share of the KV cache of a model's ready local replicas that running requests may hold, prompts and answers so "
             "far: a request for which there is no room in it waits while others pass it, and one that alone is larger is "
             "refused with 400. 0 for no limit.",
     .danger = "The rest stays empty when nobody else asks for it; prompts that share a beginning count it each."},
    {.key = NULL}};

static const struct setting budget_table[] = {
    {.key = "per", .kind = SETTING_ENUM, .offset = offsetof(struct config_budget, per), .fallback = "organisation",
     .words = quota_per_words, .reload = RELOAD_LIVE,
     .help = "Who has the amount: each organisation, team or key for itself, or all together."},
    {.key = "period", .kind = SETTING_ENUM, .offset = offsetof(struct config_budget, period), .fallback = "month",
     .words = budget_period_words, .reload = RELOAD_LIVE, .help = "For each day or month of UTC."},
    {TEXT("organisation", config_budget, organisation, ""), .reload = RELOAD_LIVE,
     .help = "Whom it is for: names or shell patterns, blanks between. \"\" for everybody."},
    {TEXT("team", config_budget, team, ""), .reload = RELOAD_LIVE, .help = "The same for the team."},
    {TEXT("key", config_budget, key, ""), .reload = RELOAD_LIVE, .help = "The same for the name of the key."},
    {FLOAT("amount", config_budget, amount, NULL, 0, 1e9), .reload = RELOAD_LIVE,
     .help = "In the unit of the models' prices. A request that may cost more than is left is refused (insufficient_quota); "
             "what it may cost is reserved until it has ended, then it pays what it used."},
    {.key = NULL}};

static const struct setting tenants_table[] = {
    {.key = "budgets", .kind = SETTING_LIST, .offset = offsetof(struct config_tenants, budgets), .table = budget_table,
     .item_bytes = sizeof(struct config_budget), .min = 0, .max = 256, .reload = RELOAD_LIVE,
     .help = "Limits in money. A request must pass all that it matches. With state.database they outlive the process.",
     .danger = "Each gateway counts for itself."},
    {.key = "groups", .kind = SETTING_LIST, .offset = offsetof(struct config_tenants, groups), .table = group_table,
     .item_bytes = sizeof(struct config_group), .min = 0, .max = 1000, .reload = RELOAD_LIVE,
     .help = "Organisations and teams that differ from the default. Who belongs to which is said by the keys."},
    {.key = "limits", .kind = SETTING_LIST, .offset = offsetof(struct config_tenants, limits), .table = limit_table,
     .item_bytes = sizeof(struct config_limit), .min = 0, .max = 256, .reload = RELOAD_LIVE,
     .help = "Limits on requests and tokens. A request must pass all that it matches; a change keeps what is counted."},
    {INT("expected_output_tokens", config_tenants, expected_output_tokens, "256", 0, 1000000), .reload = RELOAD_LIVE,
     .unit = "tokens", .help = "What a request without max_tokens takes of its limits until it has ended."},
    {.key = NULL}};

static const struct setting state_table[] = {
    {FILE_PATH("database", config_state, database, ""), .reload = RELOAD_RESTART,
     .help = "SQLite file for keys (`penstock keys` makes them) and spent money; it is made when it is not there. With it "
             "the API asks for keys. With neither this nor postgres nothing is kept.",
     .danger = "Whoever may write it can make keys. Keep it on a local disk: SQLite's locks do not work on network file "
               "systems."},
    {TEXT("postgres", config_state, postgres, ""), .reload = RELOAD_RESTART,
     .help = "PostgreSQL (13 or later) in place of database: postgresql://USER@HOST:PORT/NAME?sslmode=verify-full, as libpq "
             "reads it. Several gateways share its keys, ledger and budgets. The gateway makes and renews the schema "
             "'penstock' itself. While it is away, known keys go on, and the ledger waits as records.ledger_full says.",
     .danger = "Whoever may write it can make keys. A pooler between must keep sessions, not only transactions."},
    {FILE_PATH("postgres_password_file", config_state, postgres_password_file, ""), .reload = RELOAD_RESTART,
     .help = "File with the password of postgres."},
    {TEXT("postgres_password_env", config_state, postgres_password_env, ""), .reload = RELOAD_RESTART,
     .help = "Variable of the environment with it."},
    {FILE_PATH("spool", config_state, spool, ""), .reload = RELOAD_RESTART,
     .help = "Folder on a local disk for what postgres has not taken yet: up to records.ledger_memory rows and what is "
             "spent. The next start goes on with it. \"\": it waits in memory, and a gateway that is killed loses it.",
     .danger = "Each gateway needs its own."},
    {TEXT("redis", config_state, redis, ""), .reload = RELOAD_RESTART,
     .help = "Redis (6.2 or later) for tenants.limits that several gateways share: redis://[USER@]HOST[:PORT][/NUMBER] or "
             "unix:/path/of/socket. While it is away each gateway goes on with its part of each limit."},
    {FILE_PATH("redis_password_file", config_state, redis_password_file, ""), .reload = RELOAD_RESTART,
     .help = "File with the password of redis."},
    {TEXT("redis_password_env", config_state, redis_password_env, ""), .reload = RELOAD_RESTART,
     .help = "Variable of the environment with it."},
    {FLOAT("share", config_state, share, "0.05", 0.001, 1), .reload = RELOAD_RESTART,
     .help = "Part of each shared limit and budget that a gateway may use before the others know: at most so much for each "
             "gateway may go beyond (at least one request).",
     .danger = "Small parts of small budgets refuse requests for a moment, until the database has answered."},
    {DURATION("lease", config_state, lease_ns, "10s", 2 * SEC, 300 * SEC), .reload = RELOAD_RESTART,
     .help = "How long others keep clear of what a gateway holds, when it has died: parts of budgets, running requests, "
             "and the lead among them."},
    {.key = NULL}};

/* In the order of enum ledger_full. */
static const char *const ledger_full_words[] = {"continue", "refuse", NULL};

static const struct setting records_table[] = {
    {TEXT("access_log", config_records, access_log, "off"), .reload = RELOAD_RESTART,
     .help = "A JSON line for each request that has ended: off, stdout or the absolute path of a file, which SIGHUP opens "
             "again (logrotate). Never its text. What a full disk does not take is dropped and counted.",
     .danger = "It names keys, tenants and addresses."},
    {FILE_PATH("audit_log", config_records, audit_log, ""), .reload = RELOAD_RESTART,
     .help = "File for what is done to the gateway: keys, reloads, adapters, admin calls, refused keys, start and stop; JSON "
             "lines in a hash chain (`penstock audit verify`). While it cannot be written, changes by operators are "
             "refused. \"\" for none.",
     .danger = "Without state.database nothing notices when its end is cut off. A path whose file was moved away is refused: "
               "a new log needs a new path."},
    {BOOL("ledger", config_records, ledger, "true"), .reload = RELOAD_RESTART,
     .help = "Keep a row for each request in state.database, and hourly sums (`penstock usage`). Nothing without it."},
    {.key = "ledger_full", .kind = SETTING_ENUM, .offset = offsetof(struct config_records, ledger_full),
     .fallback = "continue", .words = ledger_full_words, .reload = RELOAD_RESTART,
     .help = "When the ledger cannot be written and its memory is full: continue drops rows and counts them, refuse answers "
             "new requests with 503 until it can be written again."},
    {INT("ledger_memory", config_records, ledger_memory, "16384", 1, 1e7), .reload = RELOAD_RESTART, .unit = "rows",
     .help = "Rows that wait in memory while the ledger cannot be written, about 1 KB each.",
     .danger = "A process that is killed loses them."},
    {DURATION("keep_requests", config_records, keep_requests_ns, "720h", 3600 * SEC, 87600 * 3600.0 * SEC),
     .reload = RELOAD_RESTART, .help = "How long the ledger keeps the row of a request.",
     .danger = "About 300 bytes of disk a request."},
    {DURATION("keep_hours", config_records, keep_hours_ns, "9600h", 3600 * SEC, 87600 * 3600.0 * SEC),
     .reload = RELOAD_RESTART, .help = "How long the ledger keeps its hourly sums."},
    {DURATION("interval", config_records, interval_ns, "100ms", 1 * MS, 60 * SEC), .reload = RELOAD_RESTART,
     .help = "How often records are written.", .danger = "A process that is killed loses those of the last interval."},
    {INT("queue", config_records, queue, "8192", 64, 1000000), .reload = RELOAD_RESTART, .unit = "requests",
     .help = "Records of an event loop that may wait for the writer, about 1 KB each; with ledger_full: refuse the requests "
             "that are open count as well.",
     .danger = "Beyond it access log lines and, with ledger_full: continue, ledger rows are dropped."},
    {.key = NULL}};

static const struct setting supervise_table[] = {
    {DURATION("backoff_first", config_supervise, backoff_first_ns, "200ms", 1 * MS, 3600 * SEC),
     .reload = RELOAD_RESTART, .help = "Wait before a replica that died is started again; doubles with each failure."},
    {DURATION("backoff_max", config_supervise, backoff_max_ns, "30s", 1 * MS, 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "Longest such wait. A replica that was ready for so long starts again from backoff_first."},
    {DURATION("start_timeout", config_supervise, start_timeout_ns, "5m", 100 * MS, 86400 * SEC),
     .reload = RELOAD_RESTART, .help = "A replica that is not ready after this time is killed and started again.",
     .danger = "Shorter than the model's load time means that it never gets ready."},
    {DURATION("heartbeat_timeout", config_supervise, heartbeat_timeout_ns, "10s", 100 * MS, 3600 * SEC),
     .reload = RELOAD_RESTART, .help = "A ready replica that gives no sign of life for so long is killed and started again.",
     .danger = "Shorter than its longest step kills a replica that is only busy."},
    {DURATION("stall_timeout", config_supervise, stall_timeout_ns, "3s", 100 * MS, 3600 * SEC), .reload = RELOAD_RESTART,
     .help = "A replica that has requests in its batch and has not ended a step for so long gets no more of them until it "
             "does, and counts as giving no sign of life.",
     .danger = "Shorter than its longest step keeps requests from a replica that is only busy."},
    {.key = NULL}};

static const struct setting pool_table[] = {
    {TEXT("listen", config_pool, listen, ""), .reload = RELOAD_RESTART,
     .help = "Address where replicas on other machines register with the gateway and tell it how they are: 0.0.0.0:8082. TLS "
             "only, with a certificate that is made at each start and that they are told to expect. \"\" for none.",
     .danger = "Every machine that runs replicas must reach it; nobody else needs to. With it SIGUSR2 is refused: such replicas end "
               "with their gateway."},
    {TEXT("advertise", config_pool, advertise, ""), .reload = RELOAD_RESTART,
     .help = "How these machines reach it, as host:port with a name or a number; without a port it is that of listen. \"\" for "
             "listen itself, if that names a host."},
    {DURATION("lost_timeout", config_pool, lost_timeout_ns, "60s", SEC, 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "A replica on another machine that has not reached its gateway for so long finishes what it has and ends.",
     .danger = "Longer keeps slices busy, and paid for, that no gateway knows of; shorter ends replicas at a short failure of the "
               "network."},
    {.key = "members", .kind = SETTING_LIST, .offset = offsetof(struct config_pool, members), .table = pool_member_table,
     .item_bytes = sizeof(struct config_member), .max = 256, .reload = RELOAD_RESTART,
     .help = "Where slices are: this machine and clusters. None: this machine alone, all of it."},
    {TEXT("name", config_pool, name, "penstock"), .reload = RELOAD_RESTART,
     .help = "Marks replicas in clusters as this gateway's.",
     .danger = "Two gateways with one name in one cluster end each other's replicas."},
    {.key = "quotas", .kind = SETTING_LIST, .offset = offsetof(struct config_pool, quotas), .table = pool_quota_table,
     .item_bytes = sizeof(struct config_pool_quota), .max = 1024, .reload = RELOAD_RESTART,
     .help = "Who may have how much of the pool, as a tree: a parent stands before its children."},
    {.key = "round_trips", .kind = SETTING_LIST, .offset = offsetof(struct config_pool, round_trips), .table = pool_round_trip_table,
     .item_bytes = sizeof(struct config_round_trip), .max = 256, .reload = RELOAD_RESTART,
     .help = "How far regions are from where requests come from, for models that are placed by latency."},
    {DURATION("drain_time", config_pool, drain_time_ns, "2m", SEC, 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "What a replica gets to finish when its slice is taken back, drained or needed by a more important one, and its member "
             "does not say how long."},
    {BOOL("preempt", config_pool, preempt, "true"), .reload = RELOAD_RESTART,
     .help = "Replicas that may be preempted end when a more important model finds no slice, or who is guaranteed one."},
    {.key = NULL}};

static const struct setting speculative_table[] = {
    {.key = "method", .kind = SETTING_ENUM, .offset = offsetof(struct config_speculative, method), .fallback = "none",
     .words = speculative_method_words, .reload = RELOAD_ROLLOUT,
     .help = "ngram guesses from the text so far: where the last tokens stood before, what followed them may follow again. "
             "It drafts only where that is expected to save time, and the answers are the same. none guesses only for "
             "requests that bring a prediction, and from that."},
    {INT("num_speculative_tokens", config_speculative, num_speculative_tokens, "7", 1, 32), .reload = RELOAD_ROLLOUT,
     .unit = "tokens", .help = "Tokens drafted for a sequence in a step, at most."},
    {INT("prompt_lookup_max", config_speculative, prompt_lookup_max, "4", 1, 16), .reload = RELOAD_ROLLOUT,
     .unit = "tokens", .help = "The last tokens that are looked for in the text, at first.",
     .danger = "Each length from prompt_lookup_min on takes up to 12 bytes a token."},
    {INT("prompt_lookup_min", config_speculative, prompt_lookup_min, "2", 1, 16), .reload = RELOAD_ROLLOUT,
     .unit = "tokens", .help = "The fewest of them that must be found; at most prompt_lookup_max."},
    {.key = NULL}};

static const struct setting adapter_table[] = {
    {TEXT("name", config_adapter, name, NULL), .reload = RELOAD_LIVE,
     .help = "The name that clients put into the request's model field to have it."},
    {FILE_PATH("path", config_adapter, path, NULL), .reload = RELOAD_LIVE,
     .help = "Folder as PEFT writes it: adapter_config.json and adapter_model.safetensors."},
    {.key = NULL}};

static const struct setting model_upstream_table[] = {
    {.key = "url", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_model_upstream, urls), .min = 0, .max = 64, .reload = RELOAD_RESTART,
     .help = "http or https URL of a server that speaks the OpenAI API, or a list of them that all have the model; what stands "
             "after the host is put before every path, with or without /v1. None for a model that runs here."},
    {FILE_PATH("api_key_file", config_model_upstream, api_key_file, ""), .reload = RELOAD_RESTART,
     .help = "File with the key that the server wants, read at the start. Clients' keys never go there."},
    {TEXT("api_key_env", config_model_upstream, api_key_env, ""), .reload = RELOAD_RESTART,
     .help = "Environment variable with that key, where there is no file."},
    {TEXT("model", config_model_upstream, model, ""), .reload = RELOAD_RESTART,
     .help = "What the model is called there; \"\" for the same name."},
    {FILE_PATH("ca_file", config_model_upstream, ca_file, ""), .reload = RELOAD_RESTART,
     .help = "PEM file of the authorities that may have signed the server's certificate; \"\" for the system's."},
    {DURATION("health_interval", config_model_upstream, health_interval_ns, "5s", 100 * MS, 3600 * SEC),
     .reload = RELOAD_RESTART, .help = "Between two questions for /v1/models, which must be answered with 200, and for /metrics, which "
     "may tell how busy it is (as vLLM, SGLang, llama.cpp and TensorRT-LLM do)."},
    {.key = NULL}};

static const struct setting version_table[] = {
    {TEXT("model", config_version, model, NULL), .reload = RELOAD_RESTART, .help = "Name of another model."},
    {INT("weight", config_version, weight, "1", 0, 1000000), .reload = RELOAD_LIVE,
     .help = "Its share: weight over the sum of all. A session stays with its version; 0 gets none."},
    {.key = NULL}};

static const struct setting hedge_table[] = {
    {DURATION("after", config_hedge, after_ns, "0s", 0, 3600 * SEC), .reload = RELOAD_LIVE,
     .help = "How long a streaming request may be without a first byte before another replica gets it too; whichever answers "
             "first has it, and the other is cancelled. 0s, and no quantile: none does.",
     .danger = "A copy reads the prompt once more. Each is paid from upstream.retry_budget, which bounds them."},
    {FLOAT("quantile", config_hedge, quantile, "0", 0, 0.999), .reload = RELOAD_LIVE,
     .help = "Nor before this share of the model's recent first tokens would have come: 0.95 sends copies of one request in "
             "twenty. 0 leaves it to `after`."},
    {INT("priority_max", config_hedge, priority_max, "8", -8, 8), .reload = RELOAD_LIVE,
     .help = "Only for requests of this priority band or a better (lower) one."},
    {TEXT("organisations", config_hedge, organisations, ""), .reload = RELOAD_LIVE,
     .help = "Only for callers of these organisations: patterns with * and ?, blanks between; \"\" for all."},
    {.key = NULL}};

static const struct setting shadow_table[] = {
    {TEXT("model", config_shadow, model, ""), .reload = RELOAD_RESTART,
     .help = "Another model that gets a copy of some requests. Its answers are thrown away after they have been compared: "
             "penstock_shadow_* count the tokens until they differ. \"\" for none."},
    {FLOAT("share", config_shadow, share, "0", 0, 1), .reload = RELOAD_LIVE, .help = "Part of the requests that are copied.",
     .danger = "Each copy costs what a request costs."},
    {.key = NULL}};

static const struct setting price_table[] = {
    {FLOAT("input", config_price, input, "0", 0, 1e6), .reload = RELOAD_RESTART, .help = "Of the prompt's tokens."},
    {FLOAT("cached_input", config_price, cached_input, "-1", -1, 1e6), .reload = RELOAD_RESTART,
     .help = "Of those that were found in the prefix cache; -1: as the others."},
    {FLOAT("output", config_price, output, "0", 0, 1e6), .reload = RELOAD_RESTART, .help = "Of the answer's tokens."},
    {FLOAT("slice_hour", config_price, slice_hour, "0", 0, 1e6), .reload = RELOAD_RESTART,
     .help = "In their place, of an hour of what a replica runs on: a request pays for its share, by tokens, of each step that it "
             "was computed in. What it may cost is estimated by what tokens have cost lately.",
     .danger = "Until the first request has ended nothing is reserved of budgets."},
    {FLOAT("idle_factor_max", config_price, idle_factor_max, "1", 1, 1000), .reload = RELOAD_RESTART,
     .help = "With slice_hour: requests also pay for time in which the replicas were idle, until all of it is paid, but never more "
             "than so many times their own. 1: nobody pays for it.",
     .danger = "After a quiet night the first requests cost so much more."},
    {.key = NULL}};

const struct setting config_model_table[] = {
    {TEXT("name", config_model, name, NULL), .reload = RELOAD_RESTART,
     .help = "The name that clients put into the request's model field."},
    {FILE_PATH("path", config_model, path, ""), .reload = RELOAD_ROLLOUT,
     .help = "GGUF file of the model, or a folder as Hugging Face's libraries write it (config.json, safetensors, "
             "tokenizer.json). ~/ is the home folder; a relative path starts at this file's folder. A model has a path, "
             "an upstream or versions."},
    {.key = "upstream", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, upstream),
     .table = model_upstream_table, .help = "A server elsewhere that has the model, in place of path."},
    {.key = "versions", .kind = SETTING_LIST, .offset = offsetof(struct config_model, versions), .table = version_table,
     .item_bytes = sizeof(struct config_version), .min = 0, .max = 16, .reload = RELOAD_RESTART,
     .help = "In place of path: the name stands for these other models, each with its share of the requests (canary)."},
    {.key = "fallbacks", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_model, fallbacks), .min = 0, .max = 16,
     .reload = RELOAD_LIVE, .help = "Other models that a request goes to, in this order, when this one fails before it has said "
     "anything.", .danger = "A fallback gets all of the traffic when the model is gone: it must bear it."},
    {.key = "fallback_on", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_model, fallback_on), .min = 0, .max = 8,
     .reload = RELOAD_LIVE, .help = "On which failures: unavailable (none ready, or lost), overloaded (429, 503), timeout, error "
     "(other 5xx), context_length (the prompt is too long for it). Without any, all but context_length."},
    {.key = "hedge", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, hedge), .table = hedge_table,
     .help = "For streams whose first token matters most: copies of requests that are not answered in time."},
    {.key = "shadow", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, shadow), .table = shadow_table,
     .help = "Copies of requests, to try another model on real traffic."},
    {DURATION("first_byte_timeout", config_model, first_byte_timeout_ns, "0s", 0, 86400 * SEC), .reload = RELOAD_LIVE,
     .help = "As upstream.first_byte_timeout, for this model; 0s takes that one."},
    {DURATION("idle_timeout", config_model, idle_timeout_ns, "0s", 0, 86400 * SEC), .reload = RELOAD_LIVE,
     .help = "As upstream.idle_timeout, for this model; 0s takes that one."},
    {.key = "aliases", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config_model, aliases),
     .min = 0, .max = 64, .reload = RELOAD_RESTART, .help = "Other names of the model."},
    {INT("replicas", config_model, replicas, "1", 1, 64), .reload = RELOAD_RESTART, .unit = "replicas",
     .help = "Processes that serve the model; requests go to the one with the least to do.",
     .danger = "Each has its own KV cache and takes its share of the cores."},
    {.key = "rollout", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, rollout), .table = model_rollout_table,
     .help = "How replicas with other settings take the place of those that run, after a reload."},
    {.key = "autoscale", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, autoscale), .table = model_autoscale_table,
     .help = "As many replicas as the load needs, instead of `replicas`."},
    {.key = "placement", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, placement), .table = model_placement_table,
     .help = "Which slices of the pool its replicas may have, and which they should."},
    {TEXT("backend", config_model, backend, "auto"), .reload = RELOAD_ROLLOUT,
     .help = "Kernels: cuda, on the NVIDIA GPUs that the replica sees (CUDA_VISIBLE_DEVICES), with libpenstock-cuda.so beside the "
             "program or in ../lib/penstock; cpu, the best of reference, avx2, avx-vnni and avx512-vnni that the machine has; or "
             "auto: a replica on a slice of a GPU (placement.vendors) takes cuda and never cores, one on a slice of cores takes "
             "cpu, and one that nobody placed takes cuda where a GPU has room for the model, else cpu; its log says why. "
             "cuda-emulated is cuda's kernels run on cores, for tests: slow.",
     .danger = "A replica with a GPU that fails ends, and is started again."},
    {TEXT("weight_cache", config_model, weight_cache, "auto"), .reload = RELOAD_ROLLOUT,
     .help = "Where the weights are kept in the kernels' layout, so that later starts map them instead of laying them out "
             "again, and replicas on one machine share them: auto (beside the model, or under $PENSTOCK_HOME or "
             "~/.cache/penstock when its folder may not be written), off, or the absolute path of a folder.",
     .danger = "Takes about as much disk as the model. Whoever may write there can change what the model says."},
    {INT("threads", config_model, threads, "0", 0, 1024), .reload = RELOAD_ROLLOUT, .unit = "threads",
     .help = "Compute threads of a replica. 0 divides the cores that the process may use (its affinity mask and its control "
             "group's quota) among all local replicas.",
     .danger = "More threads than cores make every step wait for the slowest."},
    {INT("tensor_parallel", config_model, tensor_parallel, "1", 1, 64), .reload = RELOAD_ROLLOUT, .unit = "ranks",
     .help = "Ranks that share the model within a replica and compute each step together (vLLM's tensor-parallel-size): of GPUs "
             "one each, the first that the replica sees; on cores they divide its threads. The number must divide the "
             "model's attention heads, and divide its key heads or be a multiple of them; no LoRA adapters with more than 1.",
     .danger = "Ranks wait for each other twice a layer: on one machine's cores they gain nothing over threads, and between GPUs "
               "they want NVLink and the library NCCL."},
    {INT("max_model_len", config_model, max_model_len, "0", 0, 16777216), .reload = RELOAD_ROLLOUT, .unit = "tokens",
     .help = "Longest sequence, prompt and answer together. 0 takes the length that the model was trained for."},
    {INT("max_num_seqs", config_model, max_num_seqs, "64", 1, 4096), .reload = RELOAD_ROLLOUT, .unit = "sequences",
     .help = "Sequences that are computed together in one step."},
    {INT("max_num_batched_tokens", config_model, max_num_batched_tokens, "512", 16, 1048576), .reload = RELOAD_ROLLOUT,
     .unit = "tokens", .help = "Tokens of one step: one for each running sequence, the rest for prompts.",
     .danger = "Higher makes prompts quicker and every running answer slower while they are read."},
    {BYTES("kv_cache_memory", config_model, kv_cache_memory, "0", 0, 1024 * GIB), .reload = RELOAD_ROLLOUT,
     .help = "Memory of the KV cache of a replica. 0 takes what max_num_seqs sequences can use, at most a share of the "
             "free memory, which all local replicas divide.",
     .danger = "Too small makes sequences wait and be computed twice; too large gets the process killed."},
    {BYTES("kv_host_memory", config_model, kv_host_memory, "0", 0, 65536 * GIB), .reload = RELOAD_ROLLOUT,
     .help = "Pinned memory of the host, for each replica on a CUDA device, that takes what the KV cache has no room for (vLLM's "
             "kv_offloading_size, formerly swap_space): the cache of old conversations and of preempted answers is copied down "
             "there and back when that is quicker than computing it again, by the bandwidth measured at the start. 0: none. "
             "Needs enable_prefix_caching.",
     .danger = "Pinned memory is taken from everything else on the machine at the start, and never paged out."},
    {TEXT("kv_cache_dtype", config_model, kv_cache_dtype, "auto"), .reload = RELOAD_ROLLOUT,
     .help = "What the cache holds keys and values in: auto, f16, int8 or fp8. int8, with a scale for each head's key and value, "
             "takes about half the memory and is the quicker; fp8 (E4M3 without scales) exactly half, on CUDA devices only; "
             "f16 is closer to the model in floats, and what auto takes.",
     .danger = "int8 changes answers a little, fp8 more; what int8 costs is measured in bench/NOTES.md."},
    {TEXT("tool_parser", config_model, tool_parser, "auto"), .reload = RELOAD_ROLLOUT,
     .help = "How the model writes calls of tools: auto (what its chat template speaks; a model whose template knows no tools "
             "is told of them, and how to call them, in the system message, in the form hermes), none (calls stay text), or "
             "hermes, qwen3_coder, llama3_json, pythonic, mistral, deepseek_v3, openai, granite, phi4_mini_json, gemma, "
             "kimi_k2, glm45.",
     .danger = "With another form than the model's own its calls are not found."},
    {TEXT("reasoning_parser", config_model, reasoning_parser, "auto"), .reload = RELOAD_ROLLOUT,
     .help = "How the model marks its reasoning, which then comes apart from its answer: auto (what its chat template "
             "speaks), none (it stays part of the text), think, mistral or openai_gptoss."},
    {TEXT("pooling", config_model, pooling, "auto"), .reload = RELOAD_ROLLOUT,
     .help = "How a model that generates text makes embeddings of its last hidden states: last (that of the last token), mean "
             "(of all tokens), or auto: what its files tell (sentence-transformers' modules, GGUF's pooling_type), else last. "
             "Models that only make embeddings always follow their files.",
     .danger = "Only the way that the model was trained for gives vectors that mean something; with mean no prompt is taken "
               "from the prefix cache."},
    {INT("max_queued_requests", config_model, max_queued_requests, "1024", 1, 1000000), .reload = RELOAD_ROLLOUT,
     .unit = "requests", .help = "Requests that may wait in a replica; beyond it the answer is 429."},
    {INT("max_queued_tokens", config_model, max_queued_tokens, "1048576", 16, 1e12), .reload = RELOAD_ROLLOUT,
     .unit = "tokens", .help = "Prompt tokens of the waiting requests together; beyond it the answer is 429."},
    {BOOL("trust_request_chat_template", config_model, trust_request_chat_template, "false"), .reload = RELOAD_ROLLOUT,
     .help = "Let a request bring its own chat template (the field chat_template).",
     .danger = "What such a template writes counts as the model's format, control tokens included: the client can speak in "
               "any role."},
    {BOOL("enable_prefix_caching", config_model, enable_prefix_caching, "true"), .reload = RELOAD_ROLLOUT,
     .help = "Keep computed prompt blocks and use them again for requests of the same tenant that begin alike."},
    {FLOAT("prompt_cache_pin_max", config_model, prompt_cache_pin_max, "0.5", 0, 1), .reload = RELOAD_ROLLOUT,
     .help = "Share of the KV cache that prompts may be pinned in, all together: what requests mark (cache_control, "
             "prompt_cache_options, prompt_cache_retention) is given up after everything else until its time has passed. "
             "0 keeps nothing longer than the rest.",
     .danger = "Pins of one client push what others have left in the cache out of it."},
    {FLOAT("inter_token_factor", config_model, inter_token_factor, "1.6", 1.1, 1000), .reload = RELOAD_ROLLOUT,
     .help = "How much further apart the tokens of running answers may come while prompts are read: this factor of the "
             "time that a step takes when all requests at hand generate. Prompts are read in pieces of that size. For the prompt of "
             "a tenant with nothing running, where others have several answers each, only inter_token_target holds.",
     .danger = "Lower makes answers smoother and first tokens later: next to running answers a prompt gets about "
               "(factor - 1) / factor of the machine. 1000 is as good as no limit."},
    {DURATION("inter_token_target", config_model, inter_token_target_ns, "50ms", 0, 60 * SEC), .reload = RELOAD_ROLLOUT,
     .help = "Longest time between the tokens of running answers while prompts are read, whatever the factor allows; 0s "
             "for none.",
     .danger = "Shorter than a step of the running answers alone leaves prompts a tenth of the machine."},
    {.key = "adapters", .kind = SETTING_LIST, .offset = offsetof(struct config_model, adapters), .table = adapter_table,
     .item_bytes = sizeof(struct config_adapter), .min = 0, .max = 1024, .reload = RELOAD_LIVE,
     .help = "LoRA adapters of the model, each served under its own name, in the same batches as the model. A reload loads new "
             "ones and takes out those that are gone, whose running requests end as they would."},
    {INT("max_loras", config_model, max_loras, "0", 0, 1024), .reload = RELOAD_ROLLOUT, .unit = "adapters",
     .help = "Adapters that a replica holds at most. 0 takes as many as adapters names at the start: none, and no memory is set "
             "aside for them, where it names none.",
     .danger = "Memory for so many, of max_lora_rank, is kept from the KV cache."},
    {INT("max_lora_rank", config_model, max_lora_rank, "16", 1, 512), .reload = RELOAD_ROLLOUT, .unit = "ranks",
     .help = "The largest rank of an adapter."},
    {BOOL("allow_runtime_lora_updating", config_model, allow_runtime_lora_updating, "false"), .reload = RELOAD_RESTART,
     .help = "Let clients load and unload adapters (/v1/load_lora_adapter, /v1/unload_lora_adapter), at most max_loras. A gateway "
             "tells all replicas of the model, also those that start later; where it asks for keys, one with the scope "
             "admin is needed. A restart of the gateway forgets them.",
     .danger = "Clients name paths of the server's disk, and what they load is there for everybody."},
    {.key = "price", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, price), .table = price_table,
     .help = "What a million tokens cost, in any unit, with up to six decimals, or what an hour of a replica's slice does; for "
             "tenants.budgets and the ledger."},
    {.key = "speculative_config", .kind = SETTING_SECTION, .offset = offsetof(struct config_model, speculative),
     .table = speculative_table, .help = "Several tokens of an answer in one step, where its text repeats."},
    {.key = NULL}};

static const struct setting responses_table[] = {
    {INT("count", config_responses, count, "10000", 0, 1000000), .reload = RELOAD_RESTART, .unit = "responses",
     .help = "Answers of /v1/responses that a replica keeps, so that clients can fetch and continue them by id; the "
             "oldest go first. 0 keeps none."},
    {BYTES("memory", config_responses, memory_bytes, "64MiB", 1 * MIB, 1024 * GIB), .reload = RELOAD_RESTART,
     .help = "Memory of a replica for them, each with the conversation that it continues.",
     .danger = "Too small, and conversations are forgotten between their turns."},
    {DURATION("ttl", config_responses, ttl_ns, "24h", 1 * SEC, 365 * 86400 * SEC), .reload = RELOAD_RESTART,
     .help = "How long one is kept. A replica that ends takes its answers with it."},
    {.key = NULL}};

#define SECTION(name, field, rows, text) \
    .key = name, .kind = SETTING_SECTION, .offset = offsetof(struct config, field), .table = rows, .help = text

const struct setting config_table[] = {
    {SECTION("server", server, server_table, "Where the gateway listens and how it stops.")},
    {SECTION("log", log, log_table, "Log lines on standard error.")},
    {SECTION("auth", auth, auth_table, "Who may call the API.")},
    {SECTION("tenants", tenants, tenants_table, "What organisations, teams and keys may use.")},
    {SECTION("state", state, state_table, "What outlives the process.")},
    {SECTION("records", records, records_table, "What is written down of requests and of changes.")},
    {SECTION("observability", observability, observability_table, "What can be asked of requests and replicas afterwards.")},
    {.key = "models", .kind = SETTING_LIST, .offset = offsetof(struct config, models), .table = config_model_table,
     .item_bytes = sizeof(struct config_model), .min = 1, .max = 64, .reload = RELOAD_RESTART,
     .help = "The models that are served. A request without a model field goes to the only one, if there is only one."},
    {SECTION("upstream", upstream, upstream_table, "The gateway's patience with replicas.")},
    {SECTION("routing", routing, routing_table, "Which of a model's replicas a request goes to.")},
    {SECTION("admission", admission, admission_table, "The waiting room of each model, in the gateway.")},
    {SECTION("supervise", supervise, supervise_table, "How replicas that die or hang are started again.")},
    {SECTION("pool", pool, pool_table, "Slices of this machine and of clusters, and replicas on other machines.")},
    {SECTION("responses", responses, responses_table, "Stored answers of /v1/responses.")},
    {SECTION("limits", limits, limits_table, "Limits on everything that comes from outside.")},
    {SECTION("grammar", grammar, grammar_table, "Structured output: schemas, regexes and grammars of requests.")},
    {.key = NULL}};
// clang-format on
