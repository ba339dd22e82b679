#include "config_pool_check.h"

#include <ctype.h>
#include <string.h>

#include "slice.h"

#define NAME_BYTES_MAX 63u /* what Kubernetes' labels and Slurm's comments take */

struct check {
    const struct config *config;
    settings_document *document;
    struct settings_report *report;
};

#define FAIL(check, value, ...)                                                                    \
    settings_fail_at((check)->document, (check)->report, (value), __VA_ARGS__)

static bool is_name(const char *text)
{
    size_t bytes = strlen(text);

    for (size_t i = 0; i < bytes; i++) {
        if (!isalnum((unsigned char)text[i]) && (i == 0 || strchr("._-", text[i]) == NULL))
            return false;
    }
    return bytes > 0 && bytes <= NAME_BYTES_MAX && isalnum((unsigned char)text[bytes - 1]);
}

static void check_name(const struct check *c, const char *const *value)
{
    if (!is_name(*value))
        FAIL(c, value, "'%s' is no name: up to %u letters, digits, '.', '_' and '-' between them",
             *value, NAME_BYTES_MAX);
}

/* --- members --- */

static void check_needed(const struct check *c, const char *const *value, const char *key)
{
    if ((*value)[0] == '\0')
        FAIL(c, value, "a member of kind slurm needs slurm.%s", key);
}

static void check_slurm(const struct check *c, const struct config_member_slurm *slurm)
{
    check_needed(c, &slurm->url, "url");
    check_needed(c, &slurm->user, "user");
    check_needed(c, &slurm->partition, "partition");
    if (slurm->key_file[0] != '\0' && slurm->token_file[0] != '\0')
        FAIL(c, &slurm->token_file, "key_file and token_file are both set; keep one");
    if (slurm->working_directory[0] != '/')
        FAIL(c, &slurm->working_directory, "working_directory '%s' is not absolute",
             slurm->working_directory);
    if (slurm->list_ns < slurm->poll_ns)
        FAIL(c, &slurm->list_ns, "list must not be shorter than poll");
}

static void check_kubernetes(const struct check *c, const struct config_member *member)
{
    const struct config_member_kubernetes *kubernetes = &member->kubernetes;

    if (kubernetes->image[0] == '\0')
        FAIL(c, &kubernetes->image, "a member of kind kubernetes needs kubernetes.image");
    if (kubernetes->volume_claim[0] != '\0' && kubernetes->volume_path[0] != '/')
        FAIL(c, &kubernetes->volume_path, "volume_path '%s' is not absolute",
             kubernetes->volume_path);
    if (kubernetes->heartbeat_ns >= member->silence_ns)
        FAIL(c, &kubernetes->heartbeat_ns, "heartbeat must be shorter than the member's silence");
}

static void check_member(const struct check *c, uint32_t index)
{
    const struct config_pool *pool = &c->config->pool;
    const struct config_member *member = config_member_at(pool, index);

    check_name(c, &member->name);
    for (uint32_t i = 0; i < index; i++) {
        const struct config_member *before = config_member_at(pool, i);

        if (strcmp(before->name, member->name) == 0)
            FAIL(c, &member->name, "two members are named '%s'; names differ", member->name);
        if (member->kind == MEMBER_LOCAL && before->kind == MEMBER_LOCAL)
            FAIL(c, &member->kind, "'%s' is this machine already; one member of kind local is all",
                 before->name);
    }
    if (member->kind == MEMBER_SLURM)
        check_slurm(c, &member->slurm);
    if (member->kind == MEMBER_KUBERNETES)
        check_kubernetes(c, member);
    if (member->kind != MEMBER_LOCAL && pool->listen[0] == '\0')
        FAIL(c, &member->kind,
             "replicas of '%s' need an address to register at; set pool.listen, and pool.advertise",
             member->name);
    if (member->lost_after_ns < 4 * member->silence_ns)
        FAIL(c, &member->lost_after_ns, "lost_after must be at least four times silence");
}

/* --- quotas --- */

static int64_t quota_find(const struct config_pool *pool, const char *name, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(config_quota_at(pool, i)->name, name) == 0)
            return i;
    }
    return -1;
}

static void check_quota(const struct check *c, uint32_t index)
{
    const struct config_pool *pool = &c->config->pool;
    const struct config_pool_quota *quota = config_quota_at(pool, index);

    check_name(c, &quota->name);
    if (quota_find(pool, quota->name, index) >= 0)
        FAIL(c, &quota->name, "two quotas are named '%s'; names differ", quota->name);
    if (quota->parent[0] != '\0' && quota_find(pool, quota->parent, index) < 0)
        FAIL(c, &quota->parent, "no quota above is named '%s'; a parent stands before its children",
             quota->parent);
    if (quota->devices != 0 && quota->guaranteed_devices > quota->devices)
        FAIL(c, &quota->guaranteed_devices, "guaranteed_devices must be at most devices");
    if (quota->memory != 0 && quota->guaranteed_memory > quota->memory)
        FAIL(c, &quota->guaranteed_memory, "guaranteed_memory must be at most memory");
    if (quota->price != 0 && quota->guaranteed_price > quota->price)
        FAIL(c, &quota->guaranteed_price, "guaranteed_price must be at most price");
}

/* --- a model's wishes --- */

static bool is_member(const struct config_pool *pool, const char *name)
{
    for (uint32_t i = 0; i < pool->members.count; i++) {
        if (strcmp(config_member_at(pool, i)->name, name) == 0)
            return true;
    }
    return false;
}

typedef const char *word_name(uint32_t word);

static const char *vendor_name(uint32_t vendor)
{
    return slice_vendor_name((enum slice_vendor)vendor);
}

static const char *kind_name(uint32_t kind)
{
    return slice_kind_name((enum slice_kind)kind);
}

static void check_words(const struct check *c, const struct setting_list *list, const char *key,
                        word_name *name, uint32_t count)
{
    const char *const *words = list->items;

    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t word = 0;

        while (word < count && strcmp(words[i], name(word)) != 0)
            word++;
        if (word == count)
            FAIL(c, list, "%s: '%s' is none; see configs/reference.yaml for the words", key,
                 words[i]);
    }
}

static void check_placement(const struct check *c, const struct config_placement *placement)
{
    const struct config_pool *pool = &c->config->pool;
    const char *const *members = placement->members.items;

    for (uint32_t i = 0; i < placement->members.count; i++) {
        if (!is_member(pool, members[i]))
            FAIL(c, &placement->members, "pool.members has no '%s'", members[i]);
    }
    check_words(c, &placement->vendors, "vendors", vendor_name, SLICE_VENDOR_COUNT);
    check_words(c, &placement->kinds, "kinds", kind_name, SLICE_KIND_COUNT);
    if (placement->quota[0] != '\0' && quota_find(pool, placement->quota, pool->quotas.count) < 0)
        FAIL(c, &placement->quota, "pool.quotas has no '%s'", placement->quota);
    if (placement->cores != 0 && placement->cores < 0.1)
        FAIL(c, &placement->cores, "cores must be at least 0.1, or 0 for a share of this machine");
}

static void check_schedule(const struct check *c, const struct config_scale_schedule *schedule)
{
    const char *const *days = schedule->days.items;
    uint32_t minute;

    for (uint32_t i = 0; i < schedule->days.count; i++) {
        if (config_weekday(days[i]) < 0)
            FAIL(c, &schedule->days, "'%s' is no day; monday to sunday", days[i]);
    }
    if (!config_minute(schedule->from, &minute))
        FAIL(c, &schedule->from, "'%s' is no time of day; write it like 08:00", schedule->from);
    if (!config_minute(schedule->to, &minute))
        FAIL(c, &schedule->to, "'%s' is no time of day; write it like 20:00", schedule->to);
    if (schedule->max != 0 && schedule->min > schedule->max)
        FAIL(c, &schedule->min, "min must be at most max");
}

static void check_autoscale(const struct check *c, const struct config_model *model)
{
    const struct config_autoscale *scale = &model->autoscale;
    const struct config_scale_schedule *schedules = scale->schedules.items;

    if (scale->max == 0) {
        if (scale->min != 0)
            FAIL(c, &scale->min, "autoscale.min needs autoscale.max");
        return;
    }
    if (!config_model_is_local(model))
        FAIL(c, &scale->max, "only models with a path scale: an upstream's servers are not ours");
    if (scale->min > scale->max)
        FAIL(c, &scale->min, "min must be at most max");
    for (uint32_t i = 0; i < scale->schedules.count; i++)
        check_schedule(c, &schedules[i]);
}

void config_pool_check(const struct config *config, settings_document *document,
                       struct settings_report *report)
{
    const struct check c = {config, document, report};

    check_name(&c, &config->pool.name);
    for (uint32_t i = 0; i < config->pool.members.count; i++)
        check_member(&c, i);
    for (uint32_t i = 0; i < config->pool.quotas.count; i++)
        check_quota(&c, i);
    for (uint32_t i = 0; i < config->models.count; i++) {
        check_placement(&c, &config_model_at(config, i)->placement);
        check_autoscale(&c, config_model_at(config, i));
    }
}
