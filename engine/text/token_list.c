#include "memory.h"
#include "tokenizer.h"

void token_list_init(struct token_list *list, size_t count_max)
{
    *list = (struct token_list){.count_max = count_max};
}

void token_list_deinit(struct token_list *list)
{
    memory_release(list->ids);
    *list = (struct token_list){.count_max = list->count_max};
}

status token_list_append(struct token_list *list, int32_t id)
{
    if (list->count >= list->count_max)
        return STATUS_TOO_LARGE;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity > 0 ? list->capacity * 2 : 16;
        int32_t *ids = memory_resize(list->ids, capacity * sizeof *ids);
        if (ids == NULL)
            return STATUS_NO_MEMORY;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}
