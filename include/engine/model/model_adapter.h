#ifndef PENSTOCK_ENGINE_MODEL_ADAPTER_H
#define PENSTOCK_ENGINE_MODEL_ADAPTER_H

#include "model.h"

/* A LoRA adapter (Hu et al. 2021) in the form that the PEFT library writes: a folder with adapter_config.json and
 * adapter_model.safetensors. It belongs to the model that it was opened for and is closed before it; any number of them
 * work in one batch, each on its own sequences' rows. Immutable after open. */

/* The adapter as floats in the backend's memory. STATUS_NOT_FOUND, STATUS_IO, STATUS_INVALID (a shape that does not fit the
 * model, a matrix without its partner), STATUS_UNSUPPORTED (a kind of adapter, a module that cannot be changed, the model
 * was opened without adapters), STATUS_TOO_LARGE (a rank above the model's adapter_rank_max), STATUS_FULL (as many are
 * open as there may be), STATUS_NO_MEMORY; each with a note that names the key or tensor. On a device of its own it has a place, and must be
 * uploaded before a step uses it. Thread: any, beside steps. */
NODISCARD status model_adapter_open(const model *m, const char *folder, model_adapter **out,
                                    struct error_note *note);
/* Copies the next piece of it to its place; true: all of it is there. At once where the backend's memory is the host's. Thread: step. */
NODISCARD bool model_adapter_upload(const model *m, model_adapter *adapter);
/* Gives back the host's copy, if all of it is in its place. Thread: any, before a step may use it. */
void model_adapter_trim(model_adapter *adapter);
/* No step may use it any more. Accepts NULL. Thread: any, beside steps. */
void model_adapter_close(const model *m, model_adapter *adapter);
uint64_t model_adapter_bytes(const model_adapter *adapter);

#endif
