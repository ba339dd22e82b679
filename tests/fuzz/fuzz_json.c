
#include "check.h"
#include "json.h"

/* The scanner against jansson, which we did not write: what one takes the other must take, but for
 * the differences named below. And what was loaded, written and scanned again must be the same
 * value. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct json_limits limits = {.depth_max = 64, .value_count_max = 5000};

static void check_round_trip(const json_t *value)
{
    struct buffer text;
    struct error_note note;
    json_t *again = NULL;
    buffer_init(&text, 16u << 20);
    json_write_value(&text, value);
    CHECK(text.failed == STATUS_OK);
    status result = json_load_limited(buffer_slice(&text), &limits, &again, &note);
    CHECK(result == STATUS_OK);
    CHECK(json_equal(value, again));
    json_decref(again);
    buffer_deinit(&text);
}

static void check_field(const struct json_field *field, const json_t *object)
{
    json_t *value = json_object_get(object, field->name);
    CHECK((value != NULL) == (field->value.data != NULL));
    struct buffer text;
    buffer_init(&text, 16u << 20);
    if (json_is_string(value)) {
        status result = json_field_text(field->value, &text);
        CHECK(result == STATUS_OK);
        struct text_slice truth = {json_string_value(value), json_string_length(value)};
        CHECK(text_slice_equals(buffer_slice(&text), truth));
        /* And our writer's text is read back as the same string. */
        buffer_clear(&text);
        json_write_string(&text, truth);
        json_t *again = json_loadb(text.data, text.bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        CHECK(again != NULL && json_equal(again, value));
        json_decref(again);
    } else if (value != NULL) {
        status result = json_field_text(field->value, &text);
        CHECK(result == STATUS_INVALID);
    }
    buffer_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct text_slice body = {(const char *)data, bytes};
    struct json_field fields[] = {{.name = "model"}, {.name = "stream"}, {.name = "messages"}};
    struct error_note note = {0};
    json_t *value = NULL;
    status scanned = json_scan(body, &limits, fields, ARRAY_COUNT(fields), &note);
    status loaded = json_load_limited(body, &limits, &value, &note);
    if (loaded == STATUS_OK) {
        check_round_trip(value);
        if (json_is_object(value) &&
            scanned != STATUS_TOO_LARGE) { /* the scan alone bounds names */
            CHECK(scanned == STATUS_OK);
            for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
                check_field(&fields[i], value);
        }
        json_decref(value);
    } else if (loaded == STATUS_INVALID && scanned != STATUS_OK && memchr(data, 0, bytes) == NULL) {
        /* Jansson alone must refuse it as well: our limits are not in its way here. (It takes a NUL
         * byte for the end of the text, which RFC 8259 does not.) */
        json_t *other = json_loadb((const char *)data, bytes,
                                   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        CHECK(other == NULL);
    }
    return 0;
}
