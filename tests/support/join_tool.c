/* The gateway's side of replicas on other machines, driven by lines: what a test asks, and one line of JSON as the answer.
 *
 *   join_tool CONFIG_TEXT_FILE
 *     order SLOT UID          {"environment": ["KEY=value", ...]}
 *     forget SLOT UID         {}
 *     look SLOT               {"uid", "answered", "not_ready", "address", "reason", "context", "steps", "names"}
 *     config FILE             {}                      the text of a config that came into force
 *     call SLOT PATH BODY     {"code", "body"}        over the slot's link; an empty body: GET
 */
#include "http_fetch.h"
#include "join_world.h"
#include "json.h"

#define LINE_BYTES_MAX 65536u
#define TEXT_BYTES_MAX (1u << 20)
#define TIMEOUT_NS     (120 * NS_PER_SECOND)

static struct join_world world;

static void text_read(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "re");
    char piece[4096];
    size_t bytes;

    CHECK(file != NULL);
    while ((bytes = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(out, piece, bytes);
    CHECK(fclose(file) == 0);
}

static void on_order(uint32_t slot, char *rest, struct buffer *out)
{
    struct buffer environment;

    buffer_init(&environment, 4096);
    CHECK(join_order(&world.edge, &world.slots[slot], strtoull(rest, NULL, 10), &environment) ==
          STATUS_OK);
    json_write_key(out, "environment");
    buffer_append_byte(out, '[');
    for (size_t at = 0; at < environment.bytes; at += strlen(environment.data + at) + 1) {
        json_write_comma(out);
        json_write_text(out, environment.data + at);
    }
    buffer_append_byte(out, ']');
    buffer_deinit(&environment);
}

static void on_forget(uint32_t slot, char *rest, struct buffer *out)
{
    (void)out;
    join_forget(&world.edge, &world.slots[slot], strtoull(rest, NULL, 10));
}

static void number_write(struct buffer *out, const char *name, uint64_t value)
{
    json_write_key(out, name);
    buffer_append_u64(out, value);
}

static void on_look(uint32_t slot, char *rest, struct buffer *out)
{
    static uint64_t names[SHARED_PAGE_NAMES_MAX];
    struct shared_page_state state = {0};
    const shared_page *page = world.slots[slot].page;
    struct join_facts facts;

    (void)rest;
    join_facts_get(&world.edge, &world.slots[slot], &facts);
    (void)shared_page_read(page, &state);
    number_write(out, "uid", atomic_load(&world.event_uid[slot]));
    number_write(out, "answered", atomic_load(&world.answered[slot]));
    number_write(out, "not_ready", atomic_load(&world.not_ready[slot]));
    number_write(out, "context", atomic_load(&world.model.context_max));
    number_write(out, "steps", state.steps);
    number_write(out, "blocks", state.blocks_total);
    number_write(out, "names", shared_page_names(page, names, SHARED_PAGE_NAMES_MAX));
    json_write_key(out, "address");
    json_write_text(out, facts.address);
    json_write_key(out, "reason");
    json_write_text(out, facts.reason);
}

static void on_config(uint32_t slot, char *rest, struct buffer *out)
{
    struct buffer text;

    (void)slot, (void)out;
    buffer_init(&text, TEXT_BYTES_MAX);
    text_read(rest, &text);
    CHECK(join_set_config(world.edge.join, buffer_slice(&text), true) == STATUS_OK);
    buffer_deinit(&text);
}

static void on_call(uint32_t slot, char *rest, struct buffer *out)
{
    struct replica_link *link = join_link(&world.edge, &world.slots[slot]);
    char *body = strchr(rest, ' ');
    struct http_fetch fetch = {.timeout_ns = TIMEOUT_NS};
    struct error_note note = {""};
    struct buffer answer;
    int code = 0;

    buffer_init(&answer, TEXT_BYTES_MAX);
    if (body != NULL) {
        *body++ = '\0';
        fetch.body = text_slice_of(body);
    }
    if (link == NULL ||
        http_remote_fetch(link->remote, rest, &fetch, &code, &answer, &note) != STATUS_OK)
        code = 0;
    number_write(out, "code", (uint64_t)code);
    json_write_key(out, "body");
    json_write_string(out, buffer_slice(&answer));
    json_write_key(out, "note");
    json_write_text(out, note.text);
    buffer_deinit(&answer);
    replica_link_release(link);
}

static const struct command {
    const char *name;
    bool has_slot;
    void (*run)(uint32_t slot, char *rest, struct buffer *out);
} commands[] = {{"order", true, on_order},
                {"forget", true, on_forget},
                {"look", true, on_look},
                {"config", false, on_config},
                {"call", true, on_call}};

static void line_run(char *line, struct buffer *out)
{
    char *rest = line + strcspn(line, " ");
    uint32_t slot = 0;

    if (*rest != '\0')
        *rest++ = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(line, commands[i].name) != 0)
            continue;
        if (commands[i].has_slot)
            slot = (uint32_t)strtoul(rest, &rest, 10);
        while (*rest == ' ')
            rest++;
        CHECK(slot < WORLD_SLOTS);
        commands[i].run(slot, rest, out);
        return;
    }
    CHECK(false);
}

int main(int argument_count, char **arguments)
{
    static char line[LINE_BYTES_MAX];
    struct buffer text;

    CHECK(argument_count == 2);
    buffer_init(&text, TEXT_BYTES_MAX);
    text_read(arguments[1], &text);
    world_open(&world, text.data);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        buffer_clear(&text);
        buffer_append_byte(&text, '{');
        line_run(line, &text);
        buffer_append_byte(&text, '}');
        (void)printf("%s\n", text.data);
        (void)fflush(stdout);
    }
    buffer_deinit(&text);
    world_close(&world);
    return 0;
}
