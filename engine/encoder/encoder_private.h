#ifndef PENSTOCK_ENGINE_ENCODER_PRIVATE_H
#define PENSTOCK_ENGINE_ENCODER_PRIVATE_H

#include <stdatomic.h>

#include "encoder.h"
#include "encoder_metrics.h"
#include "encoder_model.h"
#include "model_source.h"
#include "opening.h"
#include "ring.h"
#include "thread.h"

/* Shared by encoder.c (other threads), encoder_open.c and encoder_passes.c (the thread). */
struct encoder {
    struct encoder_options options;
    struct encoder_shape shape;
    struct encoder_info info;
    safetensors *folder;  /* owned; or */
    model_source *source; /* owned; a GGUF file */
    tokenizer *tokens;    /* owned */
    struct encoder_metrics metrics;
    enum backend_path path;

    ring *inbox; /* owned */
    struct parking parking;
    struct opening opening;
    pthread_t thread;
    bool has_thread;
    _Atomic bool is_closing;
    _Atomic uint64_t waiting_tokens; /* of requests that are not through */
    _Atomic uint32_t waiting_count;
    _Atomic uint64_t busy_since_ns; /* 0: asleep */

    /* the thread's */
    backend *device;
    encoder_model *model;
    struct encoder_request *oldest, **newest;
    status failure;                   /* of the device: nothing runs any more */
    int32_t *ids, *positions, *types; /* owned; [rows_max] */
    uint32_t *row_start;              /* owned; [texts_max + 1] */
    float **outputs;                  /* owned; [texts_max] */
    uint32_t rows_max, texts_max;
    _Atomic uint32_t running;
    _Atomic uint64_t passes, texts, pass_tokens, busy_ns;
    _Atomic float pass_ms;
};

/* The encoder's thread (encoder_passes.c): opens the model, tells so, runs passes until it closes. */
void *encoder_thread_run(void *context);

#endif
