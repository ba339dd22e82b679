/* Normalizer, pre-tokenizer, post-processor and decoder of a tokenizer.json. Each is an object with
 * a "type", or a Sequence of such objects. */
#include <string.h>

#include "check.h"
#include "tokenizer_json.h"

#define SEQUENCE_DEPTH_MAX 4

struct text_slice json_text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value))
        return (struct text_slice){"", 0};
    return (struct text_slice){json_string_value(value), json_string_length(value)};
}

bool json_flag(const json_t *object, const char *name, bool fallback)
{
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

static status unsupported(const char *part, struct text_slice type, struct error_note *note)
{
    error_note_set(note, "the %s \"%.*s\" is not supported", part,
                   (int)(type.bytes < 80 ? type.bytes : 80), type.data);
    return STATUS_UNSUPPORTED;
}

/* Calls `read` for each part of a Sequence, or for the one part. */
typedef status part_fn(const json_t *part, void *out, struct error_note *note);

static status read_parts(const json_t *value, const char *list_name, part_fn *read, void *out,
                         int depth, struct error_note *note)
{
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    if (!text_slice_is(json_text(value, "type"), "Sequence"))
        return read(value, out, note);
    const json_t *parts = json_object_get(value, list_name);
    if (!json_is_array(parts) || depth == SEQUENCE_DEPTH_MAX) {
        error_note_set(note, "a Sequence without \"%s\", or nested too deep", list_name);
        return STATUS_INVALID;
    }
    status s = STATUS_OK;
    for (size_t i = 0; i < json_array_size(parts) && s == STATUS_OK; i++)
        s = read_parts(json_array_get(parts, i), list_name, read, out, depth + 1, note);
    return s;
}

/* A pattern is {"String": text} or {"Regex": expression}. */
static struct text_slice read_pattern(const json_t *part, bool *is_expression)
{
    const json_t *pattern = json_object_get(part, "pattern");
    *is_expression = json_object_get(pattern, "Regex") != NULL;
    return json_text(pattern, *is_expression ? "Regex" : "String");
}

/* Normalizers. */

static status read_replace(const json_t *part, struct normalizer *out, struct error_note *note)
{
    struct normalizer_step step = {.kind = NORMALIZER_REPLACE};
    bool is_expression;
    struct text_slice from = read_pattern(part, &is_expression);
    if (is_expression && text_slice_is(from, " {2,}")) {
        step.kind = NORMALIZER_REPLACE_RUN;
        from = text_slice_of(" ");
    } else if (is_expression) {
        return unsupported("expression of the normalizer Replace", from, note);
    }
    return normalizer_add(out, &step, from, json_text(part, "content"));
}

static void read_bert(const json_t *part, struct normalizer_step *step)
{
    step->kind = NORMALIZER_BERT;
    step->cleans = json_flag(part, "clean_text", true);
    step->pads_han = json_flag(part, "handle_chinese_chars", true);
    step->lowers_case = json_flag(part, "lowercase", true);
    step->strips_accents = json_flag(part, "strip_accents", step->lowers_case);
}

static status read_normalizer_part(const json_t *part, void *out, struct error_note *note)
{
    static const struct {
        const char *type;
        struct normalizer_step step;
    } simple[] = {
        {"NFC", {.kind = NORMALIZER_FORM, .form = NORMAL_NFC}},
        {"NFD", {.kind = NORMALIZER_FORM, .form = NORMAL_NFD}},
        {"NFKC", {.kind = NORMALIZER_FORM, .form = NORMAL_NFKC}},
        {"NFKD", {.kind = NORMALIZER_FORM, .form = NORMAL_NFKD}},
        {"Lowercase", {.kind = NORMALIZER_LOWER}},
        {"StripAccents", {.kind = NORMALIZER_STRIP_ACCENTS}},
    };
    struct text_slice type = json_text(part, "type"), nothing = {"", 0};
    struct normalizer_step step = {.kind = NORMALIZER_STRIP};
    for (size_t i = 0; i < ARRAY_COUNT(simple); i++)
        if (text_slice_is(type, simple[i].type))
            return normalizer_add(out, &simple[i].step, nothing, nothing);
    if (text_slice_is(type, "Strip")) {
        step.strips_left = json_flag(part, "strip_left", true);
        step.strips_right = json_flag(part, "strip_right", true);
        return normalizer_add(out, &step, nothing, nothing);
    }
    if (text_slice_is(type, "BertNormalizer")) {
        read_bert(part, &step);
        return normalizer_add(out, &step, nothing, nothing);
    }
    if (text_slice_is(type, "Prepend")) {
        step.kind = NORMALIZER_PREPEND;
        return normalizer_add(out, &step, nothing, json_text(part, "prepend"));
    }
    if (text_slice_is(type, "Replace"))
        return read_replace(part, out, note);
    return unsupported("normalizer", type, note);
}

status json_read_normalizer(const json_t *value, struct normalizer *out, struct error_note *note)
{
    status s = read_parts(value, "normalizers", read_normalizer_part, out, 0, note);
    if (s == STATUS_TOO_LARGE)
        error_note_set(note, "more than %u normalizers", NORMALIZER_STEPS_MAX);
    return s;
}

/* Pre-tokenizers. */

static status read_behaviour(const json_t *part, enum split_behaviour *out, struct error_note *note)
{
    static const char *const words[] = {
        [SPLIT_ISOLATED] = "Isolated",
        [SPLIT_REMOVED] = "Removed",
        [SPLIT_CONTIGUOUS] = "Contiguous",
        [SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
    };
    struct text_slice word = json_text(part, "behavior");
    *out = SPLIT_ISOLATED;
    if (word.bytes == 0)
        return STATUS_OK;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (text_slice_is(word, words[i])) {
            *out = (enum split_behaviour)i;
            return STATUS_OK;
        }
    }
    return unsupported("split behaviour", word, note);
}

static bool set_text(struct pre_stage *stage, struct text_slice text)
{
    if (text.bytes == 0 || text.bytes > PRE_TEXT_BYTES_MAX)
        return false;
    memcpy(stage->text, text.data, text.bytes);
    stage->text_bytes = text.bytes;
    return true;
}

static struct pre_stage *add_stage(struct pre_tokenizer *pre)
{
    if (pre->stage_count == PRE_STAGES_MAX)
        return NULL;
    pre->stages[pre->stage_count] = (struct pre_stage){.kind = PRE_STAGE_SPLIT};
    return &pre->stages[pre->stage_count++];
}

static status read_split(const json_t *part, struct pre_stage *stage, struct error_note *note)
{
    bool is_expression;
    struct text_slice pattern = read_pattern(part, &is_expression);
    stage->inverts = json_flag(part, "invert", false);
    if (is_expression) {
        if (!pre_tokenizer_expression(pattern, stage))
            return unsupported("expression of the pre-tokenizer Split", pattern, note);
    } else {
        stage->kind = PRE_STAGE_LITERAL;
        if (!set_text(stage, pattern))
            return unsupported("text of the pre-tokenizer Split", pattern, note);
    }
    return read_behaviour(part, &stage->behaviour, note);
}

static status read_byte_level(const json_t *part, struct pre_tokenizer *pre)
{
    struct pre_stage *stage;
    if (json_flag(part, "add_prefix_space", true)) {
        stage = add_stage(pre);
        if (stage == NULL)
            return STATUS_TOO_LARGE;
        stage->kind = PRE_STAGE_PREFIX;
        stage->prepend = PREPEND_ALWAYS;
        (void)set_text(stage, text_slice_of(" "));
    }
    if (!json_flag(part, "use_regex", true))
        return STATUS_OK;
    stage = add_stage(pre);
    if (stage == NULL)
        return STATUS_TOO_LARGE;
    pre_tokenizer_class(PRE_CLASS_GPT2, stage);
    return STATUS_OK;
}

static status read_metaspace(const json_t *part, struct pre_tokenizer *pre, struct error_note *note)
{
    struct pre_stage *prefix = add_stage(pre);
    struct text_slice scheme = json_text(part, "prepend_scheme");
    struct text_slice text = json_text(part, "replacement");
    bool adds = json_flag(part, "add_prefix_space", true); /* the older spelling */
    if (prefix == NULL)
        return STATUS_TOO_LARGE;
    prefix->kind = PRE_STAGE_PREFIX;
    prefix->replaces_spaces = true;
    prefix->prepend = adds ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (text_slice_is(scheme, "first"))
        prefix->prepend = PREPEND_FIRST;
    else if (text_slice_is(scheme, "never"))
        prefix->prepend = PREPEND_NEVER;
    else if (scheme.bytes > 0 && !text_slice_is(scheme, "always"))
        return unsupported("prepend_scheme", scheme, note);
    if (!set_text(prefix, text))
        return unsupported("replacement of Metaspace", text, note);
    if (!json_flag(part, "split", true))
        return STATUS_OK;
    struct pre_stage *split = add_stage(pre);
    if (split == NULL)
        return STATUS_TOO_LARGE;
    split->kind = PRE_STAGE_LITERAL;
    split->behaviour = SPLIT_MERGED_WITH_NEXT;
    (void)set_text(split, text);
    return STATUS_OK;
}

/* Splitters of one class and one behaviour. */
static bool read_class(const json_t *part, struct text_slice type, struct pre_stage *stage)
{
    if (text_slice_is(type, "Digits")) {
        pre_tokenizer_class(json_flag(part, "individual_digits", false) ? PRE_CLASS_DIGIT
                                                                        : PRE_CLASS_DIGITS,
                            stage);
    } else if (text_slice_is(type, "WhitespaceSplit")) {
        pre_tokenizer_class(PRE_CLASS_WHITESPACE, stage);
        stage->behaviour = SPLIT_REMOVED;
    } else if (text_slice_is(type, "Whitespace")) {
        pre_tokenizer_class(PRE_CLASS_WORD_OR_SIGN, stage);
        stage->behaviour = SPLIT_REMOVED;
        stage->inverts = true;
    } else {
        return false;
    }
    return true;
}

static status read_bert_splitter(struct pre_tokenizer *pre)
{
    struct pre_stage *spaces = add_stage(pre), *signs = add_stage(pre);
    if (spaces == NULL || signs == NULL)
        return STATUS_TOO_LARGE;
    pre_tokenizer_class(PRE_CLASS_WHITESPACE, spaces);
    spaces->behaviour = SPLIT_REMOVED;
    pre_tokenizer_class(PRE_CLASS_PUNCTUATION, signs);
    return STATUS_OK;
}

static status read_pre_part(const json_t *part, void *out, struct error_note *note)
{
    struct pre_tokenizer *pre = out;
    struct text_slice type = json_text(part, "type");
    if (text_slice_is(type, "ByteLevel"))
        return read_byte_level(part, pre);
    if (text_slice_is(type, "Metaspace"))
        return read_metaspace(part, pre, note);
    if (text_slice_is(type, "BertPreTokenizer"))
        return read_bert_splitter(pre);
    struct pre_stage *stage = add_stage(pre);
    if (stage == NULL)
        return STATUS_TOO_LARGE;
    if (text_slice_is(type, "Split"))
        return read_split(part, stage, note);
    if (text_slice_is(type, "Punctuation")) {
        pre_tokenizer_class(PRE_CLASS_PUNCTUATION, stage);
        return read_behaviour(part, &stage->behaviour, note);
    }
    if (text_slice_is(type, "CharDelimiterSplit")) {
        stage->kind = PRE_STAGE_LITERAL;
        stage->behaviour = SPLIT_REMOVED;
        return set_text(stage, json_text(part, "delimiter"))
                   ? STATUS_OK
                   : unsupported("delimiter", json_text(part, "delimiter"), note);
    }
    return read_class(part, type, stage) ? STATUS_OK : unsupported("pre-tokenizer", type, note);
}

status json_read_pre_tokenizer(const json_t *value, struct pre_tokenizer *out,
                               struct error_note *note)
{
    status s = read_parts(value, "pretokenizers", read_pre_part, out, 0, note);
    if (s == STATUS_TOO_LARGE)
        error_note_set(note, "more than %u pre-tokenizers", PRE_STAGES_MAX);
    return s;
}

/* Decoders. */

static status read_decoder_part(const json_t *part, void *out, struct error_note *note)
{
    struct tokenizer_plan *plan = out;
    struct text_slice type = json_text(part, "type");
    if (text_slice_is(type, "ByteLevel")) {
        plan->vocabulary.pieces = PIECE_ALPHABET;
    } else if (text_slice_is(type, "Metaspace")) {
        plan->vocabulary.pieces = PIECE_METASPACE;
        plan->strips_first_space = !text_slice_is(json_text(part, "prepend_scheme"), "never");
    } else if (text_slice_is(type, "Replace") || text_slice_is(type, "ByteFallback")) {
        plan->vocabulary.pieces = PIECE_METASPACE;
    } else if (text_slice_is(type, "Strip")) {
        plan->strips_first_space = json_integer_value(json_object_get(part, "start")) > 0;
    } else if (text_slice_is(type, "WordPiece")) {
        plan->vocabulary.pieces = PIECE_WORDPIECE;
        plan->strips_first_space = true;
    } else if (!text_slice_is(type, "Fuse")) {
        return unsupported("decoder", type, note);
    }
    return STATUS_OK;
}

static status find_byte_level(const json_t *part, void *out, struct error_note *note)
{
    (void)note;
    if (text_slice_is(json_text(part, "type"), "ByteLevel"))
        *(bool *)out = true;
    return STATUS_OK;
}

status json_read_decoder(const json_t *decoder, const json_t *pre_tokenizer,
                         struct tokenizer_plan *out, struct error_note *note)
{
    bool is_byte_level = false;
    out->vocabulary.pieces = PIECE_PLAIN;
    status s = read_parts(decoder, "decoders", read_decoder_part, out, 0, note);
    if (s == STATUS_OK)
        s = read_parts(pre_tokenizer, "pretokenizers", find_byte_level, &is_byte_level, 0, note);
    if (is_byte_level)
        out->vocabulary.pieces = PIECE_ALPHABET;
    return s;
}

/* Post-processors: what goes around the texts. */

struct frame_part {
    int32_t *ids;
    uint32_t *count;
};

static status add_frame_id(struct frame_part part, const json_t *id, struct error_note *note)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX ||
        *part.count == FRAME_IDS_MAX) {
        error_note_set(note, "the post-processor names an id that cannot be, or more than %u",
                       FRAME_IDS_MAX);
        return STATUS_INVALID;
    }
    part.ids[(*part.count)++] = (int32_t)json_integer_value(id);
    return STATUS_OK;
}

/* The ids of {"SpecialToken": {"id": name, "type_id": n}}. */
static status add_special(const json_t *processor, const json_t *item, struct frame_part part,
                          struct error_note *note)
{
    const json_t *special = json_object_get(item, "SpecialToken");
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *tokens = json_object_get(processor, "special_tokens");
    const json_t *ids = name != NULL ? json_object_get(json_object_get(tokens, name), "ids") : NULL;
    if (json_array_size(ids) == 0) {
        error_note_set(note, "the post-processor does not say which ids \"%.80s\" has",
                       name != NULL ? name : "");
        return STATUS_INVALID;
    }
    status s = STATUS_OK;
    for (size_t i = 0; i < json_array_size(ids) && s == STATUS_OK; i++)
        s = add_frame_id(part, json_array_get(ids, i), note);
    return s;
}

static json_int_t type_of(const json_t *item, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(item, name), "type_id"));
}

static status read_single(const json_t *processor, struct token_frame *out, struct error_note *note)
{
    const json_t *items = json_object_get(processor, "single");
    status s = STATUS_OK;
    struct frame_part part = {out->before, &out->before_count};
    for (size_t i = 0; i < json_array_size(items) && s == STATUS_OK; i++) {
        const json_t *item = json_array_get(items, i);
        if (json_object_get(item, "Sequence") != NULL)
            part = (struct frame_part){out->after, &out->after_count};
        else
            s = add_special(processor, item, part, note);
    }
    return s;
}

/* "pair": [before] A [between] B [last]. A template of another form leaves the frame without pairs. */
static status read_pair(const json_t *processor, struct token_frame *out, struct error_note *note)
{
    const json_t *items = json_object_get(processor, "pair");
    int32_t before[FRAME_IDS_MAX];
    uint32_t before_count = 0, sequences = 0;
    status s = STATUS_OK;
    for (size_t i = 0; i < json_array_size(items) && s == STATUS_OK; i++) {
        const json_t *item = json_array_get(items, i);
        if (json_object_get(item, "Sequence") != NULL) {
            out->tells_texts_apart = sequences == 1 && type_of(item, "Sequence") == 1;
            sequences++;
            continue;
        }
        struct frame_part parts[] = {{before, &before_count},
                                     {out->between, &out->between_count},
                                     {out->last, &out->last_count}};
        uint32_t count = out->between_count;
        s = add_special(processor, item, parts[sequences < 2 ? sequences : 2], note);
        if (sequences == 1 && type_of(item, "SpecialToken") == 0)
            out->between_first_count += out->between_count - count;
    }
    out->has_pair = s == STATUS_OK && sequences == 2 && before_count == out->before_count &&
                    memcmp(before, out->before, before_count * sizeof before[0]) == 0;
    return s;
}

/* BertProcessing and RobertaProcessing: "sep" and "cls", each [text, id]. */
static status read_classic(const json_t *part, bool is_roberta, struct token_frame *out,
                           struct error_note *note)
{
    const json_t *sep = json_array_get(json_object_get(part, "sep"), 1);
    const json_t *cls = json_array_get(json_object_get(part, "cls"), 1);
    struct frame_part before = {out->before, &out->before_count};
    struct frame_part after = {out->after, &out->after_count};
    struct frame_part between = {out->between, &out->between_count};
    struct frame_part last = {out->last, &out->last_count};
    status s = add_frame_id(before, cls, note);
    if (s == STATUS_OK)
        s = add_frame_id(after, sep, note);
    if (s == STATUS_OK)
        s = add_frame_id(between, sep, note);
    if (s == STATUS_OK && is_roberta)
        s = add_frame_id(between, sep, note);
    if (s == STATUS_OK)
        s = add_frame_id(last, sep, note);
    out->between_first_count = out->between_count;
    out->has_pair = true;
    out->tells_texts_apart = !is_roberta;
    return s;
}

static status read_frame_part(const json_t *part, void *out, struct error_note *note)
{
    struct text_slice type = json_text(part, "type");
    struct token_frame *frame = out;
    if (text_slice_is(type, "ByteLevel"))
        return STATUS_OK; /* moves offsets only */
    bool is_roberta = text_slice_is(type, "RobertaProcessing");
    bool is_template = text_slice_is(type, "TemplateProcessing");
    if (!is_roberta && !is_template && !text_slice_is(type, "BertProcessing"))
        return unsupported("post-processor", type, note);
    *frame = (struct token_frame){.has_pair = false};
    if (!is_template)
        return read_classic(part, is_roberta, frame, note);
    status s = read_single(part, frame, note);
    return s == STATUS_OK ? read_pair(part, frame, note) : s;
}

status json_read_frame(const json_t *value, struct token_frame *out, struct error_note *note)
{
    token_frame_simple(out, -1, -1);
    return read_parts(value, "processors", read_frame_part, out, 0, note);
}
