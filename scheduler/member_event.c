#include "member_event.h"

#include <string.h>

#include "memory.h"

/* One block: a head, then lists of pointers and parts, then texts. It is gone through twice, first with no block, which counts its
 * bytes. Lists begin at multiples of 8 since they come first. */
struct pack {
    char *block; /* NULL: counts */
    size_t bytes;
};

static void *pack_room(struct pack *pack, size_t bytes)
{
    void *room = pack->block != NULL ? pack->block + pack->bytes : NULL;

    pack->bytes += bytes;
    return room;
}

static const char *pack_text(struct pack *pack, const char *text)
{
    size_t bytes = text != NULL ? strlen(text) + 1 : 0;
    char *room = pack_room(pack, bytes);

    if (text == NULL || room == NULL)
        return text;
    return memcpy(room, text, bytes);
}

/* A list of `count` texts, with a NULL behind it. */
static const char **pack_list(struct pack *pack, size_t count)
{
    const char **room = pack_room(pack, (count + 1) * sizeof(*room));

    if (room != NULL)
        room[count] = NULL;
    return room;
}

static void pack_texts(struct pack *pack, const char **room, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = pack_text(pack, texts[i]);

        if (room != NULL)
            room[i] = text;
    }
}

static struct member_part *pack_parts(struct pack *pack, uint32_t count)
{
    return pack_room(pack, count * sizeof(struct member_part));
}

static void pack_part_texts(struct pack *pack, struct member_part *room,
                            const struct member_part *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct member_part part = parts[i];

        part.slice_id = pack_text(pack, part.slice_id);
        if (room != NULL)
            room[i] = part;
    }
}

/* --- events --- */

static void slice_pack(struct pack *pack, const struct slice_report *from)
{
    struct member_event *event = pack_room(pack, sizeof(*event));
    const char **labels = pack_list(pack, from->label_count);
    struct slice_report slice = *from;
    const char **texts[] = {&slice.id,        &slice.node,    &slice.region,
                            &slice.zone,      &slice.rack,    &slice.switch_name,
                            &slice.pcie_root, &slice.product, &slice.profile,
                            &slice.owner,     &slice.reason,  &slice.nvlink_domain};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = pack_text(pack, *texts[i]);
    pack_texts(pack, labels, from->labels, from->label_count);
    slice.labels = labels;
    if (event != NULL)
        *event = (struct member_event){.kind = MEMBER_EVENT_SLICE, .slice = slice};
}

static void replica_pack(struct pack *pack, const struct member_replica *from)
{
    struct member_event *event = pack_room(pack, sizeof(*event));
    struct member_part *parts = pack_parts(pack, from->part_count);
    struct member_replica replica = *from;
    const char **texts[] = {&replica.handle, &replica.node, &replica.endpoint,
                            &replica.reason, &replica.name, &replica.address};

    /* What a driver leaves out is "" for who reads it. */
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = pack_text(pack, *texts[i] != NULL ? *texts[i] : "");
    pack_part_texts(pack, parts, from->parts, from->part_count);
    replica.parts = parts;
    if (event != NULL)
        *event = (struct member_event){.kind = MEMBER_EVENT_REPLICA, .replica = replica};
}

struct member_event *member_event_slice(const struct slice_report *report)
{
    struct pack pack = {NULL, 0};

    slice_pack(&pack, report);
    pack = (struct pack){memory_allocate(pack.bytes), 0};
    if (pack.block != NULL)
        slice_pack(&pack, report);
    return (struct member_event *)(void *)pack.block;
}

struct member_event *member_event_replica(const struct member_replica *replica)
{
    struct pack pack = {NULL, 0};

    replica_pack(&pack, replica);
    pack = (struct pack){memory_allocate(pack.bytes), 0};
    if (pack.block != NULL)
        replica_pack(&pack, replica);
    return (struct member_event *)(void *)pack.block;
}

struct member_event *member_event_text(enum member_event_kind kind, uint64_t uid, status result,
                                       const char *text)
{
    size_t bytes = strlen(text) + 1;
    struct member_event *event = memory_allocate(sizeof(*event) + bytes);

    if (event == NULL)
        return NULL;
    *event = (struct member_event){
        .kind = kind, .uid = uid, .result = result, .text = memcpy(event + 1, text, bytes)};
    return event;
}

void member_event_free(struct member_event *event)
{
    memory_release(event);
}

/* --- orders --- */

static size_t list_count(const char *const *list)
{
    size_t count = 0;

    while (list != NULL && list[count] != NULL)
        count++;
    return count;
}

static void order_pack(struct pack *pack, const struct member_order *from)
{
    size_t argument_count = list_count(from->arguments),
           environment_count = list_count(from->environment);
    struct member_order *order = pack_room(pack, sizeof(*order));
    struct member_part *parts = pack_parts(pack, from->part_count);
    struct member_path *paths = pack_room(pack, from->path_count * sizeof(*paths));
    const char **arguments = pack_list(pack, argument_count),
               **environment = pack_list(pack, environment_count);
    struct member_order copy = *from;

    copy.name = pack_text(pack, from->name);
    copy.image = pack_text(pack, from->image);
    pack_part_texts(pack, parts, from->parts, from->part_count);
    for (uint32_t i = 0; i < from->path_count; i++) {
        const char *path = pack_text(pack, from->paths[i].path);

        if (paths != NULL)
            paths[i] = (struct member_path){path, from->paths[i].access};
    }
    pack_texts(pack, arguments, from->arguments, argument_count);
    pack_texts(pack, environment, from->environment, environment_count);
    copy.parts = parts;
    copy.paths = paths;
    copy.arguments = arguments;
    copy.environment = environment;
    if (order != NULL)
        *order = copy;
}

struct member_order *member_order_copy(const struct member_order *order)
{
    struct pack pack = {NULL, 0};

    order_pack(&pack, order);
    pack = (struct pack){memory_allocate(pack.bytes), 0};
    if (pack.block != NULL)
        order_pack(&pack, order);
    return (struct member_order *)(void *)pack.block;
}
