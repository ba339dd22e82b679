#include "unit_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "config.h"
#include "listen_address.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char folder[] = "/tmp/penstock_config_test_XXXXXX";

static const char *path_in_folder(const char *name)
{
    static char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    int fd = open(path_in_folder(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    write_file("model.gguf", "not read by the config");
    write_file("cert.pem", "not read by the config");
    if (mkdir(path_in_folder("voice"), 0700) != 0)
        return -1;
    write_file("voice/adapter_config.json", "not read by the config");
    write_file("voice/adapter_model.safetensors", "not read by the config");
    return mkdir(path_in_folder("sub"), 0700);
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path_in_folder("model.gguf"));
    (void)unlink(path_in_folder("cert.pem"));
    (void)unlink(path_in_folder("config.yaml"));
    (void)rmdir(path_in_folder("sub"));
    (void)unlink(path_in_folder("voice/adapter_config.json"));
    (void)unlink(path_in_folder("voice/adapter_model.safetensors"));
    (void)rmdir(path_in_folder("voice"));
    return rmdir(folder);
}

static status load(const char *text, const struct config_overrides *overrides, struct config **out,
                   struct settings_report *report)
{
    write_file("config.yaml", text);
    return config_load(path_in_folder("config.yaml"), overrides, out, report);
}

static void a_minimal_config_gets_every_default(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    const struct config_model *model;

    (void)state;
    assert_int_equal(load("models:\n  - name: m\n    path: model.gguf\n", NULL, &config, &report),
                     STATUS_OK);
    model = config_model_at(config, 0);
    assert_string_equal(config->server.listen, "127.0.0.1:8080");
    assert_string_equal(config->server.admin_listen, "127.0.0.1:8081");
    assert_string_equal(config->server.run_directory, "");
    assert_int_equal(config->upstream.retries, 2);
    assert_int_equal(config->auth.keys.count, 0);
    assert_int_equal(model->replicas, 1);
    assert_true(model->enable_prefix_caching);
    assert_string_equal(model->path, path_in_folder("model.gguf"));
    assert_int_equal(config_http_limits(config).body_bytes_max, 8u << 20);
    assert_int_equal(config_http_limits(config).keepalive_comment_ns, 15000000000ull);
    config_destroy(config);
}

static void names_and_aliases_find_their_model(void **state)
{
    struct settings_report report;
    struct config *config = NULL;

    (void)state;
    assert_int_equal(load("models:\n  - {name: m, path: model.gguf}\n"
                          "  - {name: o, path: model.gguf, aliases: [x, org/y]}\n",
                          NULL, &config, &report),
                     STATUS_OK);
    assert_int_equal(config_model_find(config, text_slice_of("m")), 0);
    assert_int_equal(config_model_find(config, text_slice_of("org/y")), 1);
    assert_int_equal(config_model_find(config, text_slice_of("org/")), -1);
    assert_int_equal(config_adapters_max(config_model_at(config, 0)), 0);
    config_destroy(config);
}

static void adapters_are_names_of_their_model(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    const struct config_model *model;

    (void)state;
    assert_int_equal(load("models:\n  - {name: m, path: model.gguf}\n"
                          "  - name: o\n    path: model.gguf\n    adapters:\n"
                          "      - {name: x, path: voice}\n      - {name: y, path: voice}\n",
                          NULL, &config, &report),
                     STATUS_OK);
    model = config_model_at(config, 1);
    assert_int_equal(config_model_find(config, text_slice_of("y")), 1);
    assert_null(config_adapter_find(model, text_slice_of("o")));
    assert_string_equal(config_adapter_find(model, text_slice_of("x"))->path,
                        path_in_folder("voice"));
    assert_int_equal(config_adapters_max(model), 2);
    config_destroy(config);
}

static void adapters_of_clients_stand_beside_those_of_the_file(void **state)
{
    static const struct config_runtime_adapter loaded[] = {
        {"m", "late", "/late"}, {"gone", "other", "/other"}, {"m", "x", "/taken"}};
    static const char text[] = "models:\n  - name: m\n    path: model.gguf\n    adapters:\n"
                               "      - {name: x, path: voice}\n";
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    struct settings_report report;
    struct config *config = NULL;

    (void)state;
    overrides.adapters = loaded;
    overrides.adapter_count = 2;
    assert_int_equal(load(text, &overrides, &config, &report), STATUS_OK);
    assert_int_equal(config_model_at(config, 0)->adapters.count, 2);
    assert_int_equal(config_model_find(config, text_slice_of("late")), 0);
    assert_int_equal(config_model_find(config, text_slice_of("x")), 0);
    assert_int_equal(config_model_find(config, text_slice_of("other")), -1);
    config_destroy(config);
    overrides.adapter_count = 3;
    assert_int_equal(load(text, &overrides, &config, &report), STATUS_INVALID);
    assert_non_null(strstr(report.errors[0].text, "'x' has been loaded at run time"));
}

static void the_command_line_overrides_ports_and_path(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;

    (void)state;
    overrides.model_path = "/dev/../etc/passwd";
    overrides.port = 9;
    overrides.admin_port = 0;
    assert_int_equal(
        load("server: {admin_listen: '[::1]:7'}\nmodels:\n  - {name: m, path: nowhere}\n",
             &overrides, &config, &report),
        STATUS_OK);
    assert_string_equal(config->server.listen, "127.0.0.1:9");
    assert_string_equal(config->server.admin_listen, "[::1]:0");
    assert_string_equal(config_model_at(config, 0)->path, "/dev/../etc/passwd");
    config_destroy(config);
}

static void a_copy_of_the_text_is_read_as_though_it_stood_in_the_file(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    char copy[256];

    (void)state;
    write_file("config.yaml", "models:\n  - {name: m, path: model.gguf}\n");
    (void)snprintf(copy, sizeof(copy), "%s/config.yaml", folder);
    overrides.text_file = copy;
    assert_int_equal(config_load(path_in_folder("gone.yaml"), &overrides, &config, &report),
                     STATUS_OK);
    assert_string_equal(config_model_at(config, 0)->path, path_in_folder("model.gguf"));
    config_destroy(config);
}

static void a_models_settings_for_replicas_may_come_from_another_text(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    char copy[256];
    struct config_version_text versions[] = {{"m", copy}, {"not there", copy}};

    (void)state;
    write_file("old.yaml",
               "models:\n  - {name: m, path: model.gguf, max_num_seqs: 3, aliases: [z], "
               "speculative_config: {method: ngram}}\n");
    (void)snprintf(copy, sizeof(copy), "%s", path_in_folder("old.yaml"));
    overrides.versions = versions;
    overrides.version_count = 2;
    assert_int_equal(load("models:\n  - {name: n, path: model.gguf, max_num_seqs: 9}\n"
                          "  - {name: m, path: gone.gguf, aliases: [y], idle_timeout: 7s}\n",
                          &overrides, &config, &report),
                     STATUS_OK);
    const struct config_model *model = config_model_at(config, 1);
    assert_string_equal(model->path, path_in_folder("model.gguf"));
    assert_int_equal(model->max_num_seqs, 3);
    assert_int_equal(model->speculative.method, SPECULATIVE_NGRAM);
    assert_int_equal(config_model_find(config, text_slice_of("y")), 1);
    assert_int_equal(config_model_find(config, text_slice_of("z")), -1);
    assert_true(model->idle_timeout_ns == 7ull * NS_PER_SECOND);
    assert_int_equal(config_model_at(config, 0)->max_num_seqs, 9);
    config_destroy(config);
    write_file("old.yaml", "models: 3\n");
    assert_int_equal(
        load("models:\n  - {name: m, path: model.gguf}\n", &overrides, &config, &report),
        STATUS_INVALID);
    (void)unlink(copy);
    assert_int_equal(
        load("models:\n  - {name: m, path: model.gguf}\n", &overrides, &config, &report),
        STATUS_IO);
    assert_non_null(strstr(report.errors[0].text, "old.yaml"));
}

#define MEMBER                                                                                     \
    "{name: a, kind: slurm, slurm: {url: 'http://127.0.0.1:1', user: u, partition: p, "            \
    "key_file: /k, working_directory: /}}"

static void files_of_another_machine_are_not_looked_for(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    struct config_overrides overrides = CONFIG_OVERRIDES_NONE;
    static const char text[] =
        "server: {run_directory: /there, tls_certificate: there.pem, tls_key: there.key}\n"
        "pool: {listen: '0.0.0.0:8082', advertise: 'gateway.example:443'}\n"
        "models:\n  - {name: m, path: there.gguf, adapters: [{name: a, path: there}]}\n";

    (void)state;
    assert_int_equal(load(text, &overrides, &config, &report), STATUS_INVALID);
    overrides.is_elsewhere = true;
    assert_int_equal(load(text, &overrides, &config, &report), STATUS_OK);
    assert_string_equal(config_model_at(config, 0)->path, path_in_folder("there.gguf"));
    assert_string_equal(config->pool.advertise, "gateway.example:443");
    config_destroy(config);
    /* A gateway whose replicas all run on other machines has its own files here, but no weights. */
    assert_int_equal(load("pool: {listen: '127.0.0.1:8082', members: [" MEMBER "]}\n"
                          "models: [{name: m, path: there.gguf}]\n",
                          NULL, &config, &report),
                     STATUS_OK);
    assert_false(config_weights_are_here(config));
    config_destroy(config);
    assert_int_equal(load("pool: {listen: '127.0.0.1:8082', members: [" MEMBER
                          ", {name: b, kind: local}]}\n"
                          "models: [{name: m, path: there.gguf}]\n",
                          NULL, &config, &report),
                     STATUS_INVALID);
}

static void secrets_are_not_in_the_json(void **state)
{
    struct settings_report report;
    struct config *config = NULL;
    struct buffer out;

    (void)state;
    assert_int_equal(load("auth:\n  keys:\n    - {name: team, sha256: " HASH_A "}\n"
                          "models:\n  - {name: m, path: model.gguf, aliases: [z]}\n",
                          NULL, &config, &report),
                     STATUS_OK);
    buffer_init(&out, 1u << 20);
    config_write_json(config, &out);
    assert_int_equal(out.failed, STATUS_OK);
    assert_null(strstr(out.data, "aaaa"));
    assert_non_null(strstr(out.data, "\"name\":\"team\""));
    assert_non_null(strstr(out.data, "\"aliases\":[\"z\"]"));
    assert_non_null(strstr(out.data, "\"drain_timeout\":\"30000ms\""));
    buffer_deinit(&out);
    config_destroy(config);
}

#define MODELS "models:\n  - name: m\n    path: model.gguf\n"

/* What is broken, where the error must point, and a piece of the remedy. */
static const struct broken {
    const char *name, *text;
    uint32_t line, column;
    const char *remedy;
} broken_configs[] = {
    {"unknown section", "severs: {}\n" MODELS, 1, 1, "did you mean \"server\""},
    {"unknown key", "server:\n  listn: x\n" MODELS, 2, 3, "did you mean \"listen\""},
    {"key in the wrong section", "max_num_seqs: 4\n" MODELS, 1, 1, "belongs under \"models\""},
    {"key twice", "log: {level: info}\nlog: {level: info}\n" MODELS, 2, 1, "remove one"},
    {"number out of range", MODELS "    max_num_seqs: 0\n", 4, 19, "between 1 and 4096"},
    {"text for a number", MODELS "    replicas: many\n", 4, 15, "replicas"},
    {"duration without unit", "server:\n  drain_timeout: 30\n" MODELS, 2, 18, "s"},
    {"unit that is none", "limits:\n  body_size: 8 bananas\n" MODELS, 2, 14, "MiB"},
    {"word that is none", "log:\n  level: infos\n" MODELS, 2, 10, "did you mean \"info\""},
    {"yes for a bool", MODELS "    enable_prefix_caching: perhaps\n", 4, 28, "true"},
    {"no models", "server: {}\n", 1, 1, "models is missing"},
    {"empty model list", "models: []\n", 1, 9, "between 1 and 64"},
    {"model without a path", "models:\n  - name: m\n", 2, 11, "needs one of path"},
    {"model with two homes",
     "models:\n  - {name: m, path: model.gguf, upstream: {url: 'http://h'}}\n", 2, 12,
     "not several"},
    {"upstream's URL", "models:\n  - {name: m, upstream: {url: 'ftp://h'}}\n", 2, 31,
     "no http or https"},
    {"key in a URL", "models:\n  - {name: m, upstream: {url: 'https://u:sk-secret@h'}}\n", 2, 31,
     "api_key_file"},
    {"version that is none",
     "models:\n  - {name: m, path: model.gguf}\n  - {name: c, versions: [{model: n}]}\n", 3, 34,
     "no model of this file"},
    {"versions of versions",
     "models:\n  - {name: m, path: model.gguf}\n  - {name: c, versions: [{model: m}]}\n"
     "  - {name: d, versions: [{model: c}]}\n",
     4, 34, "has versions itself"},
    {"versions without weight",
     "models:\n  - {name: m, path: model.gguf}\n  - {name: c, versions: [{model: m, weight: 0}]}\n",
     3, 45, "weight 0"},
    {"fallback to itself", "models:\n  - {name: m, path: model.gguf, fallbacks: [m]}\n", 2, 0,
     "the model itself"},
    {"fallback on a word that is none",
     "models:\n  - {name: m, path: model.gguf, fallback_on: [sometimes]}\n", 2, 0,
     "context_length"},
    {"model file is not there", "models:\n  - name: m\n    path: modle.gguf\n", 3, 11,
     "tools/serve fetches"},
    {"model is a folder without a configuration", "models:\n  - name: m\n    path: sub\n", 3, 11,
     "has no config.json"},
    {"two models of one name", MODELS "  - name: m\n    path: model.gguf\n", 4, 11, "must differ"},
    {"alias that is a name", MODELS "    aliases: [k, m]\n", 4, 18, "already taken by model 'm'"},
    {"alias twice", MODELS "    aliases: [k, k]\n", 4, 18, "every name and alias"},
    {"adapter of a model's name", MODELS "    adapters:\n      - {name: m, path: voice}\n", 5, 16,
     "already taken by model 'm'"},
    {"adapter without its files", MODELS "    adapters:\n      - {name: x, path: sub}\n", 5, 25,
     "has no adapter_config.json"},
    {"more adapters than there may be",
     MODELS "    max_loras: 1\n    adapters:\n      - {name: x, path: voice}\n"
            "      - {name: y, path: voice}\n",
     4, 16, "at least the number of adapters (2)"},
    {"adapters at run time, but none", MODELS "    allow_runtime_lora_updating: true\n", 4, 34,
     "needs max_loras"},
    {"name with a blank", "models:\n  - name: my model\n    path: model.gguf\n", 2, 11,
     "letters, digits"},
    {"backend that is none", MODELS "    backend: avx512-vnnl\n", 4, 14,
     "did you mean 'avx512-vnni'"},
    {"tool parser that is none", MODELS "    tool_parser: qwen3-coder\n", 4, 18,
     "tool_parser 'qwen3-coder' is not one of auto, none, hermes, qwen3_coder, llama3_json, "
     "pythonic, mistral, deepseek_v3, openai, granite, phi4_mini_json, gemma, kimi_k2, glm45; did "
     "you mean 'qwen3_coder'?"},
    {"pooling that is none", MODELS "    pooling: median\n", 4, 14,
     "pooling 'median' is not one of auto, last, mean"},
    {"reasoning parser that is none", MODELS "    reasoning_parser: deepthought\n", 4, 23,
     "reasoning_parser 'deepthought' is not one of auto, none, think, mistral, openai_gptoss"},
    {"cache type that is none", MODELS "    kv_cache_dtype: fp4\n", 4, 21,
     "kv_cache_dtype 'fp4' is not one of auto, f16, int8, fp8; did you mean 'fp8'?"},
    {"cache type that the backend has not", MODELS "    backend: avx2\n    kv_cache_dtype: fp8\n",
     5, 21, "fp8 is for CUDA devices, not for backend 'avx2'; int8 takes nearly as little memory"},
    {"host memory below a cache that lies there itself",
     MODELS "    backend: avx2\n    kv_host_memory: 1GiB\n", 5, 21, "raise kv_cache_memory"},
    {"host memory without a prefix cache",
     MODELS "    kv_host_memory: 1GiB\n    enable_prefix_caching: false\n", 4, 21,
     "set enable_prefix_caching"},
    {"ranks and adapters", MODELS "    tensor_parallel: 3\n    max_loras: 2\n", 4, 22,
     "a model of 3 ranks takes no LoRA adapters"},
    {"fewer threads than ranks", MODELS "    tensor_parallel: 4\n    threads: 2\n", 4, 22,
     "4 ranks need a thread each, but threads is 2"},
    {"ranks and a gang of processes", MODELS "    tensor_parallel: 2\n    placement: {parts: 2}\n",
     4, 22,
     "all 2 ranks are in one process, but placement.parts asks for a process on each of 2 slices"},
    {"batch smaller than its rows", MODELS "    max_num_seqs: 64\n    max_num_batched_tokens: 32\n",
     5, 29, "at least max_num_seqs (64)"},
    {"a shortest lookup above the longest",
     MODELS "    speculative_config:\n      prompt_lookup_min: 5\n", 5, 26,
     "at most prompt_lookup_max (4)"},
    {"a way to draft that is none", MODELS "    speculative_config: {method: medusa}\n", 4, 34,
     "ngram"},
    {"certificate without key", "server:\n  tls_certificate: cert.pem\n" MODELS, 2, 20,
     "set both or neither"},
    {"key without certificate", "server:\n  tls_key: cert.pem\n" MODELS, 2, 12,
     "set both or neither"},
    {"certificate that is not there",
     "server:\n  tls_certificate: no.pem\n  tls_key: cert.pem\n" MODELS, 2, 20,
     "path of a PEM file"},
    {"pool that no other machine reaches", "pool: {listen: '0.0.0.0:8082'}\n" MODELS, 1, 16,
     "give advertise too"},
    {"pool on a Unix socket", "pool: {listen: 'unix:/pool'}\n" MODELS, 1, 16, "0.0.0.0:8082"},
    {"address for nobody", "pool: {advertise: 'h:1'}\n" MODELS, 1, 19, "needs listen"},
    {"address that is a URL", "pool: {listen: '0.0.0.0:8082', advertise: 'https://h:1'}\n" MODELS,
     1, 43, "gateway.example:8082"},
    {"port missing", "server:\n  listen: 127.0.0.1\n" MODELS, 2, 11, "like 127.0.0.1:8080"},
    {"port too large", "server:\n  listen: 127.0.0.1:70000\n" MODELS, 2, 11, "0 to 65535"},
    {"host name for an address", "server:\n  listen: localhost:80\n" MODELS, 2, 11,
     "no numeric address"},
    {"host missing", "server:\n  listen: ':80'\n" MODELS, 2, 11, "0.0.0.0:80 for every interface"},
    {"relative socket", "server:\n  listen: unix:x\n" MODELS, 2, 11, "absolute path"},
    {"one address for both", "server:\n  listen: 127.0.0.1:8081\n" MODELS, 2, 0,
     "choose another port"},
    {"run folder that is none", "server:\n  run_directory: /nowhere\n" MODELS, 2, 18, "make it"},
    {"key instead of its hash", "auth:\n  keys:\n    - {name: a, sha256: sk-secret}\n" MODELS, 3,
     25, "penstock hash-key"},
    {"key names twice",
     "auth:\n  keys:\n    - {name: a, sha256: " HASH_A "}\n    - {name: a, sha256: " HASH_B
     "}\n" MODELS,
     4, 14, "its own name"},
    {"one key twice",
     "auth:\n  keys:\n    - {name: a, sha256: " HASH_A "}\n    - {name: b, sha256: " HASH_A
     "}\n" MODELS,
     4, 25, "remove one"},
    {"back-off upside down", "supervise:\n  backoff_first: 1h\n" MODELS, 2, 18,
     "longer than backoff_max"},
    {"body larger than all bodies", "limits:\n  body_size: 512MiB\n" MODELS, 2, 14, "body_memory"},
    {"a share of nothing", "tenants:\n  limits:\n    - {kv_share: 0.001}\n" MODELS, 3, 18,
     "give it 0.0"},
    {"a share of more than all", "tenants:\n  limits:\n    - {kv_share: 1.5}\n" MODELS, 3, 18, "1"},
    {"not YAML", "models: [\n", 2, 1, ""},
    {"anchor", "models: &a\n  - {name: m, path: model.gguf}\n", 1, 9, "anchors are not supported"},
};

static void every_mistake_is_told_with_its_place_and_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(broken_configs); i++) {
        const struct broken *broken = &broken_configs[i];
        struct settings_report report;
        struct config *config = NULL;
        const struct settings_error *error = &report.errors[0];

        if (load(broken->text, NULL, &config, &report) != STATUS_INVALID || report.error_count != 1)
            fail_msg("%s: %u errors: %s", broken->name, report.error_count, error->text);
        if (strstr(error->text, broken->remedy) == NULL || strstr(error->text, "sk-secret") != NULL)
            fail_msg("%s: remedy is: %s", broken->name, error->text);
        if (broken->column > 0 && (error->line != broken->line || error->column != broken->column))
            fail_msg("%s: place is %u:%u", broken->name, error->line, error->column);
    }
}

static void all_mistakes_of_a_file_are_told_at_once(void **state)
{
    struct settings_report report;
    struct config *config = NULL;

    (void)state;
    assert_int_equal(load("server: {listen: a, tls_key: b}\nmodels:\n  - {name: '', path: c}\n",
                          NULL, &config, &report),
                     STATUS_INVALID);
    assert_int_equal(report.error_count, 5);
    assert_string_equal(report.file, path_in_folder("config.yaml")); /* outlives the config */
}

static void a_file_that_is_not_there_is_an_io_error_with_its_reason(void **state)
{
    struct settings_report report;
    struct config *config = NULL;

    (void)state;
    assert_int_equal(config_load("/nowhere/config.yaml", NULL, &config, &report), STATUS_IO);
    assert_non_null(strstr(report.errors[0].text, "No such file"));
    assert_int_equal(config_load(folder, NULL, &config, &report), STATUS_IO);
    assert_non_null(strstr(report.errors[0].text, "directory"));
}

static void addresses_know_who_can_reach_them(void **state)
{
    (void)state;
    assert_true(listen_address_is_local("127.1.2.3:80"));
    assert_true(listen_address_is_local("[::1]:80"));
    assert_true(listen_address_is_local("unix:/x"));
    assert_false(listen_address_is_local("0.0.0.0:80"));
    assert_false(listen_address_is_local("[::]:80"));
    assert_int_equal(listen_address_check("[::1:80", NULL), STATUS_INVALID);
    assert_int_equal(listen_address_check("127.0.0.1:", NULL), STATUS_INVALID);
    assert_int_equal(listen_address_check("0.0.0.0:65535", NULL), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minimal_config_gets_every_default),
        cmocka_unit_test(names_and_aliases_find_their_model),
        cmocka_unit_test(adapters_are_names_of_their_model),
        cmocka_unit_test(adapters_of_clients_stand_beside_those_of_the_file),
        cmocka_unit_test(the_command_line_overrides_ports_and_path),
        cmocka_unit_test(a_copy_of_the_text_is_read_as_though_it_stood_in_the_file),
        cmocka_unit_test(a_models_settings_for_replicas_may_come_from_another_text),
        cmocka_unit_test(files_of_another_machine_are_not_looked_for),
        cmocka_unit_test(secrets_are_not_in_the_json),
        cmocka_unit_test(every_mistake_is_told_with_its_place_and_remedy),
        cmocka_unit_test(all_mistakes_of_a_file_are_told_at_once),
        cmocka_unit_test(a_file_that_is_not_there_is_an_io_error_with_its_reason),
        cmocka_unit_test(addresses_know_who_can_reach_them),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
