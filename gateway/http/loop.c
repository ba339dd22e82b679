#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "acceptor.h"
#include "check.h"
#include "clock.h"
#include "connection.h"
#include "log.h"
#include "memory.h"
#include "request.h"
#include "thread.h"

/* One turn of a loop:
 *   wait for events (not past the next timer)     h2o_evloop_run
 *   callbacks of sockets, messages from threads   (inside it)
 *   our timers, flush, resume                     (inside it, as zero time-outs)
 *   re-wrap what the library put back             loop_run
 *
 * Everything that touches a socket runs inside h2o_evloop_run: outside it nothing drains the
 * library's list of pending callbacks before the next wait. That is why due timers, the flush list
 * and resumed connections are run from entries on the library's zero time-out, which it runs after
 * the socket callbacks of the same turn.
 *
 * Time is ours and monotonic. The library's clock is gettimeofday; it decides nothing but the
 * library's idle time-out. When the wall clock steps back, entries that were linked before the step
 * would wait for the clock to come round again: loop_run sees the step and puts them right.
 *
 * Messages are a stack with one atomic head. The sender that finds it empty wakes the loop; so a
 * burst costs one system call. The loop takes the whole stack and turns it round, so messages of
 * one sender keep their order. */

/* Memory of what is read. A socket has a buffer only while bytes wait in it, so buffers can be as large as one read
 * should be, and few are needed: the ones just used, which lie in the cache. Clients' are kept with the request over
 * HTTP/1.1; the library never reads with less than 4096. An answer's are passed on and given back at once; a burst of
 * events comes in one read, not in several with copies to ever larger buffers between. The library's own kind is left
 * to what it reads of TLS, and to bodies over HTTP/2, each of which keeps one as long as its stream lives: 8 kB for
 * each prompt was half of an open stream's memory. */
#define INPUT_BYTES         4096u
#define ANSWER_INPUT_BYTES  65536u
#define LIBRARY_INPUT_BYTES 472u /* with its own 40 bytes, 512 of the allocator */
#define INPUT_KEPT          16u  /* free ones; as many as the library keeps of its own */
#define ANSWER_INPUT_KEPT   2u

#define PROBE_NS    (NS_PER_SECOND / 10)
#define WAIT_MS_MAX 1000

static _Thread_local http_loop *current_loop;

http_loop *http_loop_current(void)
{
    return current_loop;
}

uint32_t http_loop_index(const http_loop *loop)
{
    return loop->index;
}

void http_loop_set(http_loop *loop, uint32_t slot, void *value)
{
    CHECK(slot < HTTP_LOOP_SLOT_COUNT);
    loop->slots[slot] = value;
}

void *http_loop_get(const http_loop *loop, uint32_t slot)
{
    CHECK(slot < HTTP_LOOP_SLOT_COUNT);
    return loop->slots[slot];
}

/* --- messages --- */

bool http_loop_leave(http_loop *loop, struct http_message *message)
{
    struct http_message *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        message->next = head;
        /* release: what the sender wrote before is seen by the loop's acquire exchange */
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, message,
                                                    memory_order_release, memory_order_relaxed));
    return head == NULL;
}

void http_loop_wake(http_loop *loop)
{
    uint64_t one = 1;
    ssize_t written = write(loop->wake_descriptor, &one, sizeof one);
    CHECK(written == sizeof one ||
          errno == EAGAIN); /* EAGAIN: the counter is full, so it wakes anyway */
}

void http_loop_send(http_loop *loop, struct http_message *message)
{
    if (http_loop_leave(loop, message))
        http_loop_wake(loop);
}

static void run_messages(http_loop *loop)
{
    struct http_message *stack = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire),
                        *queue = NULL;
    while (stack != NULL) {
        struct http_message *message = stack;
        stack = message->next;
        message->next = queue;
        queue = message;
    }
    while (queue != NULL) {
        struct http_message *message = queue;
        queue = message->next; /* it may free or resend itself */
        message->run(message, loop);
    }
}

static void on_wake(h2o_socket_t *socket, const char *error)
{
    http_loop *loop = socket->data;
    uint64_t count;
    (void)error;
    if (read(loop->wake_descriptor, &count, sizeof count) < 0)
        return; /* EAGAIN: nobody woke us */
    run_messages(loop);
}

/* --- timers, flush, resume --- */

void http_timer_set(http_loop *loop, struct http_timer *timer, uint64_t deadline_ns)
{
    ASSERT_ON_THREAD(&loop->owner);
    timer_wheel_set(&loop->timers, timer, deadline_ns);
}

static void on_timers(h2o_timeout_entry_t *entry)
{
    http_loop *loop = CONTAINER_OF(entry, http_loop, timers_entry);
    loop->now_ns = clock_now_ns();
    timer_wheel_run(&loop->timers, loop->now_ns, loop);
}

static void run_in_turn(http_loop *loop, h2o_timeout_entry_t *entry)
{
    if (!h2o_timeout_is_linked(entry))
        h2o_timeout_link(loop->evloop, &loop->context.zero_timeout, entry);
}

void loop_schedule_flush(http_loop *loop, http_request *request)
{
    if (request->flush_link != NULL)
        return;
    request->flush_next = loop->flush_list;
    request->flush_link = &loop->flush_list;
    if (request->flush_next != NULL)
        request->flush_next->flush_link = &request->flush_next;
    loop->flush_list = request;
    run_in_turn(loop, &loop->flush_entry);
}

static void on_flush(h2o_timeout_entry_t *entry)
{
    http_loop *loop = CONTAINER_OF(entry, http_loop, flush_entry);
    http_request *request;
    while ((request = loop->flush_list) != NULL) {
        loop->flush_list = request->flush_next;
        if (request->flush_next != NULL)
            request->flush_next->flush_link = &loop->flush_list;
        request->flush_link = NULL;
        request_flush(request);
    }
}

void loop_schedule_resume(http_loop *loop)
{
    run_in_turn(loop, &loop->resume_entry);
}

static void on_resume(h2o_timeout_entry_t *entry)
{
    http2_resume_deferred(CONTAINER_OF(entry, http_loop, resume_entry));
}

static void on_sweep(struct http_timer *timer, http_loop *loop)
{
    http_timer_set(loop, timer, loop->now_ns + SWEEP_NS);
    connection_sweep(loop);
}

static void on_probe(struct http_timer *timer, http_loop *loop)
{
    double late_ns = (double)(loop->now_ns - timer->deadline_ns);
    metrics_observe(loop->server->meters.loop_delay, late_ns / (double)NS_PER_SECOND);
    http_timer_set(loop, timer, loop->now_ns + PROBE_NS);
}

/* --- life --- */

status loop_create(http_server *server, uint32_t index, const struct http_limits *limits,
                   http_loop **out)
{
    http_loop *loop = memory_allocate_aligned(CACHE_LINE_BYTES, sizeof *loop);
    if (loop == NULL)
        return STATUS_NO_MEMORY;
    memset(loop, 0, sizeof *loop);
    loop->server = server;
    loop->index = index;
    loop->limits = *limits;
    loop->now_ns = clock_now_ns();
    loop->wake_descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_descriptor < 0) {
        memory_release(loop);
        return STATUS_IO;
    }
    timer_wheel_init(&loop->timers, loop->now_ns);
    atomic_init(&loop->last_turn_ns, loop->now_ns);
    random_bytes(&loop->id_key, sizeof loop->id_key);
    loop->timers_entry.cb = on_timers;
    loop->flush_entry.cb = on_flush;
    loop->resume_entry.cb = on_resume;
    loop->sweep.run = on_sweep;
    loop->probe.run = on_probe;
    *out = loop;
    return STATUS_OK;
}

void loop_destroy(http_loop *loop)
{
    if (loop == NULL)
        return;
    for (uint32_t i = 0; i < LISTENER_COUNT_MAX; i++)
        SSL_CTX_free(loop->acceptors[i].tls);
    if (loop->wake_descriptor >= 0)
        close(loop->wake_descriptor);
    memory_release(loop);
}

static void input_init(h2o_buffer_prototype_t *input, size_t bytes, size_t kept)
{
    *input = (h2o_buffer_prototype_t){.allocator = {.max = kept},
                                      ._initial_buf = {.capacity = bytes},
                                      .mmap_settings = &h2o_socket_buffer_mmap_settings};
}

static void input_deinit(h2o_buffer_prototype_t *input)
{
    while (input->allocator.cnt > 0)
        free(h2o_mem_alloc_recycle(&input->allocator, 0));
}

/* The part of the set-up that the library wants on the loop's own thread (it has per-thread free
 * lists). */
static void enter(http_loop *loop)
{
    current_loop = loop;
    thread_owner_bind(&loop->owner);
    h2o_socket_buffer_prototype._initial_buf.capacity = LIBRARY_INPUT_BYTES;
    input_init(&loop->input, INPUT_BYTES, INPUT_KEPT);
    input_init(&loop->answer_input, ANSWER_INPUT_BYTES, ANSWER_INPUT_KEPT);
    loop->evloop = h2o_evloop_create();
    h2o_context_init(&loop->context, loop->evloop, &loop->server->config);
    loop->accept.ctx = &loop->context;
    loop->accept.hosts = loop->server->config.hosts;
    /* The socket owns a duplicate: what senders write to stays open after the loop's end. */
    int wake = fcntl(loop->wake_descriptor, F_DUPFD_CLOEXEC, 0);
    CHECK(wake >= 0);
    loop->wake_socket = h2o_evloop_socket_create(loop->evloop, wake, H2O_SOCKET_FLAG_DONT_READ);
    loop->wake_socket->data = loop;
    h2o_socket_read_start(loop->wake_socket, on_wake);
    loop->now_ns = clock_now_ns();
    http_timer_set(loop, &loop->sweep, loop->now_ns + SWEEP_NS);
    http_timer_set(loop, &loop->probe, loop->now_ns + PROBE_NS);
    for (uint32_t i = 0; i < loop->server->listener_count; i++) {
        acceptor_open(&loop->acceptors[i], loop);
        if (!loop->server->is_held)
            acceptor_start(&loop->acceptors[i]);
    }
}

static void leave(http_loop *loop)
{
    h2o_multithread_queue_t *queue = loop->context.queue;
    h2o_timeout_unlink(&loop->context.http2._graceful_shutdown_timeout);
    h2o_timeout_unlink(&loop->timers_entry);
    h2o_timeout_unlink(&loop->flush_entry);
    h2o_timeout_unlink(&loop->resume_entry);
    h2o_socket_close(loop->wake_socket);
    h2o_context_dispose(&loop->context);
#if H2O_LIBRARY_VERSION_MAJOR == 0 && H2O_LIBRARY_VERSION_MINOR == 13
    free(queue); /* this version forgets it */
#else
    (void)queue;
#endif
    h2o_evloop_destroy(loop->evloop);
    input_deinit(&loop->input);
    input_deinit(&loop->answer_input);
    current_loop = NULL;
}

#ifdef __SANITIZE_ADDRESS__
/* The library keeps up to 16 free chunks a thread and cannot be told to let them go. */
const char *__lsan_default_suppressions(void);
__attribute__((weak)) const char *__lsan_default_suppressions(void)
{
    return "leak:h2o_mem_alloc_recycle\n";
}
#endif

/* The wall clock went back: no entry may have been linked in the future. */
static void mend_library_timeouts(http_loop *loop)
{
    uint64_t now_ms = h2o_now(loop->evloop);
    h2o_linklist_t *lists = &loop->evloop->_timeouts;
    for (h2o_linklist_t *list = lists->next; list != lists; list = list->next) {
        h2o_timeout_t *timeout = H2O_STRUCT_FROM_MEMBER(h2o_timeout_t, _link, list);
        for (h2o_linklist_t *at = timeout->_entries.next; at != &timeout->_entries; at = at->next) {
            h2o_timeout_entry_t *entry = H2O_STRUCT_FROM_MEMBER(h2o_timeout_entry_t, _link, at);
            if (entry->registered_at > now_ms)
                entry->registered_at = now_ms;
        }
    }
}

static int32_t wait_ms(http_loop *loop)
{
    uint64_t next_ns = timer_wheel_next_ns(&loop->timers);
    if (next_ns <= loop->now_ns) {
        run_in_turn(loop, &loop->timers_entry);
        return 0;
    }
    uint64_t wait = (next_ns - loop->now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait < WAIT_MS_MAX ? (int32_t)wait : WAIT_MS_MAX;
}

void *loop_run(void *argument)
{
    http_loop *loop = argument;
    http_server *server = loop->server;
    enter(loop);
    thread_ask_short_slice();
    if (server->on_start != NULL)
        server->on_start(server->on_start_context, loop);
    atomic_fetch_add(&server->ready_count, 1);
    while (!loop->is_stopping || loop->connections != NULL) {
        loop->now_ns = clock_now_ns();
        loop->turn++;
        atomic_store_explicit(&loop->last_turn_ns, loop->now_ns, memory_order_relaxed);
        if (h2o_evloop_run(loop->evloop, wait_ms(loop)) != 0 && errno != EINTR) {
            log_error("gateway/http", "event loop: %s", strerror(errno));
            if (loop->evloop->_statechanged.head ==
                NULL) /* the library leaves its list's tail dangling on failure */
                loop->evloop->_statechanged.tail_ref = &loop->evloop->_statechanged.head;
        }
        if (h2o_now(loop->evloop) < loop->wall_ms)
            mend_library_timeouts(loop);
        loop->wall_ms = h2o_now(loop->evloop);
        http2_after_turn(loop);
    }
    leave(loop);
    return NULL;
}
