#include "memory.h"
#include "token_output.h"

void token_list_init(struct token_list *list, size_t count_max)
{
    *list = (struct token_list){.count_max = count_max};
}

void token_list_deinit(struct token_list *list)
{
    memory_release(list->ids);
    *list = (struct token_list){.count_max = list->count_max};
}

status token_list_reserve(struct token_list *list, size_t extra)
{
    size_t wanted = list->count + extra;
    if (wanted <= list->capacity)
        return STATUS_OK;
    size_t capacity = list->capacity * 2 > wanted ? list->capacity * 2 : wanted + 64;
    if (capacity > SIZE_MAX / sizeof(list->ids[0]))
        return STATUS_NO_MEMORY;
    int32_t *grown = memory_resize(list->ids, capacity * sizeof(list->ids[0]));
    if (grown == NULL)
        return STATUS_NO_MEMORY;
    list->ids = grown;
    list->capacity = capacity;
    return STATUS_OK;
}

status token_list_append(struct token_list *list, int32_t id)
{
    if (list->count >= list->count_max)
        return STATUS_TOO_LARGE;
    status s = token_list_reserve(list, 1);
    if (s == STATUS_OK)
        list->ids[list->count++] = id;
    return s;
}
