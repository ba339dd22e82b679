#include "loops_passed.h"

#include <stdatomic.h>

#include "check.h"
#include "memory.h"

/* One message a loop; the last to run frees everything. */
struct loops_passed {
    http_server *server;
    void (*run)(void *object);
    void *object;
    uint32_t count;
    _Atomic uint32_t
        remaining; /* acq_rel: the last loop sees what the others did with the object */
    struct pass {
        struct http_message message;
        struct loops_passed *passed;
    } passes[];
};

static void pass_run(struct http_message *message, http_loop *loop)
{
    struct loops_passed *passed = CONTAINER_OF(message, struct pass, message)->passed;

    (void)loop;
    if (atomic_fetch_sub_explicit(&passed->remaining, 1, memory_order_acq_rel) != 1)
        return;
    passed->run(passed->object);
    memory_release(passed);
}

status loops_passed_create(http_server *server, loops_passed **out)
{
    uint32_t count = http_server_loop_count(server);
    struct loops_passed *passed =
        memory_allocate(sizeof(*passed) + count * sizeof(passed->passes[0]));

    if (passed == NULL)
        return STATUS_NO_MEMORY;
    passed->server = server;
    passed->count = count;
    atomic_init(&passed->remaining, count);
    for (uint32_t i = 0; i < count; i++)
        passed->passes[i] = (struct pass){.message = {.run = pass_run}, .passed = passed};
    *out = passed;
    return STATUS_OK;
}

void loops_passed_then(loops_passed *passed, void (*run)(void *object), void *object)
{
    http_server *server = passed->server;
    uint32_t count = passed->count;

    passed->run = run;
    passed->object = object;
    /* The last message to run frees them all, so nothing is read from them after it was sent. */
    for (uint32_t i = 0; i < count; i++)
        http_loop_send(http_server_loop(server, i), &passed->passes[i].message);
}
