/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "fail_nth.h"
#include "settings.h"

struct model {
    const char *name;
    const char *path;
    int64_t threads;
    struct setting_list aliases;
};

struct limits {
    uint64_t body_bytes, idle_ns;
    double share;
};

struct server {
    const char *listen;
    bool strict;
    int level;
    struct limits limits;
};

struct config {
    struct server server;
    struct setting_list models;
    struct setting_list tags;
};

static const char *const levels[] = {"error", "warn", "info", NULL};

// clang-format off
static const struct setting limits_table[] = {
    {.key = "body_size", .kind = SETTING_BYTES, .offset = offsetof(struct limits, body_bytes), .fallback = "8MiB",
     .min = 1024, .max = 1073741824, .reload = RELOAD_LIVE, .help = "Largest body."},
    {.key = "idle_timeout", .kind = SETTING_DURATION, .offset = offsetof(struct limits, idle_ns), .fallback = "75s",
     .min = 1e8, .max = 3600e9, .reload = RELOAD_LIVE, .help = "Closed after."},
    {.key = "share", .kind = SETTING_FLOAT, .offset = offsetof(struct limits, share), .fallback = "0.5", .min = 0,
     .max = 1, .reload = RELOAD_RESTART, .help = "Share of the memory."},
    {0}};

static const struct setting server_table[] = {
    {.key = "listen", .kind = SETTING_TEXT, .offset = offsetof(struct server, listen), .fallback = "127.0.0.1:8080",
     .reload = RELOAD_RESTART, .help = "Address.", .danger = "0.0.0.0 opens it to the network."},
    {.key = "strict", .kind = SETTING_BOOL, .offset = offsetof(struct server, strict), .fallback = "false",
     .reload = RELOAD_RESTART, .help = "Refuse more."},
    {.key = "level", .kind = SETTING_ENUM, .offset = offsetof(struct server, level), .fallback = "info", .words = levels,
     .reload = RELOAD_LIVE, .help = "Log level."},
    {.key = "limits", .kind = SETTING_SECTION, .offset = offsetof(struct server, limits), .table = limits_table,
     .help = "Limits."},
    {0}};

static const struct setting model_table[] = {
    {.key = "name", .kind = SETTING_TEXT, .offset = offsetof(struct model, name), .reload = RELOAD_RESTART,
     .help = "Served name."},
    {.key = "path", .kind = SETTING_PATH, .offset = offsetof(struct model, path), .fallback = "", .reload = RELOAD_RESTART,
     .help = "File."},
    {.key = "threads", .kind = SETTING_INT, .offset = offsetof(struct model, threads), .fallback = "2", .min = 1, .max = 64,
     .unit = "threads", .reload = RELOAD_RESTART, .help = "Compute threads."},
    {.key = "aliases", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct model, aliases), .max = 3,
     .reload = RELOAD_LIVE, .help = "Other names."},
    {0}};

static const struct setting table[] = {
    {.key = "server", .kind = SETTING_SECTION, .offset = offsetof(struct config, server), .table = server_table,
     .help = "The server."},
    {.key = "models", .kind = SETTING_LIST, .offset = offsetof(struct config, models), .table = model_table,
     .item_bytes = sizeof(struct model), .min = 1, .max = 2, .reload = RELOAD_RESTART, .help = "The models."},
    {.key = "tags", .kind = SETTING_TEXT_LIST, .offset = offsetof(struct config, tags), .fallback = "[a, \"b c\"]",
     .reload = RELOAD_LIVE, .help = "Tags."},
    {0}};
// clang-format on

struct reading {
    struct config config;
    arena *memory;
    struct settings_report report;
    settings_document *document;
    status result;
};

static void read_text(struct reading *reading, const char *text)
{
    *reading = (struct reading){0};
    assert_int_equal(arena_create(1 << 20, &reading->memory), STATUS_OK);
    reading->result =
        settings_read_text(text_slice_of(text), "etc/test.yaml", table, &reading->config,
                           reading->memory, &reading->report, &reading->document);
}

static void done(struct reading *reading)
{
    arena_destroy(reading->memory);
}

#define MINIMAL "models: [{name: m}]\n"

static void a_minimal_text_gives_the_defaults(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, MINIMAL);
    assert_int_equal(r.result, STATUS_OK);
    assert_string_equal(r.config.server.listen, "127.0.0.1:8080");
    assert_false(r.config.server.strict);
    assert_int_equal(r.config.server.level, 2);
    assert_int_equal(r.config.server.limits.body_bytes, 8u << 20);
    assert_int_equal(r.config.server.limits.idle_ns, 75000000000ull);
    assert_true(r.config.server.limits.share == 0.5);
    assert_int_equal(r.config.models.count, 1);
    const struct model *model = r.config.models.items;
    assert_string_equal(model->name, "m");
    assert_string_equal(model->path, "");
    assert_int_equal(model->threads, 2);
    assert_int_equal(model->aliases.count, 0);
    const char *const *tags = r.config.tags.items;
    assert_int_equal(r.config.tags.count, 2);
    assert_string_equal(tags[0], "a");
    assert_string_equal(tags[1], "b c");
    done(&r);
}

static void every_kind_is_read(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/home/someone", 1), 0);
    struct reading r;
    read_text(&r, "# comment\n"
                  "server:\n"
                  "  listen: \"[::1]:80\"\n"
                  "  strict: true\n"
                  "  level: error\n"
                  "  limits:\n"
                  "    body_size: 1.5KiB\n"
                  "    idle_timeout: 250ms\n"
                  "    share: 1e-1\n"
                  "models:\n"
                  "  - name: yes\n"
                  "    path: ~/models/a.gguf\n"
                  "    threads: 64\n"
                  "    aliases: [x, 'y z', 1.5]\n"
                  "  - {name: '', path: models/b.gguf, aliases: \"one text\"}\n"
                  "tags: []\n");
    assert_int_equal(r.result, STATUS_OK);
    const struct model *models = r.config.models.items;
    assert_string_equal(r.config.server.listen, "[::1]:80");
    assert_true(r.config.server.strict);
    assert_int_equal(r.config.server.level, 0);
    assert_int_equal(r.config.server.limits.body_bytes, 1536);
    assert_int_equal(r.config.server.limits.idle_ns, 250000000);
    assert_true(r.config.server.limits.share == 0.1);
    assert_string_equal(models[0].name, "yes"); /* a text stays the text */
    assert_string_equal(models[0].path, "/home/someone/models/a.gguf");
    assert_int_equal(models[0].threads, 64);
    assert_int_equal(models[0].aliases.count, 3);
    assert_string_equal(((const char *const *)models[0].aliases.items)[2], "1.5");
    assert_string_equal(models[1].name, "");
    assert_int_equal(models[1].aliases.count, 1);
    assert_string_equal(((const char *const *)models[1].aliases.items)[0], "one text");
    assert_string_equal(models[1].path, "etc/models/b.gguf"); /* from the config's folder */
    assert_int_equal(r.config.tags.count, 0);
    done(&r);
}

struct quantity {
    const char *text;
    uint64_t value; /* 0: refused */
};

static void sizes_and_durations_have_units(void **state)
{
    (void)state;
    static const struct quantity sizes[] = {
        {"4096", 4096},
        {"1024B", 1024},
        {"2KiB", 2048},
        {"2kB", 2000},
        {"2KB", 2000},
        {"1MB", 1000000},
        {"1 MiB", 1048576},
        {"1GiB", 1073741824},
        {"1GB", 1000000000},
        {"'64KiB'", 65536},
        {"1023", 0},
        {"1073741825", 0},
        {"2Kib", 0},
        {"2k", 0},
        {"-1", 0},
        {"1.KiB", 0},
        {"0x1000", 0},
        {"1e6", 0},
        {"99999999999999999999", 0},
        {"99999999TiB", 0},
        {"1.5e3KiB", 0},
        {"99999999999999999999.5TiB", 0},
    };
    static const struct quantity durations[] = {
        {"100ms", 100000000},
        {"1s", 1000000000},
        {"1.5s", 1500000000},
        {"2m", 120000000000ull},
        {"1h", 3600000000000ull},
        {"100000us", 100000000},
        {"100000000ns", 100000000},
        {"99ms", 0},
        {"2h", 0},
        {"1d", 0},
        {"30", 0},
        {"s", 0},
        {"1 minute", 0},
        {"-1s", 0},
        {"1s2", 0},
    };
    for (int kind = 0; kind < 2; kind++) {
        const struct quantity *rows = kind == 0 ? sizes : durations;
        size_t count = kind == 0 ? ARRAY_COUNT(sizes) : ARRAY_COUNT(durations);
        for (size_t i = 0; i < count; i++) {
            char text[200];
            struct reading r;
            (void)snprintf(text, sizeof text, MINIMAL "server: {limits: {%s: %s}}\n",
                           kind == 0 ? "body_size" : "idle_timeout", rows[i].text);
            read_text(&r, text);
            uint64_t value =
                kind == 0 ? r.config.server.limits.body_bytes : r.config.server.limits.idle_ns;
            if ((r.result == STATUS_OK) != (rows[i].value != 0) ||
                (r.result == STATUS_OK && value != rows[i].value))
                fail_msg("%s: %s, %llu", rows[i].text, status_name(r.result),
                         (unsigned long long)value);
            done(&r);
        }
    }
}

struct mistake {
    const char *text;
    uint32_t line, column;
    const char *message; /* a part of it */
};

static const struct mistake mistakes[] = {
    {"models: [{name: m}]\nsever: {}\n", 2, 1, "unknown key \"sever\"; did you mean \"server\"?"},
    {MINIMAL "server:\n  lisen: x\n", 3, 3,
     "unknown key \"lisen\" in server; did you mean \"listen\"?"},
    {MINIMAL "server:\n  LISTEN: x\n", 3, 3, "did you mean \"listen\"?"},
    {MINIMAL "server: {limits: {body-size: 1}}\n", 2, 19, "did you mean \"body_size\"?"},
    {MINIMAL "listen: x\n", 2, 1, "unknown key \"listen\"; it belongs under \"server\""},
    {MINIMAL "wholly_other: x\n", 2, 1, "known here: server, models, tags"},
    {MINIMAL "server:\n  strict: yes\n", 3, 11, "server.strict: \"yes\" is neither true nor false"},
    {MINIMAL "server:\n  strict: \"true\"\n", 3, 11, "server.strict: is a text: remove the quotes"},
    {MINIMAL "server: {level: wran}\n", 2, 17,
     "server.level: \"wran\" is none of error, warn, info; did you mean \"warn\"?"},
    {MINIMAL "server: {level: }\n", 2, 17, "server.level: has no value"},
    {MINIMAL "server: {limits: {share: 1.1}}\n", 2, 26,
     "server.limits.share: must be between 0 and 1"},
    {MINIMAL "server: {limits: {share: nan}}\n", 2, 26, "is no number"},
    {MINIMAL "server: {limits: {share: 0x1}}\n", 2, 26, "is no number"},
    {MINIMAL "server: {limits: {body_size: 2GiB}}\n", 2, 30, "must be between 1KiB and 1GiB"},
    {MINIMAL "server: {limits: {body_size: big}}\n", 2, 30,
     "is no size; write it like 4096, 64KiB"},
    {MINIMAL "server: {limits: {idle_timeout: 5}}\n", 2, 33,
     "\"5\" is no duration; write it like 250ms"},
    {MINIMAL "server: {limits: {idle_timeout: 2h}}\n", 2, 33, "must be between 100ms and 1h"},
    {"models:\n  - name: m\n    threads: 65\n", 3, 14,
     "models[0].threads: must be between 1 and 64 threads"},
    {"models:\n  - name: m\n    threads: 010\n", 3, 14, "\"010\" is no whole number"},
    {"models:\n  - name: m\n    threads: 2.0\n", 3, 14, "\"2.0\" is no whole number"},
    {"models:\n  - name: m\n    threads: 99999999999999999999\n", 3, 14,
     "must be between 1 and 64 threads"},
    {"models:\n  - name: m\n    threads: [2]\n", 3, 14, "one value expected, not a list"},
    {"models:\n  - name: {a: b}\n", 2, 11, "one value expected, not a section"},
    {"models:\n  - path: x\n", 2, 5, "models[0].name is missing: Served name."},
    {"models:\n  - m\n", 2, 5, "models[0]: a section of keys expected"},
    {"models: m\n", 1, 9, "models: a list expected"},
    {"models: []\n", 1, 9, "models: 0 items, must be between 1 and 2"},
    {"models: [{name: a}, {name: b}, {name: c}]\n", 1, 9, "models: 3 items"},
    {"models: [{name: a, aliases: [1, 2, 3, 4]}]\n", 1, 29,
     "models[0].aliases: 4 items, must be between 0 and 3"},
    {"server: {}\n", 1, 1, "models is missing: The models."},
    {"", 1, 1, "models is missing"},
    {"- a\n", 1, 1, "a section of keys expected"},
    {MINIMAL "server: text\n", 2, 9, "server: a section of keys expected"},
    {MINIMAL "tags: [a]\ntags: [b]\n", 3, 1, "key \"tags\" twice (first at line 2): remove one"},
    {MINIMAL "tags: &x [a]\n", 2, 7, "anchors are not supported"},
    {MINIMAL "tags: *x\n", 2, 7, "aliases are not supported"},
    {MINIMAL "tags: !!set [a]\n", 2, 7, "tags are not supported"},
    {MINIMAL "---\ntags: [b]\n", 2, 1, "a second document"},
    {MINIMAL "server: {listen: \"a\\0b\"}\n", 2, 18, "has a NUL character"},
    {MINIMAL "? [a]\n: b\n", 2, 3, "a key must be a plain word"},
    {MINIMAL "server:\n\tlisten: x\n", 3, 1, "found character that cannot start any token"},
    {MINIMAL "server: {listen: x\n", 3, 1, "did not find expected"},
    {"\xff\xfe", 0, 0, "the file must be UTF-8 text"},
};

static void each_mistake_is_named_with_its_place_and_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(mistakes); i++) {
        const struct mistake *m = &mistakes[i];
        struct reading r;
        read_text(&r, m->text);
        const struct settings_error *first = &r.report.errors[0];
        if (r.result != STATUS_INVALID || r.report.error_count == 0)
            fail_msg("row %zu was taken: %s", i, m->text);
        if (first->line != m->line || first->column != m->column ||
            strstr(first->text, m->message) == NULL)
            fail_msg("row %zu: %u:%u: %s", i, first->line, first->column, first->text);
        done(&r);
    }
}

static void all_mistakes_of_a_file_are_reported_up_to_the_limit(void **state)
{
    (void)state;
    struct reading r;
    read_text(
        &r,
        "sever: {}\nserver: {strict: 1, level: x, limits: {share: 2}}\nmodels: [{threads: 0}]\n");
    assert_int_equal(r.result, STATUS_INVALID);
    assert_int_equal(r.report.error_count, 6);
    struct buffer out;
    buffer_init(&out, 10000);
    settings_report_write(&r.report, &out);
    assert_non_null(strstr(out.data, "etc/test.yaml:1:1: error: unknown key \"sever\""));
    assert_non_null(strstr(out.data, "etc/test.yaml:2:18: error: server.strict:"));
    done(&r);
    buffer_clear(&out);
    for (int i = 0; i < 30; i++)
        buffer_append_format(&out, "nonsense%d: 1\n", i);
    read_text(&r, out.data);
    assert_int_equal(r.report.error_count, SETTINGS_ERROR_COUNT_MAX);
    buffer_clear(&out);
    settings_report_write(&r.report, &out);
    assert_non_null(strstr(out.data, "only the first 20 errors are shown"));
    done(&r);
    buffer_deinit(&out);
}

static void later_checks_point_at_the_value(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, "models:\n  - name: a\n  - name: b\n    threads: 3\nserver:\n  listen: here\n");
    assert_int_equal(r.result, STATUS_OK);
    static const uint32_t places[][2] = {{3, 11}, {4, 14}, {6, 11}, {2, 5}, {0, 0}};
    const struct model *models = r.config.models.items;
    settings_fail_at(r.document, &r.report, &models[1].name, "name %d", 1);
    settings_fail_at(r.document, &r.report, &models[1].threads, "threads");
    settings_fail_at(r.document, &r.report, &r.config.server.listen, "listen");
    settings_fail_at(r.document, &r.report, &models[0].path, "not in the file: its section");
    settings_fail_at(r.document, &r.report, &places, "unknown address");
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        assert_int_equal(r.report.errors[i].line, places[i][0]);
        assert_int_equal(r.report.errors[i].column, places[i][1]);
    }
    assert_string_equal(r.report.errors[0].text, "name 1");
    done(&r);
}

/* Reads a text made of a head, `count` times a piece, and a tail. */
static status read_repeated(const char *head, const char *piece, size_t count, const char *tail,
                            char *error_text)
{
    struct buffer text;
    struct reading r;
    buffer_init(&text, 4 << 20);
    buffer_append_text(&text, head);
    for (size_t i = 0; i < count; i++)
        buffer_append_format(&text, piece, (int)i);
    buffer_append_text(&text, tail);
    assert_int_equal(text.failed, STATUS_OK);
    read_text(&r, text.data);
    (void)snprintf(error_text, 512, "%s", r.report.errors[0].text);
    status result = r.result;
    done(&r);
    buffer_deinit(&text);
    return result;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void limits_of_the_file_hold(void **state)
{
    (void)state;
    char error[512];
    assert_int_equal(read_repeated(MINIMAL "tags: ", "[", 40, "\n", error), STATUS_INVALID);
    assert_non_null(strstr(error, "nesting deeper than 32"));
    assert_int_equal(read_repeated(MINIMAL "tags: [", "a, ", 4096, "]\n", error), STATUS_OK);
    assert_int_equal(read_repeated(MINIMAL "tags: [", "a, ", 4097, "]\n", error), STATUS_INVALID);
    assert_non_null(strstr(error, "4097 items"));
    assert_int_equal(read_repeated(MINIMAL "tags: [", "a, ", 30000, "]\n", error), STATUS_INVALID);
    assert_non_null(strstr(error, "more than 20000 values"));
    assert_int_equal(read_repeated(MINIMAL "server:\n", "  key%d: 1\n", 300, "", error),
                     STATUS_INVALID);
    assert_int_equal(read_repeated(MINIMAL, "#%060d\n", (1 << 20) / 62 + 1, "", error),
                     STATUS_INVALID);
    assert_non_null(strstr(error, "larger than 1048576 bytes"));
    assert_int_equal(read_repeated(MINIMAL "server: {listen: ", "%01000d", 1, "}\n", error),
                     STATUS_OK);
    assert_int_equal(read_repeated(MINIMAL "server: {level: ", "%01000d", 1, "}\n", error),
                     STATUS_INVALID);
    assert_string_equal(error, "server.level: is far too long");
}
#pragma GCC diagnostic pop

static void control_characters_do_not_reach_the_terminal(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, MINIMAL "\"\\e[31mred\\n\": 1\n");
    assert_int_equal(r.result, STATUS_INVALID);
    assert_non_null(strstr(r.report.errors[0].text, "\"?[31mred?\""));
    done(&r);
}

static void the_reference_reads_back_as_the_defaults(void **state)
{
    (void)state;
    struct buffer manual;
    struct reading r;
    buffer_init(&manual, 1 << 16);
    settings_write_reference(table, "The manual of a test.\n\nTwo paragraphs.", &manual);
    assert_int_equal(manual.failed, STATUS_OK);
    read_text(&r, manual.data);
    if (r.result != STATUS_OK)
        fail_msg("%u:%u: %s in\n%s", r.report.errors[0].line, r.report.errors[0].column,
                 r.report.errors[0].text, manual.data);
    assert_int_equal(r.config.server.limits.body_bytes, 8u << 20);
    assert_int_equal(r.config.models.count, 1);
    assert_non_null(strstr(manual.data, "# The manual of a test.\n#\n# Two paragraphs.\n"));
    assert_non_null(strstr(manual.data, "    #body_size: 8MiB\n"));
    assert_non_null(
        strstr(manual.data, "size between 1KiB and 1GiB; default 8MiB; takes effect on reload\n"));
    assert_non_null(strstr(manual.data, "# Danger: 0.0.0.0 opens it to the network.\n"));
    assert_non_null(strstr(manual.data, "  - name: example\n"));
    assert_non_null(
        strstr(manual.data, "whole number between 1 and 64 threads; default 2; needs a restart\n"));
    done(&r);
    buffer_deinit(&manual);
}

static void the_reference_works_with_every_comment_sign_removed(void **state)
{
    (void)state;
    struct buffer manual;
    struct reading r;
    buffer_init(&manual, 1 << 16);
    settings_write_reference(table, "x", &manual);
    /* "#key:" is a default, "# words" a comment. */
    for (size_t at = 0; at + 1 < manual.bytes; at++) {
        bool begins = at == 0 || manual.data[at - 1] == '\n' || manual.data[at - 1] == ' ';
        if (begins && manual.data[at] == '#' && manual.data[at + 1] >= 'a' &&
            manual.data[at + 1] <= 'z') {
            memmove(manual.data + at, manual.data + at + 1, manual.bytes - at);
            manual.bytes--;
        }
    }
    read_text(&r, manual.data);
    if (r.result != STATUS_OK)
        fail_msg("%u:%u: %s in\n%s", r.report.errors[0].line, r.report.errors[0].column,
                 r.report.errors[0].text, manual.data);
    done(&r);
    buffer_deinit(&manual);
}

static void remember_key(void *context, const char *key, const struct setting *row)
{
    buffer_append_format(context, "%s %s;", key, row->reload == RELOAD_LIVE ? "live" : "restart");
}

static void what_differs_is_named_with_its_reload_rule(void **state)
{
    (void)state;
    struct reading a;
    struct reading b;
    struct buffer changes;
    buffer_init(&changes, 1000);
    read_text(&a, "models: [{name: m, aliases: [x]}, {name: n}]\n");
    read_text(&b, "models: [{name: m, aliases: [y]}, {name: n, threads: 3, path: p}]\n"
                  "server: {listen: z, limits: {body_size: 1MiB, idle_timeout: 75000ms, share: "
                  "0.25}, strict: true, level: warn}\n");
    assert_int_equal(a.result, STATUS_OK);
    assert_int_equal(b.result, STATUS_OK);
    settings_compare(table, &a.config, &a.config, remember_key, &changes);
    assert_int_equal(changes.bytes, 0);
    settings_compare(table, &a.config, &b.config, remember_key, &changes);
    assert_string_equal(
        changes.data,
        "server.listen restart;server.strict restart;server.level live;"
        "server.limits.body_size live;server.limits.share restart;models[0].aliases live;"
        "models[1].path restart;models[1].threads restart;");
    done(&b);
    read_text(&b, "models: [{name: m, aliases: [x, y]}]\ntags: [a]\n");
    buffer_clear(&changes);
    settings_compare(table, &a.config, &b.config, remember_key, &changes);
    assert_string_equal(changes.data, "models restart;tags live;");
    done(&a);
    done(&b);
    buffer_deinit(&changes);
}

static void rows_of_one_reload_rule_can_be_taken_from_another_text(void **state)
{
    (void)state;
    struct reading a, b;
    struct buffer changes;
    buffer_init(&changes, 1000);
    read_text(&a, "models: [{name: m, aliases: [x]}]\n");
    read_text(&b, "models: [{name: m}]\ntags: [c]\nserver: {listen: z, strict: true, level: warn, "
                  "limits: {body_size: 1MiB, idle_timeout: 1s, share: 0.25}}\n");
    settings_take(table, RELOAD_LIVE, &b.config, &a.config);
    settings_compare(table, &b.config, &a.config, remember_key, &changes);
    assert_string_equal(changes.data, "server.listen restart;server.strict restart;"
                                      "server.limits.share restart;models[0].aliases live;");
    assert_int_equal(a.config.tags.count, 1);
    settings_take(table, RELOAD_RESTART, &b.config, &a.config);
    buffer_clear(&changes);
    settings_compare(table, &b.config, &a.config, remember_key, &changes);
    assert_int_equal(changes.bytes, 0);
    done(&a);
    done(&b);
    buffer_deinit(&changes);
}

static void files_are_read_and_their_absence_is_told(void **state)
{
    (void)state;
    char path[] = "/tmp/penstock-settings-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, MINIMAL, strlen(MINIMAL)), strlen(MINIMAL));
    close(fd);
    struct reading r = {0};
    assert_int_equal(arena_create(1 << 20, &r.memory), STATUS_OK);
    assert_int_equal(settings_read(path, table, &r.config, r.memory, &r.report, &r.document),
                     STATUS_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(settings_read(path, table, &r.config, r.memory, &r.report, NULL), STATUS_IO);
    struct buffer out;
    buffer_init(&out, 1000);
    settings_report_write(&r.report, &out);
    assert_non_null(strstr(out.data, ": error: cannot be read: No such file or directory\n"));
    assert_int_equal(settings_read("/tmp", table, &r.config, r.memory, &r.report, NULL), STATUS_IO);
    assert_non_null(strstr(r.report.errors[0].text, "Is a directory"));
    buffer_deinit(&out);
    done(&r);
}

static void memory_that_runs_out_is_a_status_and_leaks_nothing(void **state)
{
    (void)state;
    unsigned long n = 1;
    for (;; n++) {
        struct config config = {0};
        struct settings_report report;
        arena *memory = NULL;
        fail_nth_begin(n);
        status result = arena_create(1 << 20, &memory);
        if (result == STATUS_OK)
            result = settings_read_text(
                text_slice_of("models: [{name: m, path: x}]\nserver: {strict: yes}\n"), "x", table,
                &config, memory, &report, NULL);
        bool was_hit = fail_nth_end();
        arena_destroy(memory);
        if (!was_hit) {
            assert_int_equal(result, STATUS_INVALID); /* "yes" */
            break;
        }
        /* A message that found no memory is still an error at its place. */
        assert_true(result == STATUS_NO_MEMORY || result == STATUS_INVALID);
    }
    assert_true(n >= 4);
    struct config config = {0};
    struct settings_report report;
    arena *small = NULL;
    assert_int_equal(arena_create(100, &small), STATUS_OK);
    assert_int_equal(
        settings_read_text(text_slice_of(MINIMAL), "x", table, &config, small, &report, NULL),
        STATUS_NO_MEMORY);
    arena_destroy(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minimal_text_gives_the_defaults),
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(sizes_and_durations_have_units),
        cmocka_unit_test(each_mistake_is_named_with_its_place_and_remedy),
        cmocka_unit_test(all_mistakes_of_a_file_are_reported_up_to_the_limit),
        cmocka_unit_test(later_checks_point_at_the_value),
        cmocka_unit_test(limits_of_the_file_hold),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(the_reference_reads_back_as_the_defaults),
        cmocka_unit_test(the_reference_works_with_every_comment_sign_removed),
        cmocka_unit_test(what_differs_is_named_with_its_reload_rule),
        cmocka_unit_test(rows_of_one_reload_rule_can_be_taken_from_another_text),
        cmocka_unit_test(files_are_read_and_their_absence_is_told),
        cmocka_unit_test(memory_that_runs_out_is_a_status_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
