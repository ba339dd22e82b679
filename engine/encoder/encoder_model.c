/* An encoder and its pass. Norms stand behind the residual sums (post-norm):
 *
 *   tokens, positions, segments -> sum of their embeddings -> x [rows, d]
 *   x -> layer_norm -> x, (a)
 *   each layer:
 *     (a) -> qkv -> attention over the whole text -> (t) -> output, added to x -> layer_norm -> x, (a)
 *     (a) -> up -> activation -> (h) -> down, added to x -> layer_norm -> x, (a)
 *   x -> pooling, or the class head
 *
 * (a), (t) and (h) are activations: rows in the form that the next weight reads. A norm's rows are
 * read by exactly one weight, so what a norm writes is chosen by who comes next. Layers follow each other, so
 * they share one activation of each form. Texts lie behind each other without padding. */
#include "encoder_model.h"

#include <inttypes.h>
#include <math.h>

#include "check.h"
#include "encoder_pooling.h"
#include "memory.h"

/* One for each use and mix of types; files have one or two mixes. */
#define FORMS_MAX 16u

enum form_use { FORM_NORMED, FORM_ATTENDED, FORM_ACTIVATED };

struct form {
    enum form_use use;
    uint32_t n_cols;
    uint64_t type_mask;
    activation *rows; /* owned */
};

/* What a layer reads through; borrowed from the forms. */
struct layer_forms {
    activation *in, *attended, *ffn_in, *ffn_activated;
};

struct encoder_model {
    backend *b; /* borrowed */
    const struct backend_operations *operations;
    struct encoder_shape shape;
    struct encoder_weights weights;
    struct form forms[FORMS_MAX];
    uint32_t form_count, rows_max, texts_max;
    struct layer_forms *layers; /* owned; [n_layers] */
    float *x, *qkv, *hidden,
        *scratch;    /* device, owned: [rows, d], [rows, 3 d], [rows, d_ffn], keys */
    float *host_x;   /* x itself where the host can read it, else owned */
    float *head_row; /* owned; [d] */
};

static status form_get(encoder_model *m, enum form_use use, const struct encoder_matrix *reader,
                       activation **out, struct error_note *note)
{
    for (uint32_t i = 0; i < m->form_count; i++) {
        const struct form *form = &m->forms[i];
        if (form->use == use && form->n_cols == reader->n_cols &&
            form->type_mask == reader->type_mask) {
            *out = form->rows;
            return STATUS_OK;
        }
    }
    if (m->form_count == FORMS_MAX) {
        error_note_set(note, "the layers' matrices mix too many types");
        return STATUS_UNSUPPORTED;
    }
    struct form *form = &m->forms[m->form_count];
    *form = (struct form){use, reader->n_cols, reader->type_mask, NULL};
    status s = m->operations->activation_create(m->b, reader->w, m->rows_max, &form->rows);
    if (s != STATUS_OK) {
        error_note_set(note, "no memory for the rows of a pass");
        return s;
    }
    m->form_count++;
    *out = form->rows;
    return STATUS_OK;
}

static status make_forms(encoder_model *m, struct error_note *note)
{
    m->layers = memory_allocate_array(m->shape.n_layers, sizeof *m->layers);
    status s = m->layers != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < m->shape.n_layers && s == STATUS_OK; i++) {
        const struct encoder_layer *layer = &m->weights.layers[i];
        struct layer_forms *forms = &m->layers[i];
        s = form_get(m, FORM_NORMED, &layer->qkv, &forms->in, note);
        if (s == STATUS_OK)
            s = form_get(m, FORM_ATTENDED, &layer->attention_out, &forms->attended, note);
        if (s == STATUS_OK)
            s = form_get(m, FORM_NORMED, &layer->up, &forms->ffn_in, note);
        if (s == STATUS_OK)
            s = form_get(m, FORM_ACTIVATED, &layer->down, &forms->ffn_activated, note);
    }
    return s;
}

static status make_buffers(encoder_model *m, struct error_note *note)
{
    uint64_t rows = m->rows_max, d = m->shape.d;
    const struct {
        float **out;
        uint64_t count;
    } buffers[] = {{&m->x, rows * d},
                   {&m->qkv, rows * 3 * d},
                   {&m->hidden, rows * m->shape.d_ffn},
                   {&m->scratch, (rows + 15 * (uint64_t)m->texts_max) * d}};
    status s = STATUS_OK;
    for (size_t i = 0; i < ARRAY_COUNT(buffers) && s == STATUS_OK; i++) {
        *buffers[i].out = m->operations->allocate(m->b, buffers[i].count * sizeof(float));
        s = *buffers[i].out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (s == STATUS_OK) {
        m->host_x =
            m->operations->memory_is_host ? m->x : memory_allocate_array(rows * d, sizeof(float));
        m->head_row = memory_allocate_array(d, sizeof(float));
        s = m->host_x != NULL && m->head_row != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (s != STATUS_OK)
        error_note_set(note, "no memory for passes of %" PRIu32 " tokens", m->rows_max);
    return s;
}

status encoder_model_open(const safetensors *folder, const gguf *file, backend *b,
                          const struct encoder_shape *shape, uint32_t rows_max, uint32_t texts_max,
                          encoder_model **out, struct error_note *note)
{
    encoder_model *m = memory_allocate_array(1, sizeof *m);
    if (m == NULL)
        return STATUS_NO_MEMORY;
    m->b = b;
    m->operations = b->operations;
    m->shape = *shape;
    m->rows_max = rows_max;
    m->texts_max = texts_max;
    status s = encoder_weights_load(folder, file, b, shape, &m->weights, note);
    if (s == STATUS_OK)
        s = make_forms(m, note);
    if (s == STATUS_OK)
        s = make_buffers(m, note);
    if (s != STATUS_OK) {
        encoder_model_close(m);
        return s;
    }
    *out = m;
    return STATUS_OK;
}

void encoder_model_close(encoder_model *m)
{
    if (m == NULL)
        return;
    if (m->host_x != m->x)
        memory_release(m->host_x);
    memory_release(m->head_row);
    m->operations->release(m->b, m->x);
    m->operations->release(m->b, m->qkv);
    m->operations->release(m->b, m->hidden);
    m->operations->release(m->b, m->scratch);
    for (uint32_t i = 0; i < m->form_count; i++)
        m->operations->activation_destroy(m->b, m->forms[i].rows);
    memory_release(m->layers);
    encoder_weights_unload(&m->weights);
    memory_release(m);
}

const struct encoder_weights *encoder_model_weights(const encoder_model *m)
{
    return &m->weights;
}

static void embed(encoder_model *m, const struct encoder_pass *pass, uint32_t rows)
{
    const struct backend_operations *op = m->operations;
    const struct encoder_weights *w = &m->weights;
    op->embed(m->b, w->tokens, pass->tokens, rows, 1.0f, m->x);
    op->embed_add(m->b, w->positions, pass->positions, rows, m->x);
    op->embed_add(m->b, w->types, pass->types, rows, m->x);
    op->layer_norm(m->b, m->x, w->embedding_norm.gain, w->embedding_norm.bias,
                   m->shape.norm_epsilon, rows, m->shape.d, m->layers[0].in);
}

static void run_layer(encoder_model *m, const struct encoder_pass *pass, uint32_t i, uint32_t rows)
{
    const struct backend_operations *op = m->operations;
    const struct encoder_layer *layer = &m->weights.layers[i];
    const struct layer_forms *forms = &m->layers[i];
    const struct encoder_shape *shape = &m->shape;
    /* nobody reads what the last norm writes but the pooling, out of x */
    activation *next = m->layers[i + 1 < shape->n_layers ? i + 1 : 0].in;
    struct attention_shape attention = {.n_heads = shape->n_heads,
                                        .n_kv_heads = shape->n_heads,
                                        .d_head = shape->d_head,
                                        .scale = 1.0f / sqrtf((float)shape->d_head)};
    op->matmul(m->b, layer->qkv.w, forms->in, rows, layer->qkv.bias, false, m->qkv);
    op->attention_full(m->b, m->qkv, &attention, pass->row_start, pass->text_count, m->scratch,
                       forms->attended);
    op->matmul(m->b, layer->attention_out.w, forms->attended, rows, layer->attention_out.bias, true,
               m->x);
    op->layer_norm(m->b, m->x, layer->attention_norm.gain, layer->attention_norm.bias,
                   shape->norm_epsilon, rows, shape->d, forms->ffn_in);
    op->matmul(m->b, layer->up.w, forms->ffn_in, rows, layer->up.bias, false, m->hidden);
    op->activate(m->b, m->hidden, rows, shape->activation, forms->ffn_activated);
    op->matmul(m->b, layer->down.w, forms->ffn_activated, rows, layer->down.bias, true, m->x);
    op->layer_norm(m->b, m->x, layer->output_norm.gain, layer->output_norm.bias,
                   shape->norm_epsilon, rows, shape->d, next);
}

static void finish_text(encoder_model *m, const struct encoder_pass *pass, uint32_t i)
{
    uint32_t first = pass->row_start[i], rows = pass->row_start[i + 1] - first;
    const float *x = m->host_x + (size_t)first * m->shape.d;
    if (m->shape.head != CLASS_HEAD_NONE)
        encoder_classify(&m->shape, &m->weights, x, m->head_row, pass->out[i]);
    else
        encoder_pool(&m->shape, x, rows, pass->out[i]);
}

status encoder_model_run(encoder_model *m, const struct encoder_pass *pass)
{
    uint32_t rows = pass->row_start[pass->text_count];
    CHECK(rows <= m->rows_max && pass->text_count <= m->texts_max);
    embed(m, pass, rows);
    for (uint32_t i = 0; i < m->shape.n_layers; i++)
        run_layer(m, pass, i, rows);
    if (m->host_x != m->x)
        m->operations->download(m->b, m->host_x, m->x, (uint64_t)rows * m->shape.d * sizeof(float));
    status s = m->operations->synchronize(m->b);
    for (uint32_t i = 0; i < pass->text_count && s == STATUS_OK; i++)
        finish_text(m, pass, i);
    return s;
}
