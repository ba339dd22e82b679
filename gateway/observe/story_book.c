#include "story_book.h"

#include <stddef.h>

#include "check.h"
#include "memory.h"

struct entry {
    struct request_story story;
    struct entry *next, **link; /* among those under way; next: among the free ones too */
};

struct story_book {
    uint32_t loop, kept_max, kept_count;
    uint32_t kept_next;   /* of the ring, where the next one goes */
    uint64_t number_next; /* of stories, from 1 */
    struct entry *live, *spare;
    struct entry *kept[]; /* [kept_max] */
};

status story_book_create(uint32_t loop, uint32_t kept_max, story_book **out)
{
    story_book *book = memory_allocate_array(1, sizeof(*book) + kept_max * sizeof(book->kept[0]));

    if (book == NULL)
        return STATUS_NO_MEMORY;
    book->loop = loop;
    book->kept_max = kept_max;
    book->number_next = 1;
    *out = book;
    return STATUS_OK;
}

static void free_list(struct entry *entry)
{
    struct entry *next;

    for (; entry != NULL; entry = next) {
        next = entry->next;
        memory_release(entry);
    }
}

void story_book_destroy(story_book *book)
{
    if (book == NULL)
        return;
    free_list(book->live);
    free_list(book->spare);
    for (uint32_t i = 0; i < book->kept_count; i++)
        memory_release(book->kept[i]);
    memory_release(book);
}

struct request_story *story_book_begin(story_book *book, uint64_t start_ns)
{
    struct entry *entry = book->spare;

    if (entry != NULL)
        book->spare = entry->next;
    else
        entry = memory_allocate(sizeof(*entry));
    if (entry == NULL)
        return NULL;
    entry->story = (struct request_story){.number = book->number_next++,
                                          .loop = book->loop,
                                          .start_ns = start_ns,
                                          .route = "",
                                          .model = "",
                                          .finish = "",
                                          .policy = "",
                                          .cost_nano = STORY_NO_COST};
    entry->next = book->live;
    entry->link = &book->live;
    if (entry->next != NULL)
        entry->next->link = &entry->next;
    book->live = entry;
    return &entry->story;
}

void story_book_end(story_book *book, struct request_story *story)
{
    struct entry *entry = CONTAINER_OF(story, struct entry, story), *old = entry;

    *entry->link = entry->next;
    if (entry->next != NULL)
        entry->next->link = entry->link;
    story->is_over = true;
    if (book->kept_max > 0) {
        old = book->kept[book->kept_next];
        book->kept[book->kept_next] = entry;
        book->kept_next = (book->kept_next + 1) % book->kept_max;
        book->kept_count += old == NULL;
    }
    if (old == NULL)
        return;
    old->next = book->spare;
    book->spare = old;
}

void story_book_visit(const story_book *book, story_visit_fn *visit, void *context)
{
    for (const struct entry *entry = book->live; entry != NULL; entry = entry->next) {
        if (!visit(context, &entry->story))
            return;
    }
    for (uint32_t i = 1; i <= book->kept_count; i++) {
        uint32_t at = (book->kept_next + book->kept_max - i) % book->kept_max;

        if (!visit(context, &book->kept[at]->story))
            return;
    }
}
