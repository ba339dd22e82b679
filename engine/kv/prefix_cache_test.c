#include "unit_test.h"

#include "block_table.h"
#include "prefix_cache.h"

#define CHAIN_MAX 8

static const struct hash_key key = {0x1234, 0x5678};

/* Hashes of a prompt of `count` blocks whose tokens are made from `seed`; blocks before `fork` are
 * those of seed 0. */
static void chain_of(uint64_t salt, int seed, uint32_t fork, uint32_t count, struct hash128 *out)
{
    uint64_t salts[2] = {salt, 0};
    struct hash128 parent = prefix_hash_root(salts);
    for (uint32_t i = 0; i < count; i++) {
        int32_t tokens[BLOCK_TOKENS];
        for (uint32_t j = 0; j < BLOCK_TOKENS; j++)
            tokens[j] = (int32_t)(i * BLOCK_TOKENS + j) + (i >= fork ? 1000 * seed : 0);
        out[i] = parent = prefix_hash_next(&key, parent, i, tokens);
    }
}

struct rig {
    block_allocator *a;
    prefix_cache *cache;
};

static struct rig rig_make(uint32_t blocks)
{
    struct rig rig = {NULL, NULL};
    assert_int_equal(block_allocator_create(blocks, &rig.a), STATUS_OK);
    assert_int_equal(prefix_cache_create(rig.a, &key, &rig.cache), STATUS_OK);
    return rig;
}

static void rig_end(struct rig *rig)
{
    assert_true(prefix_cache_is_consistent(rig->cache));
    assert_true(block_allocator_is_consistent(rig->a));
    prefix_cache_destroy(rig->cache);
    block_allocator_destroy(rig->a);
}

/* Computes the chain's missing blocks into `table`, as a prefill does. Returns how many were found.
 */
static uint32_t compute(struct rig *rig, struct block_table *table, const struct hash128 *hashes,
                        uint32_t count)
{
    uint32_t found = prefix_cache_match(rig->cache, hashes, count, table->blocks);
    table->count = found;
    assert_int_equal(block_table_extend(table, rig->a, count), STATUS_OK);
    for (uint32_t i = found; i < count; i++) {
        block_set_filled(rig->a, table->blocks[i], BLOCK_TOKENS);
        table->blocks[i] = prefix_cache_insert(rig->cache, hashes[i], table->blocks[i]);
    }
    return found;
}

static void the_longest_common_chain_is_found(void **state)
{
    (void)state;
    struct rig rig = rig_make(16);
    struct hash128 one[CHAIN_MAX], two[CHAIN_MAX];
    chain_of(0, 1, 6, 6, one);
    chain_of(0, 2, 3, 5, two); /* the same three blocks first */
    uint32_t storage[2][CHAIN_MAX];
    struct block_table tables[2];
    block_table_init(&tables[0], storage[0], CHAIN_MAX);
    block_table_init(&tables[1], storage[1], CHAIN_MAX);
    assert_int_equal(compute(&rig, &tables[0], one, 6), 0);
    assert_int_equal(compute(&rig, &tables[1], two, 5), 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(tables[0].blocks[i], tables[1].blocks[i]);
    assert_int_equal(prefix_cache_count(rig.cache), 8);
    block_table_release(&tables[0], rig.a);
    block_table_release(&tables[1], rig.a);
    assert_int_equal(block_allocator_counts(rig.a).kept, 8);
    assert_int_equal(compute(&rig, &tables[0], one, 6), 6);
    block_table_release(&tables[0], rig.a);
    rig_end(&rig);
}

static void another_salt_finds_nothing(void **state)
{
    (void)state;
    struct rig rig = rig_make(16);
    struct hash128 mine[CHAIN_MAX], theirs[CHAIN_MAX];
    chain_of(7, 0, 8, 4, mine);
    chain_of(8, 0, 8, 4, theirs);
    uint32_t storage[CHAIN_MAX];
    struct block_table table;
    block_table_init(&table, storage, CHAIN_MAX);
    assert_int_equal(compute(&rig, &table, mine, 4), 0);
    block_table_release(&table, rig.a);
    for (uint32_t i = 0; i < 4; i++)
        assert_false(prefix_cache_has(rig.cache, theirs[i]));
    assert_int_equal(compute(&rig, &table, theirs, 4), 0);
    block_table_release(&table, rig.a);
    rig_end(&rig);
}

static void a_hash_depends_on_parent_index_tokens_and_key(void **state)
{
    (void)state;
    int32_t tokens[BLOCK_TOKENS] = {1, 2, 3};
    struct hash128 root = {5, 6};
    struct hash128 base = prefix_hash_next(&key, root, 0, tokens);
    assert_true(hash128_equals(base, prefix_hash_next(&key, root, 0, tokens)));
    assert_false(hash128_equals(base, prefix_hash_next(&key, root, 1, tokens)));
    struct hash128 other_root = {5, 7};
    assert_false(hash128_equals(base, prefix_hash_next(&key, other_root, 0, tokens)));
    struct hash_key other_key = {key.k0, key.k1 + 1};
    assert_false(hash128_equals(base, prefix_hash_next(&other_key, root, 0, tokens)));
    tokens[15] = 1;
    assert_false(hash128_equals(base, prefix_hash_next(&key, root, 0, tokens)));
}

static void equal_content_is_held_once(void **state)
{
    (void)state;
    struct rig rig = rig_make(4);
    struct hash128 hash;
    chain_of(0, 0, 8, 1, &hash);
    uint32_t first, second;
    assert_int_equal(block_acquire(rig.a, &first), STATUS_OK);
    assert_int_equal(block_acquire(rig.a, &second), STATUS_OK);
    block_set_filled(rig.a, first, BLOCK_TOKENS);
    block_set_filled(rig.a, second, BLOCK_TOKENS);
    assert_int_equal(prefix_cache_insert(rig.cache, hash, first), first);
    assert_int_equal(prefix_cache_insert(rig.cache, hash, first), first);
    assert_int_equal(prefix_cache_insert(rig.cache, hash, second), first);
    assert_int_equal(block_reference_count(rig.a, first), 2);
    assert_int_equal(block_allocator_counts(rig.a).free, 3);
    block_release(rig.a, first);
    block_release(rig.a, first);
    rig_end(&rig);
}

static void eviction_loses_children_before_parents(void **state)
{
    (void)state;
    struct rig rig = rig_make(6);
    struct hash128 chain[CHAIN_MAX];
    chain_of(0, 0, 8, 6, chain);
    uint32_t storage[CHAIN_MAX];
    struct block_table table;
    block_table_init(&table, storage, CHAIN_MAX);
    compute(&rig, &table, chain, 6);
    block_table_release(&table, rig.a);
    for (uint32_t left = 6; left > 0; left--) {
        uint32_t found[CHAIN_MAX];
        assert_int_equal(prefix_cache_match(rig.cache, chain, 6, found), left);
        for (uint32_t i = left; i > 0; i--)
            block_release(rig.a, found[i - 1]);
        uint32_t taken;
        assert_int_equal(block_acquire(rig.a, &taken), STATUS_OK); /* never given back */
        assert_false(prefix_cache_has(rig.cache, chain[left - 1]));
        assert_true(prefix_cache_is_consistent(rig.cache));
    }
    rig_end(&rig);
}

/* Thousands of short-lived chains through a small cache: the table must neither fill up nor lose an
 * entry. */
static void the_table_stays_sound_through_long_turnover(void **state)
{
    (void)state;
    struct rig rig = rig_make(24);
    uint32_t storage[CHAIN_MAX];
    struct block_table table;
    block_table_init(&table, storage, CHAIN_MAX);
    for (int round = 0; round < 3000; round++) {
        struct hash128 chain[CHAIN_MAX];
        uint32_t count = 1 + (uint32_t)(round * 7 % 5);
        chain_of(0, 1 + round % 37, (uint32_t)(round % 4), count, chain);
        compute(&rig, &table, chain, count);
        for (uint32_t i = 0; i < count; i++)
            assert_true(prefix_cache_has(rig.cache, chain[i]));
        block_table_release(&table, rig.a);
        assert_true(prefix_cache_is_consistent(rig.cache));
    }
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_common_chain_is_found),
        cmocka_unit_test(another_salt_finds_nothing),
        cmocka_unit_test(a_hash_depends_on_parent_index_tokens_and_key),
        cmocka_unit_test(equal_content_is_held_once),
        cmocka_unit_test(eviction_loses_children_before_parents),
        cmocka_unit_test(the_table_stays_sound_through_long_turnover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
