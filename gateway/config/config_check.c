#include "config_check.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "config_pool_check.h"
#include "config_tracing_check.h"
#include "http_remote.h"
#include "listen_address.h"
#include "output_parser.h"

#define NAME_BYTES_MAX    128u
#define SHA256_HEX_DIGITS 64u
#define ISSUER_BYTES_MAX  255u

static const char *const backend_words[] = {
    "auto", "cpu", "reference", "avx2", "avx-vnni", "avx512-vnni", "cuda", "cuda-emulated", NULL};
static const char *const pooling_words[] = {"auto", "last", "mean", NULL};
static const char *const kv_dtype_words[] = {"auto", "f16", "int8", "fp8", NULL};

struct check {
    const struct config *config;
    settings_document *document;
    struct settings_report *report;
    bool is_elsewhere; /* its files are on another machine */
};

#define FAIL(check, value, ...)                                                                    \
    settings_fail_at((check)->document, (check)->report, (value), __VA_ARGS__)

void config_check_fail(struct settings_report *report, const char *format, ...)
{
    struct settings_error *error;
    va_list arguments;

    if (report->error_count >= SETTINGS_ERROR_COUNT_MAX)
        return;
    error = &report->errors[report->error_count++];

    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
}

/* A regular file that this process may read; otherwise says so, with `remedy`. `value` is where the
 * path is stored. */
static void check_file(const struct check *c, const char *what, const char *const *value,
                       const char *remedy)
{
    struct stat info;

    if (c->is_elsewhere)
        return;
    if (stat(*value, &info) != 0)
        FAIL(c, value, "%s %s cannot be opened (%s); %s", what, *value, strerror(errno), remedy);
    else if (!S_ISREG(info.st_mode))
        FAIL(c, value, "%s %s is not a file; %s", what, *value, remedy);
    else if (access(*value, R_OK) != 0)
        FAIL(c, value, "%s %s may not be read by this user; change its permissions (chmod, chown)",
             what, *value);
}

/* A GGUF file, or a folder with a config.json. */
static void check_model_path(const struct check *c, const char *const *value)
{
    struct stat info;
    char config[PATH_MAX];

    if (c->is_elsewhere || !config_weights_are_here(c->config))
        return;
    if (stat(*value, &info) != 0 || !S_ISDIR(info.st_mode)) {
        check_file(c, "the model file", value,
                   "put the GGUF file or the Hugging Face folder there, mend the path, or give "
                   "--model-path; tools/serve fetches the quickstart's model");
        return;
    }
    if (snprintf(config, sizeof(config), "%s/config.json", *value) >= (int)sizeof(config) ||
        access(config, R_OK) != 0)
        FAIL(c, value,
             "the folder %s has no config.json that this user may read, so it is no model; give a "
             "GGUF file or a Hugging Face folder",
             *value);
}

static void check_address(const struct check *c, const char *const *value)
{
    struct error_note note = {""};

    if (listen_address_check(*value, &note) != STATUS_OK)
        FAIL(c, value, "%s", note.text);
}

static void check_server(const struct check *c)
{
    const struct config_server *server = &c->config->server;
    bool has_certificate = server->tls_certificate[0] != '\0', has_key = server->tls_key[0] != '\0';

    check_address(c, &server->listen);
    if (server->admin_listen[0] != '\0') {
        check_address(c, &server->admin_listen);
        if (strcmp(server->listen, server->admin_listen) == 0 &&
            strstr(server->listen, ":0") == NULL)
            FAIL(c, &server->admin_listen,
                 "admin_listen is the same address as listen; choose another port, or \"\" for "
                 "none");
    }
    if (has_certificate && !has_key)
        FAIL(c, &server->tls_certificate,
             "tls_certificate is set without tls_key; set both or neither");
    if (has_key && !has_certificate)
        FAIL(c, &server->tls_key, "tls_key is set without tls_certificate; set both or neither");
    if (server->tls_client_ca[0] != '\0') {
        check_file(c, "the authorities' file", &server->tls_client_ca,
                   "give the path of a PEM file");
        if (!has_certificate)
            FAIL(c, &server->tls_client_ca,
                 "tls_client_ca needs TLS: set tls_certificate and tls_key too");
    } else if (server->tls_client_required) {
        FAIL(c, &server->tls_client_required, "tls_client_required needs tls_client_ca");
    }
    if (has_certificate)
        check_file(c, "the certificate", &server->tls_certificate, "give the path of a PEM file");
    if (has_key)
        check_file(c, "the private key", &server->tls_key, "give the path of a PEM file");
    if (server->run_directory[0] != '\0' && !c->is_elsewhere) {
        struct stat info;

        if (stat(server->run_directory, &info) != 0 || !S_ISDIR(info.st_mode) ||
            access(server->run_directory, W_OK | X_OK) != 0)
            FAIL(c, &server->run_directory,
                 "run_directory %s is not a folder that this user may write; make it, or leave it "
                 "\"\"",
                 server->run_directory);
    }
}

static bool is_sha256(const char *text)
{
    size_t digits = 0;

    for (; isxdigit((unsigned char)*text); text++)
        digits++;
    return *text == '\0' && digits == SHA256_HEX_DIGITS;
}

/* Names go into headers, labels and file names. */
static bool is_name(const char *name)
{
    size_t bytes = strlen(name);

    if (bytes == 0 || bytes > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (!isalnum((unsigned char)name[i]) && strchr("._:/@+-", name[i]) == NULL)
            return false;
    }
    return true;
}

/* `words`: NULL-terminated. */
static void check_word(const struct check *c, const char *key, const char *const *value,
                       const char *const *words)
{
    char list[256] = "";
    size_t count = 0, used = 0;
    for (; words[count] != NULL; count++) {
        if (strcmp(words[count], *value) == 0)
            return;
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", count > 0 ? ", " : "",
                                 words[count]);
        CHECK(used < sizeof(list));
    }
    const char *nearest = settings_nearest(text_slice_of(*value), words, count);
    FAIL(c, value, "%s '%s' is not one of %s%s%s%s", key, *value, list,
         nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
         nearest != NULL ? "'?" : "");
}

static void check_scopes(const struct check *c, const struct setting_list *scopes,
                         const struct setting_list *models)
{
    static const char *const known[] = {"inference", "embeddings", "admin", NULL};
    const char *const *words = scopes->items;
    const char *const *patterns = models->items;

    for (uint32_t i = 0; i < scopes->count; i++)
        check_word(c, "scope", &words[i], known);
    for (uint32_t i = 0; i < models->count; i++) {
        if (patterns[i][0] == '\0' || strlen(patterns[i]) > NAME_BYTES_MAX ||
            strpbrk(patterns[i], " ,") != NULL)
            FAIL(c, &patterns[i],
                 "a pattern of models has 1 to %u characters, none of them blank or comma",
                 NAME_BYTES_MAX);
    }
}

static void check_words_of_key(const struct check *c, const struct config_key *key)
{
    check_scopes(c, &key->scopes, &key->models);
    if (key->organisation[0] != '\0' && !is_name(key->organisation))
        FAIL(c, &key->organisation,
             "the name of an organisation has 1 to %u letters, digits or . _ : / @ + -",
             NAME_BYTES_MAX);
    if (key->team[0] != '\0' && !is_name(key->team))
        FAIL(c, &key->team, "the name of a team has 1 to %u letters, digits or . _ : / @ + -",
             NAME_BYTES_MAX);
}

/* The value of a bad hash is never shown: it may be the key itself. */
static void check_keys(const struct check *c)
{
    const struct config_key *keys = c->config->auth.keys.items;

    for (uint32_t i = 0; i < c->config->auth.keys.count; i++) {
        if (!is_name(keys[i].name))
            FAIL(c, &keys[i].name, "the name of a key has 1 to %u letters, digits or . _ : / @ + -",
                 NAME_BYTES_MAX);
        check_words_of_key(c, &keys[i]);
        if (!is_sha256(keys[i].sha256)) {
            FAIL(c, &keys[i].sha256,
                 "sha256 must be 64 hex digits; if this is the key itself, run `penstock hash-key` "
                 "and "
                 "paste what it prints");
            continue;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(keys[i].name, keys[j].name) == 0)
                FAIL(c, &keys[i].name, "two keys are named '%s'; give each its own name",
                     keys[i].name);
            if (strcasecmp(keys[i].sha256, keys[j].sha256) == 0)
                FAIL(c, &keys[i].sha256, "this is the same key as that of '%s'; remove one of them",
                     keys[j].name);
        }
    }
}

static void check_issuers(const struct check *c)
{
    static const char *const algorithms[] = {"RS256", "ES256", "EdDSA", NULL};
    const struct config_issuer *rows = c->config->auth.jwt.items;

    for (uint32_t i = 0; i < c->config->auth.jwt.count; i++) {
        const char *const *names = rows[i].algorithms.items;

        if (rows[i].issuer[0] == '\0' || strlen(rows[i].issuer) > ISSUER_BYTES_MAX)
            FAIL(c, &rows[i].issuer, "issuer has 1 to %u characters", ISSUER_BYTES_MAX);
        if (rows[i].audience[0] == '\0')
            FAIL(c, &rows[i].audience,
                 "audience is empty; give what the tokens for this gateway have "
                 "as aud");
        if (rows[i].name_claim[0] == '\0')
            FAIL(c, &rows[i].name_claim, "name_claim is empty; leave it out for sub");
        if (strncmp(rows[i].jwks, "https://", 8) != 0 && strncmp(rows[i].jwks, "http://", 7) != 0 &&
            rows[i].jwks[0] != '/')
            FAIL(c, &rows[i].jwks, "jwks '%s' is neither a URL nor the absolute path of a file",
                 rows[i].jwks);
        for (uint32_t j = 0; j < rows[i].algorithms.count; j++)
            check_word(c, "algorithm", &names[j], algorithms);
        check_scopes(c, &rows[i].scopes, &rows[i].models);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(rows[i].issuer, rows[j].issuer) == 0)
                FAIL(c, &rows[i].issuer, "the issuer '%s' is there twice", rows[i].issuer);
        }
    }
}

static bool is_same_limit(const struct config_limit *a, const struct config_limit *b)
{
    return a->per == b->per && strcmp(a->organisation, b->organisation) == 0 &&
           strcmp(a->team, b->team) == 0 && strcmp(a->key, b->key) == 0 &&
           strcmp(a->model, b->model) == 0;
}

static void check_budgets(const struct check *c)
{
    const struct config_budget *rows = c->config->tenants.budgets.items;

    for (uint32_t i = 0; i < c->config->tenants.budgets.count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (rows[i].per == rows[j].per && rows[i].period == rows[j].period &&
                strcmp(rows[i].organisation, rows[j].organisation) == 0 &&
                strcmp(rows[i].team, rows[j].team) == 0 && strcmp(rows[i].key, rows[j].key) == 0)
                FAIL(c, &rows[i].amount, "this budget is for the same as budget %u; join them",
                     j + 1);
        }
    }
}

/* A share in which not even one request of the model's full length has room is a slip of the pen: of a cache that holds
 * max_num_seqs of them in each replica. */
static void check_kv_share(const struct check *c, const struct config_limit *limit)
{
    for (uint32_t i = 0; limit->kv_share > 0 && i < c->config->models.count; i++) {
        const struct config_model *model = config_model_at(c->config, i);
        double sequences = (double)(model->max_num_seqs * config_model_replicas(model));

        if (sequences < 1 || (limit->model[0] != '\0' && strcmp(limit->model, model->name) != 0) ||
            limit->kv_share * sequences >= 1)
            continue;
        FAIL(c, &limit->kv_share,
             "kv_share %g has no room for one request of the length that model '%s' allows; give "
             "it %.3g or more, or lower the "
             "model's max_model_len and raise its max_num_seqs",
             limit->kv_share, model->name, 1 / sequences);
        return;
    }
}

static void check_limits(const struct check *c)
{
    const struct config_limit *limits = c->config->tenants.limits.items;

    for (uint32_t i = 0; i < c->config->tenants.limits.count; i++) {
        check_kv_share(c, &limits[i]);
        for (uint32_t j = 0; j < i; j++) {
            if (is_same_limit(&limits[i], &limits[j])) {
                FAIL(c, &limits[i].per,
                     "this limit is for the same as limit %u, and would count twice; join them",
                     j + 1);
                break;
            }
        }
    }
}

/* All names of a model: its own, its aliases, its adapters'. NULL: there are no more. */
static const char *const *name_at(const struct config_model *model, uint32_t position)
{
    const char *const *aliases = model->aliases.items;
    const struct config_adapter *adapters = model->adapters.items;

    if (position == 0)
        return &model->name;
    if (position <= model->aliases.count)
        return &aliases[position - 1];
    position -= 1 + model->aliases.count;
    return position < model->adapters.count ? &adapters[position].name : NULL;
}

static void check_name(const struct check *c, uint32_t model, uint32_t position)
{
    const char *const *value = name_at(config_model_at(c->config, model), position), *const * taken;

    if (!is_name(*value)) {
        FAIL(c, value, "a model's name has 1 to %u letters, digits or . _ : / @ + -",
             NAME_BYTES_MAX);
        return;
    }
    for (uint32_t i = 0; i <= model; i++) {
        const struct config_model *other = config_model_at(c->config, i);

        for (uint32_t j = 0; (i < model || j < position) && (taken = name_at(other, j)) != NULL;
             j++) {
            if (strcmp(*taken, *value) != 0)
                continue;
            FAIL(c, value,
                 "the name '%s' is already taken by model '%s'; every name and alias must differ, "
                 "those of adapters too",
                 *value, other->name);
            return;
        }
    }
}

static void check_adapter_path(const struct check *c, const char *const *value)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    char path[PATH_MAX];

    if (c->is_elsewhere || !config_weights_are_here(c->config))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        if (snprintf(path, sizeof(path), "%s/%s", *value, files[i]) < (int)sizeof(path) &&
            access(path, R_OK) == 0)
            continue;
        FAIL(c, value,
             "the folder %s has no %s that this user may read; give the folder of a LoRA adapter "
             "as PEFT saves it",
             *value, files[i]);
        return;
    }
}

static void check_adapters(const struct check *c, const struct config_model *model)
{
    const struct config_adapter *adapters = model->adapters.items;

    for (uint32_t i = 0; i < model->adapters.count; i++)
        check_adapter_path(c, &adapters[i].path);
    if (model->adapters.count > config_adapters_max(model))
        FAIL(c, &model->max_loras,
             "max_loras (%lld) must be at least the number of adapters (%u), or 0 for just these",
             (long long)model->max_loras, model->adapters.count);
    if (model->allow_runtime_lora_updating && config_adapters_max(model) == 0)
        FAIL(c, &model->allow_runtime_lora_updating,
             "allow_runtime_lora_updating needs max_loras: how many adapters may be there");
}

static void check_parsers(const struct check *c, const struct config_model *model)
{
    const char *tools[TOOL_FORM_COUNT + 2] = {"auto"};
    const char *reasoning[REASONING_FORM_COUNT + 2] = {"auto"};

    for (unsigned i = 0; i < TOOL_FORM_COUNT; i++)
        tools[i + 1] = tool_form_name((enum tool_form)i);
    for (unsigned i = 0; i < REASONING_FORM_COUNT; i++)
        reasoning[i + 1] = reasoning_form_name((enum reasoning_form)i);
    check_word(c, "tool_parser", &model->tool_parser, tools);
    check_word(c, "reasoning_parser", &model->reasoning_parser, reasoning);
}

static void check_upstream(const struct check *c, const struct config_model_upstream *upstream)
{
    const char *const *urls = upstream->urls.items;
    struct error_note note = {""};
    struct http_url url;

    for (uint32_t i = 0; i < upstream->urls.count; i++) {
        if (http_url_parse(urls[i], &url, &note) != STATUS_OK)
            FAIL(c, &urls[i], "%s", note.text);
    }
    if (upstream->api_key_file[0] != '\0' && upstream->api_key_env[0] != '\0')
        FAIL(c, &upstream->api_key_env, "give api_key_file or api_key_env, not both");
    if (upstream->api_key_file[0] != '\0')
        check_file(c, "the key file", &upstream->api_key_file,
                   "give the path of a file with the key");
    if (upstream->ca_file[0] != '\0')
        check_file(c, "the file of authorities", &upstream->ca_file, "give the path of a PEM file");
    if (upstream->model[0] != '\0' && !is_name(upstream->model))
        FAIL(c, &upstream->model, "a model's name has 1 to %u letters, digits or . _ : / @ + -",
             NAME_BYTES_MAX);
}

/* Weights, a server elsewhere, or a choice among others. */
static void check_kind(const struct check *c, const struct config_model *model)
{
    bool has_path = model->path[0] != '\0', is_elsewhere = model->upstream.urls.count > 0,
         has_versions = model->versions.count > 0;

    if (has_path + is_elsewhere + has_versions != 1)
        FAIL(c, &model->name, "model '%s' needs one of path, upstream.url and versions%s",
             model->name, has_path + is_elsewhere + has_versions > 1 ? ", not several" : "");
    else if (has_path)
        check_model_path(c, &model->path);
    else if (is_elsewhere)
        check_upstream(c, &model->upstream);
}

/* The index of another model; -1 after saying what is wrong. */
static int32_t check_other(const struct check *c, uint32_t index, const char *what,
                           const char *const *value)
{
    int32_t found = config_model_find(c->config, text_slice_of(*value));

    if (found < 0)
        FAIL(c, value, "%s '%s' is no model of this file", what, *value);
    else if ((uint32_t)found == index)
        FAIL(c, value, "%s '%s' is the model itself", what, *value);
    else
        return found;
    return -1;
}

static void check_others(const struct check *c, uint32_t index)
{
    const struct config_model *model = config_model_at(c->config, index);
    const struct config_version *versions = model->versions.items;
    const char *const *fallbacks = model->fallbacks.items;
    int64_t total = 0;

    for (uint32_t i = 0; i < model->versions.count; i++) {
        int32_t other = check_other(c, index, "version", &versions[i].model);

        total += versions[i].weight;
        if (other >= 0 && config_model_at(c->config, (uint32_t)other)->versions.count > 0)
            FAIL(c, &versions[i].model, "version '%s' has versions itself", versions[i].model);
    }
    if (model->versions.count > 0 && total == 0)
        FAIL(c, &versions[0].weight, "all versions have the weight 0; give one of them more");
    for (uint32_t i = 0; i < model->fallbacks.count; i++)
        (void)check_other(c, index, "fallback", &fallbacks[i]);
    if (model->shadow.model[0] != '\0')
        (void)check_other(c, index, "shadow", &model->shadow.model);
    if (config_fallback_causes(&model->fallback_on) == 0)
        FAIL(c, &model->fallback_on,
             "fallback_on takes unavailable, overloaded, timeout, error and context_length");
}

static void check_price(const struct check *c, const struct config_model *model)
{
    const struct config_price *price = &model->price;
    bool has_tokens = price->input > 0 || price->cached_input > 0 || price->output > 0;

    if (price->slice_hour > 0 && has_tokens)
        FAIL(c, &price->slice_hour, "a model's tokens have prices, or its slices have: not both");
    if (price->slice_hour > 0 && config_model_replicas(model) == 0)
        FAIL(c, &price->slice_hour,
             "slice_hour is for models that replicas serve here; give the tokens prices");
    if (price->slice_hour <= 0 && price->idle_factor_max > 1)
        FAIL(c, &price->idle_factor_max, "idle_factor_max is of slice_hour, which is not set");
}

/* "auto" may be a CUDA device: whoever opens it tells. */
static void check_cache_type(const struct check *c, const struct config_model *model)
{
    check_word(c, "kv_cache_dtype", &model->kv_cache_dtype, kv_dtype_words);
    if (strcmp(model->kv_cache_dtype, "fp8") == 0 && strncmp(model->backend, "avx", 3) == 0)
        FAIL(c, &model->kv_cache_dtype,
             "fp8 is for CUDA devices, not for backend '%s'; int8 takes nearly as little memory",
             model->backend);
}

/* Below a cache that lies in a device's memory. */
static void check_host_memory(const struct check *c, const struct config_model *model)
{
    if (model->kv_host_memory == 0)
        return;
    if (!model->enable_prefix_caching)
        FAIL(c, &model->kv_host_memory,
             "kv_host_memory keeps what the prefix cache has no room for; set "
             "enable_prefix_caching, or leave it out");
    if (strncmp(model->backend, "cuda", 4) != 0 && strcmp(model->backend, "auto") != 0)
        FAIL(c, &model->kv_host_memory,
             "kv_host_memory is for CUDA devices; with backend '%s' the cache itself is in the "
             "host's memory: raise kv_cache_memory",
             model->backend);
}

static void check_ranks(const struct check *c, const struct config_model *model)
{
    long long ranks = model->tensor_parallel;

    if (ranks == 1)
        return;
    if (config_adapters_max(model) > 0)
        FAIL(c, &model->tensor_parallel,
             "a model of %lld ranks takes no LoRA adapters; leave adapters and max_loras out, or "
             "set "
             "tensor_parallel to 1",
             ranks);
    if (model->threads > 0 && model->threads < ranks)
        FAIL(c, &model->tensor_parallel,
             "%lld ranks need a thread each, but threads is %lld; raise it, or set it to 0", ranks,
             (long long)model->threads);
    if (model->placement.parts > 1)
        FAIL(c, &model->tensor_parallel,
             "all %lld ranks are in one process, but placement.parts asks for a process on each of "
             "%lld slices; set one of them to 1",
             ranks, (long long)model->placement.parts);
}

static void check_model(const struct check *c, uint32_t index)
{
    const struct config_model *model = config_model_at(c->config, index);

    for (uint32_t j = 0; name_at(model, j) != NULL; j++)
        check_name(c, index, j);
    check_kind(c, model);
    check_others(c, index);
    check_adapters(c, model);
    check_ranks(c, model);
    check_word(c, "backend", &model->backend, backend_words);
    check_cache_type(c, model);
    check_host_memory(c, model);
    check_word(c, "pooling", &model->pooling, pooling_words);
    check_parsers(c, model);
    check_price(c, model);
    if (strcmp(model->weight_cache, "auto") != 0 && strcmp(model->weight_cache, "off") != 0 &&
        model->weight_cache[0] != '/')
        FAIL(c, &model->weight_cache,
             "weight_cache '%s' is not auto, off or the absolute path of a folder",
             model->weight_cache);
    if (model->max_num_batched_tokens < model->max_num_seqs)
        FAIL(c, &model->max_num_batched_tokens,
             "max_num_batched_tokens (%lld) must be at least max_num_seqs (%lld): each running "
             "sequence "
             "takes one token of a step",
             (long long)model->max_num_batched_tokens, (long long)model->max_num_seqs);
    const struct config_speculative *drafts = &model->speculative;
    if (drafts->prompt_lookup_min > drafts->prompt_lookup_max)
        FAIL(c, &drafts->prompt_lookup_min,
             "prompt_lookup_min (%lld) must be at most prompt_lookup_max (%lld)",
             (long long)drafts->prompt_lookup_min, (long long)drafts->prompt_lookup_max);
}

static void check_records(const struct check *c)
{
    const struct config_records *records = &c->config->records;

    if (strcmp(records->access_log, "off") != 0 && strcmp(records->access_log, "stdout") != 0 &&
        records->access_log[0] != '/')
        FAIL(c, &records->access_log,
             "access_log '%s' is not off, stdout or the absolute path of a file",
             records->access_log);
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void check_secret(const struct check *c, const char *const *file,
                         const char *const *variable, const char *name)
{
    if ((*file)[0] != '\0' && (*variable)[0] != '\0')
        FAIL(c, variable, "give %s_file or %s_env, not both", name, name);
    if ((*file)[0] != '\0')
        check_file(c, "the password file", file, "put it there, or mend the path");
}

static bool has_password(const char *uri)
{
    const char *at = strchr(uri, '@'), *user = strstr(uri, "://"), *colon;

    if (at == NULL || user == NULL)
        return strstr(uri, "password=") != NULL;
    colon = strchr(user + 3, ':');
    return strstr(uri, "password=") != NULL || (colon != NULL && colon < at);
}

static void check_state(const struct check *c)
{
    const struct config_state *state = &c->config->state;
    struct stat info;

    check_secret(c, &state->postgres_password_file, &state->postgres_password_env,
                 "postgres_password");
    check_secret(c, &state->redis_password_file, &state->redis_password_env, "redis_password");
    if (state->postgres[0] != '\0' && state->database[0] != '\0')
        FAIL(c, &state->postgres, "give database or postgres, not both");
    if (state->postgres[0] != '\0' && !begins_with(state->postgres, "postgresql://") &&
        !begins_with(state->postgres, "postgres://"))
        FAIL(c, &state->postgres, "'%s' is no URI; write postgresql://USER@HOST:PORT/NAME",
             state->postgres);
    else if (has_password(state->postgres))
        FAIL(c, &state->postgres,
             "the URI has a password in it: give postgres_password_file or postgres_password_env");
    if (state->redis[0] != '\0' && !begins_with(state->redis, "redis://") &&
        !begins_with(state->redis, "unix:/"))
        FAIL(c, &state->redis, "'%s' is no address; write redis://HOST:PORT or unix:/path",
             state->redis);
    else if (has_password(state->redis))
        FAIL(c, &state->redis,
             "the address has a password in it: give redis_password_file or redis_password_env");
    if (state->spool[0] == '\0')
        return;
    if (state->postgres[0] == '\0')
        FAIL(c, &state->spool, "spool is for what postgres has not taken; set postgres too");
    else if (!c->is_elsewhere && (stat(state->spool, &info) != 0 || !S_ISDIR(info.st_mode) ||
                                  access(state->spool, W_OK | X_OK) != 0))
        FAIL(c, &state->spool, "%s is no folder that this user may write; make it", state->spool);
}

/* "host", "host:port": what a URL has between its scheme and its path. */
static bool is_authority(const char *text)
{
    char url[HTTP_URL_HOST_BYTES + 16];
    struct http_url parsed;

    return text[strcspn(text, "/?#@")] == '\0' &&
           snprintf(url, sizeof(url), "http://%s", text) < (int)sizeof(url) &&
           http_url_parse(url, &parsed, NULL) == STATUS_OK;
}

static void check_pool(const struct check *c)
{
    const struct config_pool *pool = &c->config->pool;

    if (pool->listen[0] == '\0') {
        if (pool->advertise[0] != '\0')
            FAIL(c, &pool->advertise, "advertise needs listen: nobody would answer there");
        return;
    }
    check_address(c, &pool->listen);
    if (begins_with(pool->listen, "unix:"))
        FAIL(c, &pool->listen, "other machines reach no Unix socket; write it like 0.0.0.0:8082");
    if (pool->advertise[0] != '\0' && !is_authority(pool->advertise))
        FAIL(c, &pool->advertise, "'%s' is no host with a port; write it like gateway.example:8082",
             pool->advertise);
    if (pool->advertise[0] == '\0' &&
        (begins_with(pool->listen, "0.0.0.0:") || begins_with(pool->listen, "[::]:")))
        FAIL(c, &pool->listen,
             "%s names no host by which other machines reach it; give advertise too", pool->listen);
}

void config_check(const struct config *config, settings_document *document, bool is_elsewhere,
                  struct settings_report *report)
{
    const struct check c = {config, document, report, is_elsewhere};

    check_server(&c);
    check_pool(&c);
    config_pool_check(config, document, report);
    config_tracing_check(config, document, report);
    check_keys(&c);
    check_issuers(&c);
    check_limits(&c);
    check_budgets(&c);
    check_records(&c);
    check_state(&c);
    if (config->auth.admin && !config_asks_for_keys(config))
        FAIL(&c, &config->auth.admin,
             "auth.admin asks for a key, but there are none; add one with the scope admin to "
             "auth.keys, or set state.database or state.postgres");
    for (uint32_t i = 0; i < config->models.count; i++)
        check_model(&c, i);
    if (config->models.count == 0 && report->error_count == 0)
        config_check_fail(report,
                          "no model is served; add at least one under models:, with name and path");
    if (config->supervise.backoff_first_ns > config->supervise.backoff_max_ns)
        FAIL(&c, &config->supervise.backoff_first_ns,
             "backoff_first must not be longer than backoff_max");
    if (config->limits.body_bytes > config->limits.buffered_bytes)
        FAIL(&c, &config->limits.body_bytes,
             "body_size must not be larger than body_memory, which holds the bodies of all "
             "requests");
}
