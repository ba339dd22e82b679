#include "limit_promise.h"

#include <string.h>

#include "scope.h"

/* Somebody for whom limits are counted apart; what does not matter for that is "". */
struct holder {
    const char *organisation, *team, *key;
};

/* The `number`-th of the config's names: groups, then keys. False: there are no more. */
static bool name_at(const struct config *config, enum quota_per per, uint32_t number,
                    struct holder *out)
{
    const struct config_group *groups = config->tenants.groups.items;
    const struct config_key *keys = config->auth.keys.items;

    if (number < config->tenants.groups.count) {
        *out = (struct holder){groups[number].organisation,
                               per == QUOTA_PER_TEAM ? groups[number].team : "", ""};
        return true;
    }
    number -= config->tenants.groups.count;
    if (number >= config->auth.keys.count)
        return false;
    *out = (struct holder){keys[number].organisation,
                           per == QUOTA_PER_ORGANISATION ? "" : keys[number].team,
                           per == QUOTA_PER_KEY ? keys[number].name : ""};
    return true;
}

/* Groups are no keys, and whoever is in no organisation or team has no limit of one. */
static bool is_holder(enum quota_per per, const struct holder *one)
{
    return per == QUOTA_PER_KEY    ? one->key[0] != '\0'
           : per == QUOTA_PER_TEAM ? one->team[0] != '\0'
                                   : one->organisation[0] != '\0';
}

static bool has_holder_before(const struct config *config, enum quota_per per, uint32_t number,
                              struct holder wanted)
{
    struct holder one;

    for (uint32_t i = 0; i < number && name_at(config, per, i, &one); i++) {
        if (strcmp(one.organisation, wanted.organisation) == 0 &&
            strcmp(one.team, wanted.team) == 0 && strcmp(one.key, wanted.key) == 0)
            return true;
    }
    return false;
}

/* The tightest limit for it; 0: there is none. */
static double tightest(const struct config *config, const char *model, enum quota_per per,
                       const struct holder *one)
{
    const struct config_limit *rows = config->tenants.limits.items;
    double least = 0;

    for (uint32_t i = 0; i < config->tenants.limits.count; i++) {
        const struct config_limit *row = &rows[i];

        if (row->per != (int)per || row->tokens_per_minute == 0 ||
            !patterns_match(row->model, model) ||
            !patterns_match(row->organisation, one->organisation) ||
            (per != QUOTA_PER_ORGANISATION && !patterns_match(row->team, one->team)) ||
            (per == QUOTA_PER_KEY && !patterns_match(row->key, one->key)))
            continue;
        if (least == 0 || (double)row->tokens_per_minute < least)
            least = (double)row->tokens_per_minute;
    }
    return least;
}

static void holder_add(struct limit_promise *promise, double tokens, const char *name)
{
    if (tokens == 0) {
        promise->unlimited++;
        return;
    }
    promise->holders++;
    promise->tokens_per_minute += tokens;
    if (tokens > promise->largest) {
        promise->largest = tokens;
        promise->largest_name = name;
    }
}

struct limit_promise limit_promise_of(const struct config *config, const char *model,
                                      enum quota_per per)
{
    struct limit_promise promise = {.largest_name = ""};
    static const struct holder everybody = {"", "", ""};
    struct holder one;

    if (per == QUOTA_PER_ALL) {
        holder_add(&promise, tightest(config, model, per, &everybody), "all");
        return promise;
    }
    for (uint32_t i = 0; name_at(config, per, i, &one); i++) {
        /* Each key has a name of its own; organisations and teams are named again by each of their keys. */
        if (!is_holder(per, &one) ||
            (per != QUOTA_PER_KEY && has_holder_before(config, per, i, one)))
            continue;
        holder_add(&promise, tightest(config, model, per, &one),
                   per == QUOTA_PER_KEY    ? one.key
                   : per == QUOTA_PER_TEAM ? one.team
                                           : one.organisation);
    }
    return promise;
}

const char *limit_promise_scope(enum quota_per per)
{
    return per == QUOTA_PER_ALL            ? "all"
           : per == QUOTA_PER_ORGANISATION ? "organisation"
           : per == QUOTA_PER_TEAM         ? "team"
                                           : "key";
}
