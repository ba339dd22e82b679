#include "unit_test.h"

#include "cells.h"
#include "frame.h"
#include "minute.h"

#define ROW(model, start, seconds, requests, decode, idle)                                         \
    "{" model "\"start\":" start ",\"seconds\":" seconds ",\"states\":{\"busy_decode\":" decode    \
    ",\"idle_no_traffic\":" idle "},\"requests\":" requests                                        \
    ",\"errors\":0,\"output_tokens\":600,\"prompt_tokens\":60,\"cost\":0.5,\"waiting\":2,"         \
    "\"kv_usage\":0.25,\"ttft\":{\"p50\":0.02,\"p99\":0.03},\"inter_token\":null}"

static const char replicas[] =
    "{\"replicas\":["
    "{\"model\":\"chat\",\"index\":0,\"state\":\"ready\",\"seconds_in_state\":90.5,\"outstanding\":"
    "3,"
    "\"breaker\":\"closed\",\"stalled\":false,\"address\":\"unix:/run/a\",\"last_failure\":null},"
    "{\"model\":\"\\u001b[2Jevil\\u009b31m\\u202e\",\"index\":0,\"state\":\"backing_off\","
    "\"outstanding\":0,"
    "\"breaker\":\"open\",\"address\":\"x\",\"last_failure\":\"line\\r\\nbreak\\u0007\"},"
    "{\"model\":"
    "\"\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b\\u6a21\\u578b\","
    "\"index\":0,"
    "\"state\":\"ready\"}]}";
static const char history[] =
    "{\"to\":1000,\"total\":[" ROW("", "900", "60", "60", "10", "50") "," ROW(
        "", "960", "15", "30", "15",
        "0") "],\"rows\":[" ROW("\"model\":\"chat\",", "900", "60", "60", "10",
                                "50") ",{}," ROW("\"model\":\"chat\",", "960", "15", "30", "15",
                                                 "0") "]}";
static const char requests[] = "{\"requests\":[{\"id\":\"abc\",\"state\":\"live\",\"phase\":"
                               "\"waiting for a slot\",\"seconds\":1.5,\"model\":\"chat\","
                               "\"organisation\":\"ac\\u001bme\",\"team\":null,\"key\":\"k\"},{"
                               "\"state\":\"ended\",\"phase\":\"ended\","
                               "\"model\":\"nobody\"}]}";
static const char anomalies[] = "{\"anomalies\":[{\"model\":\"chat\",\"signal\":\"ttft\",\"value\":"
                                "2,\"expected\":0.2,\"score\":8,\"anomalous\":true},"
                                "{\"model\":\"quiet\",\"signal\":\"ttft\",\"anomalous\":false}]}";
static const char slices[] = "{\"slices\":[{\"slice\":\"local/"
                             "gpu0\",\"state\":\"ok\",\"devices\":4,\"devices_booked\":1,"
                             "\"replicas\":[{\"model\":\"chat\"}]},"
                             "{\"slice\":\"local/gpu1\",\"state\":\"ok\",\"replicas\":[]}]}";

static struct top_facts facts_of(const char *const texts[FACT_COUNT])
{
    struct top_facts facts = {{NULL}};

    for (int i = 0; i < FACT_COUNT; i++) {
        if (texts[i] != NULL) {
            facts.items[i] = json_loads(texts[i], JSON_DECODE_ANY, NULL);
            assert_non_null(facts.items[i]);
        }
    }
    return facts;
}

static void facts_forget(struct top_facts *facts)
{
    for (int i = 0; i < FACT_COUNT; i++)
        json_decref(facts->items[i]);
}

static const char *const usual[FACT_COUNT] = {[FACT_REPLICAS] = replicas,
                                              [FACT_HISTORY] = history,
                                              [FACT_REQUESTS] = requests,
                                              [FACT_ANOMALIES] = anomalies,
                                              [FACT_SLICES] = slices};

/* The frame, of which every line fits; and, where a height is wanted, has it. */
static char *frame_of(const char *const texts[FACT_COUNT], struct frame_view view)
{
    static char out[1u << 20];
    struct top_facts facts = facts_of(texts);
    struct buffer buffer;
    uint32_t lines = 0;

    view.where = "http://127.0.0.1:8081";
    view.clock = "12:34:56";
    view.trouble = view.trouble != NULL ? view.trouble : "";
    view.keys = view.height > 0 ? "q quit" : "";
    buffer_init(&buffer, sizeof(out) - 1);
    frame_write(&facts, &view, &buffer);
    assert_int_equal(buffer.failed, STATUS_OK);
    memcpy(out, buffer.data, buffer.bytes + 1);
    buffer_deinit(&buffer);
    facts_forget(&facts);
    for (char *at = out; *at != '\0'; lines++) {
        char *end = strchr(at, '\n');

        assert_non_null(end);
        *end = '\0';
        if (!view.has_colours)
            assert_true(cells_width(at) <= view.width);
        assert_true(end == at || end[-1] != ' ');
        *end = '\n';
        at = end + 1;
    }
    if (view.height > 0)
        assert_int_equal(lines, view.height);
    return out;
}

static void shows_what_the_gateway_says(void **state)
{
    const char *frame = frame_of(usual, (struct frame_view){.width = 80});

    (void)state;
    assert_non_null(strstr(frame, "http://127.0.0.1:8081  1 of 3 models not ready"));
    /* 30 requests of this minute's 15 seconds, and three quarters of the 60 of the one before. */
    assert_non_null(strstr(frame, "Requests/s 1.25 "));
    assert_non_null(
        strstr(frame, "! chat: time to the first token is 2 s, usual at this hour: 200 ms"));
    assert_non_null(strstr(frame, ">chat"));
    assert_non_null(strstr(frame, "20 ms   30 ms       \xE2\x80\x93     2   25%"));
    /* 15 seconds busy now, 7.5 before; 37.5 idle before. */
    assert_non_null(strstr(frame, "D answers 38%   . idle 62%"));
    assert_non_null(strstr(frame, "#0      ready          90 s        3 closed    unix:/run/a"));
    assert_non_null(strstr(frame, "local/gpu0"));
    assert_null(strstr(frame, "local/gpu1"));
    assert_non_null(strstr(frame, "waiting for a slot       1.5 s chat"));
    assert_null(strstr(frame, "nobody"));
    assert_null(strstr(frame, "quiet"));
}

static void another_model_can_be_chosen(void **state)
{
    const char *frame = frame_of(usual, (struct frame_view){.width = 100,
                                                            .selected = "\033[2Jevil\xC2\x9B"
                                                                        "31m\xE2\x80\xAE"});

    (void)state;
    assert_null(strstr(frame, ">chat"));
    assert_non_null(strstr(frame, "backing off"));
    assert_null(strstr(frame, "local/gpu0"));
}

static void every_size_has_its_lines_and_columns(void **state)
{
    (void)state;
    for (uint32_t width = 1; width <= 220; width += width < 30 ? 1 : 7) {
        for (uint32_t height = 0; height <= 60; height += height < 20 ? 1 : 8)
            (void)frame_of(usual, (struct frame_view){.width = width, .height = height});
    }
}

static void a_wide_frame_has_the_bar_beside(void **state)
{
    const char *wide = frame_of(usual, (struct frame_view){.width = 140, .height = 40});
    const char *row = strstr(wide, ">chat");

    (void)state;
    assert_non_null(row);
    assert_non_null(memchr(row, 'D', strcspn(row, "\n")));
    assert_non_null(strstr(wide, "FAIL"));
    assert_non_null(strstr(wide, "\n q quit\n"));
}

static void names_cannot_steer_the_terminal(void **state)
{
    (void)state;
    for (uint32_t width = 20; width < 200; width += 20) {
        for (int selected = 0; selected < 2; selected++) {
            const char *frame =
                frame_of(usual, (struct frame_view){.width = width,
                                                    .trouble = "a\033[31m\rb",
                                                    .selected = selected ? "\033[2Jevil\xC2\x9B"
                                                                           "31m\xE2\x80\xAE"
                                                                         : NULL});

            for (const char *at = frame; *at != '\0'; at++)
                assert_true((unsigned char)*at >= ' ' || *at == '\n');
            assert_null(strstr(frame, "\xC2\x9B"));
            assert_null(strstr(frame, "\xE2\x80\xAE"));
        }
    }
}

static void colours_are_the_only_escapes(void **state)
{
    const char *frame =
        frame_of(usual, (struct frame_view){.width = 140, .height = 40, .has_colours = true});

    (void)state;
    assert_non_null(strstr(frame, "\033["));
    for (const char *at = strchr(frame, '\033'); at != NULL; at = strchr(at, '\033')) {
        assert_true(at[1] == '[');
        at += 2 + strspn(at + 2, "0123456789;");
        assert_true(*at == 'm');
    }
}

static void no_models_and_no_answers_are_told(void **state)
{
    static const char *const none[FACT_COUNT] = {[FACT_REPLICAS] = "{\"replicas\":[]}"};
    static const char *const broken[FACT_COUNT] = {
        "[]", "7", "{}", "null", "\"x\"", "{\"slices\":7}", "[]"};
    static const char *const odd[FACT_COUNT] = {
        "{\"replicas\":[7,null,{},{\"model\":3,\"state\":[]}]}",
        "{\"total\":[7],\"rows\":[{\"model\":{},\"start\":\"x\",\"states\":3}]}",
        "{\"requests\":[{\"state\":\"live\"}]}"};
    struct frame_view view = {.width = 80, .height = 24};
    const char *frame = frame_of(none, view);
    struct buffer out;

    (void)state;
    assert_non_null(strstr(frame, "no models"));
    (void)frame_of(broken, view);
    (void)frame_of(odd, view);
    view.trouble = "Figures are 7 s old. Trying again: no answer";
    frame = frame_of(usual, view);
    assert_non_null(strstr(frame, "no answer"));
    assert_non_null(strstr(frame, "\n Figures are 7 s old. Trying again: no answer\n"));
    assert_non_null(strstr(frame, ">chat"));

    view.where = view.clock = view.trouble = view.keys = "";
    buffer_init(&out, 4096);
    frame_write(NULL, &view, &out);
    assert_non_null(strstr(out.data, "asking"));
    buffer_deinit(&out);
}

static void many_models_go_past_the_selected_one(void **state)
{
    static char text[100000];
    const char *texts[FACT_COUNT] = {[FACT_REPLICAS] = text};
    size_t bytes = (size_t)snprintf(text, sizeof(text), "{\"replicas\":[");

    (void)state;
    for (int i = 0; i < 300; i++)
        bytes +=
            (size_t)snprintf(text + bytes, sizeof(text) - bytes,
                             "%s{\"model\":\"model-%d\",\"state\":\"ready\"}", i > 0 ? "," : "", i);
    (void)snprintf(text + bytes, sizeof(text) - bytes, "]}");
    for (int i = 0; i < 300; i += 23) {
        char name[32], marked[40];
        const char *frame;

        (void)snprintf(name, sizeof(name), "model-%d", i);
        (void)snprintf(marked, sizeof(marked), ">%s ", name);
        frame = frame_of(texts, (struct frame_view){.width = 90, .height = 24, .selected = name});
        assert_non_null(strstr(frame, marked));
        assert_non_null(strstr(frame, " of 300"));
        assert_non_null(strstr(frame, "none under way"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_what_the_gateway_says),
        cmocka_unit_test(another_model_can_be_chosen),
        cmocka_unit_test(every_size_has_its_lines_and_columns),
        cmocka_unit_test(a_wide_frame_has_the_bar_beside),
        cmocka_unit_test(names_cannot_steer_the_terminal),
        cmocka_unit_test(colours_are_the_only_escapes),
        cmocka_unit_test(no_models_and_no_answers_are_told),
        cmocka_unit_test(many_models_go_past_the_selected_one),
    };

    if (!cells_locale_set())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
