
#include "check.h"
#include "settings.h"

/* Any text as a config of a table that has every kind of setting. Whatever is read obeys the
 * table's ranges; whatever is refused says why. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct item {
    const char *name;
    int64_t count;
};

struct section {
    bool flag;
    double share;
    uint64_t size, delay;
};

struct target {
    const char *text, *path;
    int mode;
    struct section section;
    struct setting_list words, items;
};

static const char *const modes[] = {"first", "second", "third", NULL};

static const struct setting item_table[] = {
    {.key = "name", .kind = SETTING_TEXT, .offset = offsetof(struct item, name), .help = "Name."},
    {.key = "count",
     .kind = SETTING_INT,
     .offset = offsetof(struct item, count),
     .fallback = "3",
     .min = 1,
     .max = 9,
     .help = "Count."},
    {0},
};

static const struct setting section_table[] = {
    {.key = "flag",
     .kind = SETTING_BOOL,
     .offset = offsetof(struct section, flag),
     .fallback = "false",
     .help = "Flag."},
    {.key = "share",
     .kind = SETTING_FLOAT,
     .offset = offsetof(struct section, share),
     .fallback = "0.5",
     .min = 0,
     .max = 1,
     .help = "Share."},
    {.key = "size",
     .kind = SETTING_BYTES,
     .offset = offsetof(struct section, size),
     .fallback = "4KiB",
     .min = 1024,
     .max = 1048576,
     .help = "Size."},
    {.key = "delay",
     .kind = SETTING_DURATION,
     .offset = offsetof(struct section, delay),
     .fallback = "1s",
     .min = 1e6,
     .max = 3600e9,
     .help = "Delay."},
    {0},
};

static const struct setting table[] = {
    {.key = "text",
     .kind = SETTING_TEXT,
     .offset = offsetof(struct target, text),
     .fallback = "",
     .help = "Text."},
    {.key = "path",
     .kind = SETTING_PATH,
     .offset = offsetof(struct target, path),
     .fallback = "x",
     .help = "Path."},
    {.key = "mode",
     .kind = SETTING_ENUM,
     .offset = offsetof(struct target, mode),
     .fallback = "first",
     .words = modes,
     .help = "Mode."},
    {.key = "section",
     .kind = SETTING_SECTION,
     .offset = offsetof(struct target, section),
     .table = section_table,
     .help = "Section."},
    {.key = "words",
     .kind = SETTING_TEXT_LIST,
     .offset = offsetof(struct target, words),
     .max = 5,
     .help = "Words."},
    {.key = "items",
     .kind = SETTING_LIST,
     .offset = offsetof(struct target, items),
     .table = item_table,
     .item_bytes = sizeof(struct item),
     .max = 4,
     .help = "Items."},
    {0},
};

static void check_target(const struct target *target)
{
    CHECK(target->text != NULL && target->path != NULL);
    CHECK(target->mode >= 0 && target->mode < 3);
    CHECK(target->section.share >= 0 && target->section.share <= 1);
    CHECK(target->section.size >= 1024 && target->section.size <= 1048576);
    CHECK(target->section.delay >= 1000000 && target->section.delay <= 3600000000000ull);
    CHECK(target->words.count <= 5 && target->items.count <= 4);
    const char *const *words = target->words.items;
    for (uint32_t i = 0; i < target->words.count; i++)
        CHECK(words[i] != NULL);
    const struct item *items = target->items.items;
    for (uint32_t i = 0; i < target->items.count; i++)
        CHECK(items[i].name != NULL && items[i].count >= 1 && items[i].count <= 9);
}

static void never_changed(void *context, const char *key, const struct setting *row)
{
    (void)context;
    (void)key;
    (void)row;
    CHECK(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct target target = {0};
    struct settings_report report;
    settings_document *document = NULL;
    arena *memory = NULL;
    struct buffer text;
    status result = arena_create(64u << 20, &memory);
    CHECK(result == STATUS_OK);
    buffer_init(&text, 1u << 20);
    result = settings_read_text((struct text_slice){(const char *)data, bytes}, "etc/fuzz.yaml",
                                table, &target, memory, &report, &document);
    if (result == STATUS_OK) {
        CHECK(report.error_count == 0);
        check_target(&target);
        settings_compare(table, &target, &target, never_changed, NULL);
        settings_fail_at(document, &report, &target.mode, "shown");
        CHECK(report.errors[0].line >= 1 && report.errors[0].column >= 1);
    } else {
        CHECK(result == STATUS_INVALID);
        CHECK(report.error_count > 0 && report.errors[0].text[0] != '\0');
    }
    settings_report_write(&report, &text);
    CHECK(text.failed == STATUS_OK && text.bytes > 0);
    buffer_deinit(&text);
    arena_destroy(memory);
    return 0;
}
