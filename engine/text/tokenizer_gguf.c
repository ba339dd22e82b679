/* What GGUF files say about a vocabulary, as a plan. Kinds and their rules as in llama.cpp
 * (src/llama-vocab.cpp), because files are written for it. */
#include <string.h>

#include "memory.h"
#include "tokenizer_plan.h"

static const char metaspace[] = "\xE2\x96\x81"; /* U+2581 */
#define METASPACE_BYTES (sizeof metaspace - 1)

/* One line of the merges: "left right"; a token may itself begin with a space, so the search starts
 * at the second byte. */
static bool split_merge(struct text_slice line, struct merge_texts *out)
{
    const char *space = line.bytes > 1 ? memchr(line.data + 1, ' ', line.bytes - 1) : NULL;
    if (space == NULL)
        return false;
    size_t at = (size_t)(space - line.data);
    out->left = (struct text_slice){line.data, at};
    out->right = (struct text_slice){space + 1, line.bytes - at - 1};
    return out->right.bytes > 0;
}

/* What the plan borrows that is not the source's. */
struct gguf_plan {
    struct tokenizer_plan plan;
    struct merge_texts *merges; /* owned */
    double *scores;             /* owned */
    struct text_slice *texts;   /* owned; WordPiece texts, inside `bytes` */
    char *bytes;                /* owned */
};

static status fill_byte_pairs(struct gguf_plan *made, const struct tokenizer_source *source,
                              struct error_note *note)
{
    struct tokenizer_plan *plan = &made->plan;
    plan->model = WORD_MODEL_BYTE_PAIRS;
    plan->vocabulary.pieces = PIECE_ALPHABET;
    if (!pre_tokenizer_named(source->pre, &plan->pre, &plan->ignores_merges)) {
        error_note_set(note, "pre-tokenizer \"%s\" is not known", source->pre);
        return STATUS_UNSUPPORTED;
    }
    made->merges = memory_allocate_array(source->merge_count, sizeof *made->merges);
    if (made->merges == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < source->merge_count; i++) {
        if (!split_merge(source->merges[i], &made->merges[i])) {
            error_note_set(note, "merge %u is not two tokens with a space between", i);
            return STATUS_INVALID;
        }
    }
    plan->merges = made->merges;
    plan->merge_count = source->merge_count;
    return STATUS_OK;
}

static status fill_scores(struct gguf_plan *made, const struct tokenizer_source *source,
                          struct error_note *note)
{
    if (source->scores == NULL) {
        error_note_set(note, "a vocabulary of kind \"%s\" needs tokenizer.ggml.scores",
                       source->kind);
        return STATUS_INVALID;
    }
    made->scores = memory_allocate_array(source->token_count, sizeof *made->scores);
    if (made->scores == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < source->token_count; i++)
        made->scores[i] = (double)source->scores[i];
    made->plan.scores = made->scores;
    return STATUS_OK;
}

/* Spaces become U+2581, and one goes in front. */
static status escape_spaces(struct normalizer *n, bool adds_prefix)
{
    struct normalizer_step step = {.kind = NORMALIZER_PREPEND};
    struct text_slice nothing = {"", 0}, escaped = {metaspace, METASPACE_BYTES};
    status s = adds_prefix ? normalizer_add(n, &step, nothing, escaped) : STATUS_OK;
    step.kind = NORMALIZER_REPLACE;
    return s == STATUS_OK ? normalizer_add(n, &step, text_slice_of(" "), escaped) : s;
}

static status fill_sentence_piece(struct gguf_plan *made, const struct tokenizer_source *source,
                                  struct error_note *note)
{
    struct tokenizer_plan *plan = &made->plan;
    bool is_unigram = strcmp(source->kind, "t5") == 0;
    plan->model = is_unigram ? WORD_MODEL_UNIGRAM : WORD_MODEL_CHARACTER_PAIRS;
    plan->vocabulary.pieces = PIECE_METASPACE;
    plan->falls_back_to_bytes = true;
    plan->fuses_unknown = true;
    plan->strips_first_space = source->add_space_prefix;
    status s = fill_scores(made, source, note);
    return s == STATUS_OK ? escape_spaces(&plan->normalizer, source->add_space_prefix) : s;
}

/* llama.cpp's converter writes "##ing" as "ing" and "word" as U+2581 "word"; control tokens stay. */
static size_t unescape_word(struct text_slice text, bool is_control, char *out)
{
    bool begins = text_slice_starts_with(text, metaspace);
    size_t skip = begins ? METASPACE_BYTES : 0, prefix = begins || is_control ? 0 : 2;
    memcpy(out, "##", prefix);
    memcpy(out + prefix, text.data + skip, text.bytes - skip);
    return prefix + text.bytes - skip;
}

static bool is_control(const struct tokenizer_source *source, uint32_t i)
{
    int32_t attribute = source->attributes != NULL ? source->attributes[i] : TOKEN_NORMAL;
    return attribute == TOKEN_CONTROL || attribute == TOKEN_UNKNOWN ||
           attribute == TOKEN_USER_DEFINED;
}

static status unescape_words(struct gguf_plan *made, const struct tokenizer_source *source)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < source->token_count; i++) {
        if (source->tokens[i].bytes > VOCABULARY_TEXT_BYTES_MAX)
            return STATUS_TOO_LARGE;
        bytes += source->tokens[i].bytes + 2;
    }
    made->texts = memory_allocate_array(source->token_count, sizeof *made->texts);
    made->bytes = memory_allocate(bytes);
    if (made->texts == NULL || made->bytes == NULL)
        return STATUS_NO_MEMORY;
    char *at = made->bytes;
    for (uint32_t i = 0; i < source->token_count; i++) {
        size_t written = unescape_word(source->tokens[i], is_control(source, i), at);
        made->texts[i] = (struct text_slice){at, written};
        at += written;
    }
    made->plan.vocabulary.tokens = made->texts;
    return STATUS_OK;
}

static status fill_word_piece(struct gguf_plan *made, const struct tokenizer_source *source)
{
    struct tokenizer_plan *plan = &made->plan;
    plan->model = WORD_MODEL_WORDPIECE;
    plan->vocabulary.pieces = PIECE_WORDPIECE;
    plan->characters_max = WORDPIECE_CHARACTERS_DEFAULT;
    plan->strips_first_space = true;
    struct normalizer_step step = {.kind = NORMALIZER_BERT,
                                   .cleans = true,
                                   .pads_han = true,
                                   .strips_accents = true,
                                   .lowers_case = true};
    status s = normalizer_add(&plan->normalizer, &step, text_slice_of(""), text_slice_of(""));
    if (s != STATUS_OK)
        return s;
    struct pre_stage *stages = plan->pre.stages;
    pre_tokenizer_class(PRE_CLASS_WHITESPACE, &stages[0]);
    stages[0].behaviour = SPLIT_REMOVED;
    pre_tokenizer_class(PRE_CLASS_PUNCTUATION, &stages[1]);
    plan->pre.stage_count = 2;
    return unescape_words(made, source);
}

static status fill_model(struct gguf_plan *made, const struct tokenizer_source *source,
                         struct error_note *note)
{
    const char *kind = source->kind != NULL ? source->kind : "";
    if (strcmp(kind, "gpt2") == 0)
        return fill_byte_pairs(made, source, note);
    if (strcmp(kind, "llama") == 0 || strcmp(kind, "t5") == 0)
        return fill_sentence_piece(made, source, note);
    if (strcmp(kind, "bert") == 0)
        return fill_word_piece(made, source);
    error_note_set(note, "tokenizer kind \"%s\" is not supported (gpt2, llama, bert and t5 are)",
                   kind);
    return STATUS_UNSUPPORTED;
}

status tokenizer_create(const struct tokenizer_source *source, tokenizer **out,
                        struct error_note *note)
{
    struct gguf_plan made = {.plan = {.bos = source->bos,
                                      .eos = source->eos,
                                      .eot = source->eot,
                                      .unknown = source->unknown,
                                      .padding = source->padding,
                                      .vocabulary = {.token_count = source->token_count,
                                                     .tokens = source->tokens,
                                                     .attributes = source->attributes}}};
    struct tokenizer_plan *plan = &made.plan;
    token_frame_simple(&plan->frame, source->add_bos ? source->bos : -1,
                       source->add_eos ? source->eos : -1);
    status s = fill_model(&made, source, note);
    if (s == STATUS_OK)
        s = tokenizer_build(plan, out, note);
    normalizer_deinit(&plan->normalizer);
    memory_release(made.merges);
    memory_release(made.scores);
    memory_release(made.texts);
    memory_release(made.bytes);
    return s;
}
