#include "unit_test.h"

#include "host_tier.h"

/* Against a list that does the same in the plainest way. */

enum { SLOTS = 7, HASHES = 20, STEPS = 20000 };

static const struct hash_key key = {3, 4};

static struct hash128 hash_of(uint32_t number)
{
    return (struct hash128){.low = number * 0x9E3779B97F4A7C15ull, .high = number};
}

struct entry {
    uint32_t number, slot, holds;
};

/* The least recently used first. */
struct list {
    struct entry entries[SLOTS];
    uint32_t count;
};

static uint32_t list_find(const struct list *l, uint32_t number)
{
    uint32_t i = 0;
    while (i < l->count && l->entries[i].number != number)
        i++;
    return i;
}

static struct entry list_take(struct list *l, uint32_t at)
{
    struct entry e = l->entries[at];
    l->count--;
    for (uint32_t i = at; i < l->count; i++)
        l->entries[i] = l->entries[i + 1];
    return e;
}

/* False: all are held. */
static bool list_make_room(struct list *l)
{
    if (l->count < SLOTS)
        return true;
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->entries[i].holds == 0) {
            (void)list_take(l, i);
            return true;
        }
    }
    return false;
}

static void put(host_tier *tier, struct list *l, uint32_t number)
{
    uint32_t slot = UINT32_MAX, at = list_find(l, number);
    bool is_new = host_tier_put(tier, hash_of(number), &slot);
    if (at < l->count) {
        assert_false(is_new);
        struct entry e = list_take(l, at);
        l->entries[l->count++] = e;
        return;
    }
    assert_int_equal(is_new, list_make_room(l));
    if (!is_new)
        return;
    for (uint32_t i = 0; i < l->count; i++)
        assert_int_not_equal(l->entries[i].slot, slot);
    assert_true(slot < SLOTS);
    l->entries[l->count++] = (struct entry){number, slot, 0};
}

static void hold(host_tier *tier, struct list *l, uint32_t number)
{
    uint32_t slot, at = list_find(l, number);
    bool is_held = host_tier_hold(tier, hash_of(number), &slot);
    assert_int_equal(is_held, at < l->count);
    if (!is_held)
        return;
    assert_int_equal(slot, l->entries[at].slot);
    l->entries[at].holds++;
}

/* The last one makes it the most recently used. */
static void release(host_tier *tier, struct list *l, uint32_t number)
{
    uint32_t at = list_find(l, number);
    if (at == l->count || l->entries[at].holds == 0)
        return;
    host_tier_release(tier, l->entries[at].slot);
    if (--l->entries[at].holds > 0)
        return;
    struct entry e = list_take(l, at);
    l->entries[l->count++] = e;
}

static void a_tier_holds_what_was_put_last(void **state)
{
    (void)state;
    host_tier *tier = NULL;
    struct list l = {.count = 0};
    uint64_t random = 7;
    assert_int_equal(host_tier_create(SLOTS, &key, &tier), STATUS_OK);
    assert_int_equal(host_tier_slots(tier), SLOTS);
    for (uint32_t i = 0; i < STEPS; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t number = (uint32_t)(random >> 40) % HASHES, what = (uint32_t)(random >> 33) % 4;
        if (what < 2)
            put(tier, &l, number);
        else if (what == 2)
            hold(tier, &l, number);
        else
            release(tier, &l, number);
        assert_int_equal(host_tier_count(tier), l.count);
        for (uint32_t n = 0; n < HASHES; n++)
            assert_int_equal(host_tier_has(tier, hash_of(n)), list_find(&l, n) < l.count);
        assert_true(host_tier_is_consistent(tier));
    }
    for (uint32_t n = 0; n < HASHES; n++)
        for (uint32_t at = list_find(&l, n); at < l.count && l.entries[at].holds > 0;
             at = list_find(&l, n))
            release(tier, &l, n);
    assert_true(host_tier_is_idle(tier));
    host_tier_forget(tier);
    assert_int_equal(host_tier_count(tier), 0);
    host_tier_destroy(tier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_tier_holds_what_was_put_last)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
