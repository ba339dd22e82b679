#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "block_table.h"
#include "check.h"
#include "prefix_cache.h"

/* Stateful: the input is a list of operations on a handful of sequences over one small allocator and prefix cache. After
 * each operation all invariants are checked. A shadow of what each block holds shows that a hit finds only blocks with
 * just the asked-for content, and that no shared block is ever written. */

#define BLOCKS     24u
#define SEQUENCES  6u
#define TABLE_MAX  10u
#define TOKENS_MAX (TABLE_MAX * BLOCK_TOKENS)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct fuzz_sequence {
    struct block_table table;
    uint32_t storage[TABLE_MAX];
    struct hash128 hashes[TABLE_MAX];
    int32_t tokens[TOKENS_MAX];
    uint32_t computed;
    uint64_t salt;
};

static block_allocator *allocator;
static prefix_cache *cache;
static struct fuzz_sequence sequences[SEQUENCES];
/* What a real cache would hold: the token of each position, and a digest of all before it. */
static uint64_t shadow[BLOCKS][BLOCK_TOKENS];
static const struct hash_key key = {1, 2};
static uint64_t now_ns;

static uint64_t digest_of(const struct fuzz_sequence *s, uint32_t position)
{
    uint64_t digest = s->salt + 17;
    for (uint32_t i = 0; i <= position; i++)
        digest = (digest ^ (uint64_t)(s->tokens[i] + 1)) * 0x100000001B3ull;
    return digest;
}

static void check_everything(void)
{
    const struct block_table *tables[SEQUENCES];
    for (uint32_t i = 0; i < SEQUENCES; i++)
        tables[i] = &sequences[i].table;
    CHECK(block_allocator_is_consistent(allocator));
    CHECK(prefix_cache_is_consistent(cache));
    CHECK(block_tables_are_consistent(allocator, tables, SEQUENCES));
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        const struct fuzz_sequence *s = &sequences[i];
        for (uint32_t p = 0; p < s->computed; p++)
            CHECK(shadow[s->table.blocks[p / BLOCK_TOKENS]][p % BLOCK_TOKENS] == digest_of(s, p));
    }
}

static void end(struct fuzz_sequence *s)
{
    block_table_release(&s->table, allocator);
    s->computed = 0;
}

/* Computes the position after the last: room, copy on write, publication of a block that is full. */
static void compute_one(struct fuzz_sequence *s, int32_t token)
{
    if (s->computed == TOKENS_MAX)
        return;
    uint32_t position = s->computed;
    uint32_t index = position / BLOCK_TOKENS;
    if (index == s->table.count) {
        if (block_table_extend(&s->table, allocator, index + 1) != STATUS_OK)
            return;
    } else {
        uint32_t source;
        if (block_table_make_writable(&s->table, allocator, index, &source) != STATUS_OK)
            return;
        if (source != BLOCK_NONE)
            memcpy(shadow[s->table.blocks[index]], shadow[source], sizeof shadow[0]);
    }
    uint32_t block = s->table.blocks[index];
    CHECK(block_reference_count(allocator, block) == 1 && !block_is_findable(allocator, block));
    s->tokens[position] = token;
    shadow[block][position % BLOCK_TOKENS] = digest_of(s, position);
    s->computed++;
    block_set_filled(allocator, block, position % BLOCK_TOKENS + 1);
    if (s->computed % BLOCK_TOKENS != 0)
        return;
    uint64_t salt[2] = {s->salt, 0};
    struct hash128 parent = index > 0 ? s->hashes[index - 1] : prefix_hash_root(salt);
    s->hashes[index] = prefix_hash_next(&key, parent, index, s->tokens + index * BLOCK_TOKENS);
    s->table.blocks[index] = prefix_cache_insert(cache, s->hashes[index], block);
}

/* Begins anew with the tokens of `like`, as far as the cache has them. */
static void begin_like(struct fuzz_sequence *s, const struct fuzz_sequence *like, uint64_t salt)
{
    static struct fuzz_sequence model;
    model = *like;
    end(s);
    s->salt = salt;
    memcpy(s->tokens, model.tokens, sizeof s->tokens);
    uint64_t salts[2] = {salt, 0};
    struct hash128 parent = prefix_hash_root(salts);
    uint32_t full = model.computed / BLOCK_TOKENS;
    for (uint32_t i = 0; i < full; i++)
        s->hashes[i] = parent = prefix_hash_next(&key, parent, i, s->tokens + i * BLOCK_TOKENS);
    s->table.count = prefix_cache_match(cache, s->hashes, full, s->table.blocks);
    s->computed = s->table.count * BLOCK_TOKENS;
}

static void fork_from(struct fuzz_sequence *s, const struct fuzz_sequence *from)
{
    if (s == from)
        return;
    end(s);
    block_table_share(&s->table, &from->table, allocator);
    memcpy(s->tokens, from->tokens, sizeof s->tokens);
    memcpy(s->hashes, from->hashes, sizeof s->hashes);
    s->computed = from->computed;
    s->salt = from->salt;
}

static void run_operation(uint8_t operation, uint8_t argument)
{
    struct fuzz_sequence *s = &sequences[(operation >> 3) % SEQUENCES];
    struct fuzz_sequence *other = &sequences[argument % SEQUENCES];
    switch (operation % 8) {
    case 0:
        end(s);
        break;
    case 1:
        begin_like(s, other, argument >> 7);
        break;
    case 2:
        fork_from(s, other);
        break;
    case 3:
        compute_one(s, argument);
        break;
    case 4: /* its first blocks, as a prompt's; the low bits say which, the others how long */
        for (uint32_t i = 0; i < s->computed / BLOCK_TOKENS && i < argument % 8u; i++)
            block_pin(allocator, s->table.blocks[i], now_ns + argument / 8u);
        break;
    case 5:
        now_ns += argument;
        block_allocator_set_now(allocator, now_ns);
        break;
    default: /* most of a sequence's life */
        for (uint32_t i = 0; i < 1u + argument % 40u; i++)
            compute_one(s, operation % 8);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    status s = block_allocator_create(BLOCKS, &allocator);
    CHECK(s == STATUS_OK);
    s = prefix_cache_create(allocator, &key, &cache);
    CHECK(s == STATUS_OK);
    memset(sequences, 0, sizeof sequences);
    now_ns = 0;
    block_allocator_set_pinned_max(allocator, BLOCKS / 2);
    for (uint32_t i = 0; i < SEQUENCES; i++)
        block_table_init(&sequences[i].table, sequences[i].storage, TABLE_MAX);
    bytes = bytes < 2000 ? bytes : 2000;
    for (size_t at = 0; at + 1 < bytes; at += 2) {
        run_operation(data[at], data[at + 1]);
        check_everything();
    }
    for (uint32_t i = 0; i < SEQUENCES; i++)
        end(&sequences[i]);
    check_everything();
    CHECK(block_allocator_counts(allocator).referenced == 0);
    prefix_cache_destroy(cache);
    block_allocator_destroy(allocator);
    return 0;
}
