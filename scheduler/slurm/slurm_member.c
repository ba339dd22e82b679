#include <string.h>

#include "memory.h"
#include "slurm_internal.h"

#define POLL_NS_MIN (10 * 1000000ull)

static bool is_pool_name(const char *text)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    return text != NULL && text[0] != '\0' && strlen(text) <= 63 &&
           text[strspn(text, letters)] == '\0';
}

static status refuse(struct error_note *note, const char *why)
{
    error_note_set(note, "%s", why);
    return STATUS_INVALID;
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static status config_check(const struct slurm_member_config *config, struct error_note *note)
{
    if (!is_pool_name(config->pool))
        return refuse(note, "pool: letters, digits, '.', '_' and '-', at most 63");
    if (!has_text(config->url) ||
        (strncmp(config->url, "http://", 7) != 0 && strncmp(config->url, "https://", 8) != 0))
        return refuse(note, "url: must begin with http:// or https://");
    if (!has_text(config->user) || !has_text(config->partition))
        return refuse(note, "user and partition must be set");
    if (config->key_file != NULL && config->token_file != NULL)
        return refuse(note, "key file or token file, not both");
    if (!has_text(config->working_directory) || config->working_directory[0] != '/')
        return refuse(note, "working directory: must be an absolute path");
    if (config->cores_per_gpu == 0 || config->host_memory_bytes < 1ull << 20)
        return refuse(note, "each GPU needs at least one core and 1 MiB");
    if (config->poll_ns < POLL_NS_MIN || config->list_ns < config->poll_ns ||
        config->timeout_ns < POLL_NS_MIN)
        return refuse(note, "times: at least 10 ms, and lists no more often than looks");
    return STATUS_OK;
}

static void member_destroy(void *driver)
{
    struct slurm_member *member = driver;

    slurm_client_deinit(&member->watching);
    slurm_client_deinit(&member->working);
    slurm_table_deinit(&member->table);
    memory_release(member);
}

status slurm_member_create(const struct slurm_member_config *config, struct member_driver *out,
                           struct error_note *note)
{
    status result = config_check(config, note);
    struct slurm_member *member;

    if (result != STATUS_OK)
        return result;
    member = memory_allocate_array(1, sizeof(*member));
    if (member == NULL)
        return STATUS_NO_MEMORY;
    member->config = *config;
    if (slurm_table_init(&member->table) != STATUS_OK) {
        memory_release(member);
        return STATUS_NO_MEMORY;
    }
    if (slurm_client_init(&member->watching, &member->config) != STATUS_OK ||
        slurm_client_init(&member->working, &member->config) != STATUS_OK) {
        member_destroy(member);
        return STATUS_NO_MEMORY;
    }
    *out = (struct member_driver){.follow = slurm_follow,
                                  .start = slurm_start,
                                  .stop = slurm_stop,
                                  .destroy = member_destroy,
                                  .driver = member};
    return STATUS_OK;
}
