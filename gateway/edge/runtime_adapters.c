#include "runtime_adapters.h"

#include <string.h>

#include "check.h"
#include "memory.h"

void runtime_adapters_init(struct runtime_adapters *adapters)
{
    int rc = pthread_mutex_init(&adapters->lock, NULL);

    CHECK(rc == 0);
}

static void lock(struct runtime_adapters *adapters)
{
    int rc = pthread_mutex_lock(&adapters->lock);

    CHECK(rc == 0);
}

static void unlock(struct runtime_adapters *adapters)
{
    int rc = pthread_mutex_unlock(&adapters->lock);

    CHECK(rc == 0);
}

/* Name and path are one block, which begins with the name. */
static void row_release(const struct config_runtime_adapter *row)
{
    memory_release((void *)(uintptr_t)row->name);
}

void runtime_adapters_deinit(struct runtime_adapters *adapters)
{
    for (uint32_t i = 0; i < adapters->count; i++)
        row_release(&adapters->rows[i]);
    memory_release(adapters->rows);
    pthread_mutex_destroy(&adapters->lock);
}

const struct config_runtime_adapter *runtime_adapters_find(const struct runtime_adapters *adapters,
                                                           const char *name)
{
    for (uint32_t i = 0; i < adapters->count; i++) {
        if (strcmp(adapters->rows[i].name, name) == 0)
            return &adapters->rows[i];
    }
    return NULL;
}

static size_t line_bytes(const struct config_runtime_adapter *row)
{
    return strlen(row->name) + strlen(row->path) + strlen("=\n");
}

status runtime_adapters_add(struct runtime_adapters *adapters,
                            const struct config_runtime_adapter *adapter)
{
    size_t name_bytes = strlen(adapter->name) + 1, path_bytes = strlen(adapter->path) + 1;
    struct config_runtime_adapter *rows;
    char *texts;

    if (adapters->bytes + line_bytes(adapter) > RUNTIME_ADAPTERS_BYTES_MAX)
        return STATUS_TOO_LARGE;
    texts = memory_allocate(name_bytes + path_bytes);
    if (texts == NULL)
        return STATUS_NO_MEMORY;
    memcpy(texts, adapter->name, name_bytes);
    memcpy(texts + name_bytes, adapter->path, path_bytes);
    lock(adapters);
    rows = memory_resize(adapters->rows, (adapters->count + 1) * sizeof(rows[0]));
    if (rows != NULL) {
        rows[adapters->count++] = (struct config_runtime_adapter){
            .model = adapter->model, .name = texts, .path = texts + name_bytes};
        adapters->rows = rows;
        adapters->bytes += line_bytes(adapter);
    }
    unlock(adapters);
    if (rows == NULL)
        memory_release(texts);
    return rows != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void runtime_adapters_remove(struct runtime_adapters *adapters, const char *name)
{
    const struct config_runtime_adapter *found = runtime_adapters_find(adapters, name);

    if (found == NULL)
        return;
    lock(adapters);
    adapters->bytes -= line_bytes(found);
    row_release(found);
    adapters->rows[found - adapters->rows] = adapters->rows[adapters->count - 1];
    adapters->count--;
    unlock(adapters);
}

void runtime_adapters_write(struct runtime_adapters *adapters, const char *model,
                            struct buffer *out)
{
    lock(adapters);
    for (uint32_t i = 0; i < adapters->count; i++) {
        const struct config_runtime_adapter *row = &adapters->rows[i];

        if (strcmp(row->model, model) == 0)
            buffer_append_format(out, "%s=%s\n", row->name, row->path);
    }
    unlock(adapters);
}
