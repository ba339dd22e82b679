#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "check.h"
#include "trace_rows.h"

/* A file of recorded traffic. Whatever is read is in the order of its times and within the limits; whatever is not has a text that says
 * why. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_trace(const struct trace *trace)
{
    uint64_t count = 0, last_ns = 0;

    CHECK(trace_model_count(trace) >= 1 && trace_model_count(trace) <= TRACE_MODELS_MAX);
    CHECK(trace_hours(trace) >= 1 && trace_hours(trace) <= TRACE_HOURS_MAX);
    for (uint32_t i = 0; i < trace->model_count; i++) {
        const struct trace_model *model = &trace->models[i];

        CHECK(model->name[0] != '\0' && model->count > 0);
        for (uint64_t k = 0; k < model->count; k++) {
            const struct traffic_request *request = &model->requests[k];

            CHECK(k == 0 || request->at_ns >= model->requests[k - 1].at_ns);
            CHECK(request->prompt_tokens >= 1 && request->prompt_tokens <= TRACE_TOKENS_MAX);
            CHECK(request->output_tokens >= 1 && request->output_tokens <= TRACE_TOKENS_MAX);
        }
        last_ns = model->requests[model->count - 1].at_ns > last_ns
                      ? model->requests[model->count - 1].at_ns
                      : last_ns;
        count += model->count;
    }
    CHECK(trace->models[0].requests[0].at_ns == 0);
    CHECK(count == trace->request_count && last_ns == trace->last_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct error_note note = {""};
    struct trace *trace = NULL;
    FILE *file = bytes > 0 ? fmemopen((void *)(uintptr_t)data, bytes, "r") : NULL;

    if (file == NULL)
        return 0;
    if (trace_read(file, &trace, &note) == STATUS_OK)
        check_trace(trace);
    else
        CHECK(trace == NULL && note.text[0] != '\0');
    trace_destroy(trace);
    (void)fclose(file);
    return 0;
}
