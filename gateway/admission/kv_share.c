#include "kv_share.h"

#include "check.h"
#include "memory.h"

struct kv_account {
    struct hash128 id;
    uint64_t blocks;     /* that its running requests hold */
    uint32_t user_count; /* open claims */
    struct kv_account *next;
};

/* The place in its list where the account is, or would be. */
static struct kv_account **account_find(struct kv_accounts *accounts, struct hash128 id)
{
    struct kv_account **link = &accounts->heads[id.low % KV_ACCOUNT_HEADS];

    while (*link != NULL && !hash128_equals((*link)->id, id))
        link = &(*link)->next;
    return link;
}

static void account_release(struct kv_accounts *accounts, struct kv_account *account)
{
    struct kv_account **link;

    CHECK(account->user_count > 0);
    if (--account->user_count > 0)
        return;
    CHECK(account->blocks == 0);
    link = account_find(accounts, account->id);
    *link = account->next;
    memory_release(account);
}

status kv_claims_open(struct kv_accounts *accounts, struct kv_claim *claims, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct kv_account **link = account_find(accounts, claims[i].id);

        if (*link == NULL) {
            *link = memory_allocate_array(1, sizeof(**link));
            if (*link == NULL) {
                kv_claims_close(accounts, claims, i, 0);
                return STATUS_NO_MEMORY;
            }
            (*link)->id = claims[i].id;
        }
        claims[i].account = *link;
        claims[i].account->user_count++;
    }
    return STATUS_OK;
}

void kv_claims_close(struct kv_accounts *accounts, struct kv_claim *claims, uint32_t count,
                     uint32_t blocks)
{
    kv_claims_hold(claims, count, blocks, 0);
    for (uint32_t i = 0; i < count; i++) {
        account_release(accounts, claims[i].account);
        claims[i].account = NULL;
    }
}

void kv_claims_hold(struct kv_claim *claims, uint32_t count, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < count; i++) {
        CHECK(claims[i].account->blocks >= from);
        claims[i].account->blocks += (uint64_t)to - from;
    }
}

static uint64_t blocks_of(const struct kv_claim *claim, uint64_t total)
{
    return (uint64_t)(claim->share * (double)total);
}

bool kv_claims_fit(const struct kv_claim *claims, uint32_t count, uint64_t blocks, uint64_t total)
{
    for (uint32_t i = 0; total > 0 && i < count; i++) {
        uint64_t held = claims[i].account->blocks;

        if (held > 0 && held + blocks > blocks_of(&claims[i], total))
            return false;
    }
    return true;
}

uint64_t kv_claims_blocks_max(const struct kv_claim *claims, uint32_t count, uint64_t total)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; total > 0 && i < count; i++) {
        uint64_t blocks = blocks_of(&claims[i], total);

        least = blocks < least ? blocks : least;
    }
    return least;
}
