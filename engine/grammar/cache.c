#include <pthread.h>

#include "check.h"
#include "grammar.h"
#include "hash.h"
#include "memory.h"

/* Compiled grammars by the bytes of their source, and the refusals of those that do not compile: a bomb is tried once.
 *
 * An entry is made before its grammar: whoever asks for the same waits for it. Entries are in a table by hash and in a list,
 * the latest used first; beyond the cap the last go, but for those that are being compiled. A grammar in use lives on by its own
 * count. The lock is held for look-ups only; only the workers that prepare requests take it. */

#define BUCKETS 1024u
/* Of a source: what a request may hold is less. */
#define KEY_BYTES_MAX ((size_t)64 << 20)

struct entry {
    struct buffer key; /* owned */
    uint64_t hash;
    bool is_ready;
    uint32_t waiters;
    grammar *grammar; /* counted; NULL: it was refused */
    status result;
    struct error_note note;
    uint64_t bytes;
    struct entry *chain; /* next of the bucket */
    struct entry *newer, *older;
};

struct grammar_cache {
    const grammar_vocabulary *vocabulary; /* borrowed */
    struct grammar_limits limits;
    uint64_t bytes_max, bytes;
    struct hash_key hash_key;
    pthread_mutex_t lock;
    pthread_cond_t compiled;
    struct entry *buckets[BUCKETS];
    struct entry *newest, *oldest;
};

status grammar_cache_create(const grammar_vocabulary *v, const struct grammar_limits *limits,
                            uint64_t bytes_max, grammar_cache **out)
{
    grammar_cache *c = memory_allocate_array(1, sizeof *c);
    if (c == NULL)
        return STATUS_NO_MEMORY;
    c->vocabulary = v;
    c->limits = *limits;
    c->bytes_max = bytes_max;
    random_bytes(&c->hash_key, sizeof c->hash_key);
    int rc = pthread_mutex_init(&c->lock, NULL);
    rc |= pthread_cond_init(&c->compiled, NULL);
    CHECK(rc == 0);
    *out = c;
    return STATUS_OK;
}

static void list_remove(grammar_cache *c, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
}

static void list_push(grammar_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void entry_destroy(struct entry *e)
{
    grammar_release(e->grammar);
    buffer_deinit(&e->key);
    memory_release(e);
}

static void entry_remove(grammar_cache *c, struct entry *e)
{
    struct entry **link = &c->buckets[e->hash % BUCKETS];
    while (*link != e)
        link = &(*link)->chain;
    *link = e->chain;
    list_remove(c, e);
    c->bytes -= e->bytes;
    entry_destroy(e);
}

void grammar_cache_destroy(grammar_cache *c)
{
    if (c == NULL)
        return;
    while (c->newest != NULL)
        entry_remove(c, c->newest);
    (void)pthread_cond_destroy(&c->compiled);
    (void)pthread_mutex_destroy(&c->lock);
    memory_release(c);
}

static void drop_old(grammar_cache *c)
{
    struct entry *e = c->oldest;
    while (e != NULL && c->bytes > c->bytes_max) {
        struct entry *newer = e->newer;
        if (e->is_ready && e->waiters == 0)
            entry_remove(c, e);
        e = newer;
    }
}

/* --- keys --- */

static void append_text(struct buffer *key, struct text_slice text)
{
    buffer_append_u64(key, text.data != NULL ? text.bytes + 1 : 0);
    buffer_append_byte(key, ' ');
    buffer_append_slice(key, text);
}

static void append_texts(struct buffer *key, const struct text_slice *texts, uint32_t count)
{
    buffer_append_u64(key, count);
    buffer_append_byte(key, ' ');
    for (uint32_t i = 0; i < count; i++)
        append_text(key, texts[i]);
}

static void make_key(const struct grammar_source *source, struct buffer *key)
{
    buffer_init(key, KEY_BYTES_MAX);
    buffer_append_byte(key, (char)('0' + source->kind));
    buffer_append_byte(key, source->with_control ? 'c' : 'p');
    append_text(key, source->text);
    append_text(key, source->whitespace);
    append_texts(key, source->choices, source->choice_count);
    append_texts(key, source->triggers, source->trigger_count);
}

static struct entry *entry_find(const grammar_cache *c, const struct buffer *key, uint64_t hash)
{
    for (struct entry *e = c->buckets[hash % BUCKETS]; e != NULL; e = e->chain) {
        if (e->hash == hash && text_slice_equals(buffer_slice(&e->key), buffer_slice(key)))
            return e;
    }
    return NULL;
}

/* --- asking --- */

/* The entry's outcome, once it is there. The lock is held. */
static status take(grammar_cache *c, struct entry *e, grammar **out, struct error_note *note)
{
    e->waiters++;
    while (!e->is_ready)
        (void)pthread_cond_wait(&c->compiled, &c->lock);
    e->waiters--;
    list_remove(c, e);
    list_push(c, e);
    status result = e->result;
    if (result == STATUS_OK) {
        grammar_retain(e->grammar);
        *out = e->grammar;
    } else if (note != NULL) {
        *note = e->note;
    }
    return result;
}

/* A new entry, which takes over the key; NULL: no memory. The lock is held. */
static struct entry *entry_add(grammar_cache *c, struct buffer *key, uint64_t hash)
{
    struct entry *e = memory_allocate_array(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->key = *key;
    e->hash = hash;
    e->bytes = sizeof *e + key->bytes;
    e->chain = c->buckets[hash % BUCKETS];
    c->buckets[hash % BUCKETS] = e;
    c->bytes += e->bytes;
    list_push(c, e);
    return e;
}

/* Compiles without the lock, then tells those who wait. */
static status compile_entry(grammar_cache *c, struct entry *e, const struct grammar_source *source,
                            grammar **out, struct error_note *note)
{
    grammar *compiled = NULL;
    struct error_note own = {""};
    status result = grammar_compile(source, c->vocabulary, &c->limits, &compiled, &own);
    (void)pthread_mutex_lock(&c->lock);
    e->grammar = compiled;
    e->result = result;
    e->note = own;
    e->is_ready = true;
    uint64_t bytes = compiled != NULL ? grammar_bytes(compiled) : 0;
    e->bytes += bytes;
    c->bytes += bytes;
    (void)pthread_cond_broadcast(&c->compiled);
    status taken = take(c, e, out, note);
    if (result == STATUS_NO_MEMORY && e->waiters == 0)
        entry_remove(c, e);
    drop_old(c);
    (void)pthread_mutex_unlock(&c->lock);
    return taken;
}

status grammar_cache_get(grammar_cache *c, const struct grammar_source *source, grammar **out,
                         struct error_note *note)
{
    struct buffer key;
    make_key(source, &key);
    if (key.failed != STATUS_OK) {
        status failed = key.failed;
        buffer_deinit(&key);
        return failed;
    }
    uint64_t hash = hash64(&c->hash_key, key.data, key.bytes);
    (void)pthread_mutex_lock(&c->lock);
    struct entry *e = entry_find(c, &key, hash);
    bool is_new = e == NULL;
    if (is_new)
        e = entry_add(c, &key, hash);
    status s = e == NULL ? STATUS_NO_MEMORY : is_new ? STATUS_OK : take(c, e, out, note);
    (void)pthread_mutex_unlock(&c->lock);
    if (e == NULL || !is_new) {
        buffer_deinit(&key);
        return s;
    }
    return compile_entry(c, e, source, out, note);
}
