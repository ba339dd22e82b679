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
