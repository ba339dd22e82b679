/* `penstock keys`: works on the state database itself, so that it needs no running gateway; one that runs notices. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "audit_log.h"
#include "caller.h"
#include "check.h"
#include "clock.h"
#include "key_store.h"
#include "scope.h"
#include "verbs.h"

#define DAY_S            86400
#define DAYS_MAX         36500
#define TEXT_BYTES_MAX   128u
#define MODELS_BYTES_MAX 4096u
#define OVERLAP_DEFAULT  24 /* hours */
#define HOURS_MAX        8760

static uint64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

/* The config, and the database that it names. */
struct opened {
    struct config *config;    /* owned */
    state_database *database; /* owned */
};

/* False: it has been said why there is none. */
static bool database_open(const char *config_file, struct opened *opened)
{
    struct error_note note = {""};

    *opened = (struct opened){NULL, NULL};
    if (config_file == NULL) {
        (void)fprintf(stderr, "penstock keys: which config? `penstock help keys` shows how\n");
        return false;
    }
    opened->config = config_load_or_print(config_file, NULL);
    if (opened->config == NULL)
        return false;
    if (!config_keeps_state(&opened->config->state))
        (void)fprintf(
            stderr,
            "penstock keys: %s keeps no keys; set state.database to the path of a file, or "
            "state.postgres\n",
            config_file);
    else if (state_database_open_configured(&opened->config->state, &opened->database, &note) !=
             STATUS_OK)
        (void)fprintf(stderr, "penstock keys: %s\n", note.text);
    if (opened->database == NULL)
        config_destroy(opened->config);
    return opened->database != NULL;
}

/* Who works here, for the audit log. */
static void actor_write(char *out, size_t bytes)
{
    const char *through = getenv("SUDO_USER"); // NOLINT: one thread

    if (through != NULL)
        (void)snprintf(out, bytes, "user %u (sudo by %.64s)", (unsigned)getuid(), through);
    else
        (void)snprintf(out, bytes, "user %u", (unsigned)getuid());
}

/* One line in the audit log that the config names, if it names one. */
static status audit(const struct opened *opened, const char *action, const char *object,
                    const char *detail, struct error_note *note)
{
    audit_log *log = NULL;
    char actor[128];
    const struct audit_event event = {actor, action, object, detail};
    status result;

    if (opened->config->records.audit_log[0] == '\0')
        return STATUS_OK;
    actor_write(actor, sizeof(actor));
    result = audit_log_open(opened->config->records.audit_log, opened->database, &log, note);
    if (result == STATUS_OK)
        result = audit_log_append(log, &event, clock_wall_ms(), note);
    audit_log_close(log);
    return result;
}

static int end(struct opened *opened, status result, const struct error_note *note)
{
    state_database_close(opened->database);
    config_destroy(opened->config);
    if (result == STATUS_OK)
        return 0;
    (void)fprintf(stderr, "penstock keys: %s\n",
                  note->text[0] != '\0' ? note->text : status_name(result));
    return 1;
}

/* --- create --- */

static bool is_word(const char *flag, const char *text, bool is_needed)
{
    size_t bytes = strlen(text);
    bool is_good = bytes <= TEXT_BYTES_MAX && (bytes > 0 || !is_needed);

    for (size_t i = 0; i < bytes && is_good; i++)
        is_good = text[i] > ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\';
    if (!is_good)
        (void)fprintf(stderr,
                      "penstock keys: %s takes %s to %u printable characters, no blanks or "
                      "quotes\n",
                      flag, is_needed ? "1" : "0", TEXT_BYTES_MAX);
    return is_good;
}

static bool scopes_read(const char *text, uint32_t *scopes)
{
    struct text_slice unknown;

    if (scopes_parse(text, scopes, &unknown) != STATUS_OK) {
        (void)fprintf(stderr,
                      "penstock keys: no scope is named '%.*s'; there are inference, embeddings "
                      "and admin\n",
                      (int)unknown.bytes, unknown.data);
        return false;
    }
    if (*scopes == SCOPE_NONE)
        *scopes = SCOPE_DEFAULT;
    return true;
}

/* A key that the audit log does not have must not be: it is revoked, and nobody has seen its secret. */
static status creation_audit(const struct opened *opened, const struct key_new *key,
                             const char *scopes, const char *id, struct error_note *note)
{
    struct error_note unused;
    char detail[512];
    status result;

    (void)snprintf(detail, sizeof(detail), "name %s, organisation '%s', team '%s', scopes '%s'",
                   key->name, key->organisation, key->team, scopes);
    result = audit(opened, "key.create", id, detail, note);
    if (result != STATUS_OK &&
        key_store_revoke(opened->database, id, now_s(), &unused) != STATUS_OK)
        error_note_prefix(note, "%s could not be revoked either", id);
    return result;
}

static int keys_create(int argument_count, char **arguments)
{
    const char *file = NULL, *scopes = "";
    int32_t weight = CALLER_WEIGHT_DEFAULT, days = 0, priority_max = 0, ttft_slo_ms = 0;
    struct key_new key = {.name = "", .organisation = "", .team = "", .models = ""};
    const struct flag flags[] = {
        {.name = "--name", .text = &key.name},
        {.name = "--organisation", .text = &key.organisation},
        {.name = "--team", .text = &key.team},
        {.name = "--scopes", .text = &scopes},
        {.name = "--models", .text = &key.models},
        {.name = "--weight", .number = &weight, .number_max = (int32_t)CALLER_WEIGHT_MAX},
        {.name = "--priority-max", .number = &priority_max, .number_max = INT32_MAX},
        {.name = "--ttft-slo-ms", .number = &ttft_slo_ms, .number_max = 3600000},
        {.name = "--days", .number = &days, .number_max = DAYS_MAX}};
    char id[KEY_ID_BYTES], secret[KEY_SECRET_BYTES];
    struct error_note note = {""};
    struct opened opened;
    status result;

    if (!arguments_read("keys create", argument_count, arguments, flags, ARRAY_COUNT(flags),
                        &file) ||
        !is_word("--name", key.name, true) || !is_word("--organisation", key.organisation, false) ||
        !is_word("--team", key.team, false) || !scopes_read(scopes, &key.scopes))
        return EXIT_USAGE;
    if (weight == 0 || strlen(key.models) > MODELS_BYTES_MAX) {
        (void)fprintf(stderr,
                      "penstock keys: --weight begins at 1, --models has at most %u "
                      "characters\n",
                      MODELS_BYTES_MAX);
        return EXIT_USAGE;
    }
    key.weight = (uint32_t)weight;
    key.priority_max = priority_max;
    key.ttft_slo_ms = (uint64_t)ttft_slo_ms;
    key.expires_s = days > 0 ? now_s() + (uint64_t)days * DAY_S : 0;
    if (!database_open(file, &opened))
        return 1;
    result = key_store_create(opened.database, &key, now_s(), id, secret, &note);
    if (result == STATUS_OK)
        result = creation_audit(&opened, &key, scopes, id, &note);
    if (result == STATUS_OK)
        (void)printf("id: %s\nkey: %s\n", id, secret);
    OPENSSL_cleanse(secret, sizeof(secret));
    return end(&opened, result, &note);
}

/* --- list --- */

static void time_print(const char *name, uint64_t time_s)
{
    time_t seconds = (time_t)time_s;
    struct tm parts;
    char text[32];

    if (time_s == 0 || gmtime_r(&seconds, &parts) == NULL)
        return;
    (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    (void)printf(", \"%s\": \"%s\"", name, text);
}

/* One JSON object a line: for people to read and for programs to take apart. No text in it needs escaping, as only
 * is_word's characters come in; patterns of models have been written by the same operator. */
static void row_print(void *context, const struct key_row *row)
{
    const struct key_identity *key = &row->identity;
    uint64_t now = now_s();
    const char *state = row->revoked_s != 0                            ? "revoked"
                        : row->expires_s != 0 && row->expires_s <= now ? "expired"
                                                                       : "good";

    (void)context;
    (void)printf("{\"id\": \"%s\", \"name\": \"%s\", \"organisation\": \"%s\", \"team\": \"%s\", "
                 "\"state\": \"%s\", \"secrets\": %u, \"scopes\": \"",
                 key->id, key->name, key->organisation, key->team, state, row->secret_count);
    for (uint32_t bit = 1, count = 0; bit <= SCOPE_ADMIN; bit <<= 1) {
        if ((key->scopes & bit) != 0)
            (void)printf("%s%s", count++ > 0 ? " " : "", scope_name((enum scope)bit));
    }
    (void)printf("\", \"models\": \"%s\", \"weight\": %u", key->models, key->weight);
    time_print("created", row->created_s);
    time_print("expires", row->expires_s);
    time_print("revoked", row->revoked_s);
    (void)printf("}\n");
}

static int keys_list(int argument_count, char **arguments)
{
    struct error_note note = {""};
    const char *file = NULL;
    struct opened opened;

    if (!arguments_read("keys list", argument_count, arguments, NULL, 0, &file))
        return EXIT_USAGE;
    if (!database_open(file, &opened))
        return 1;
    return end(&opened, key_store_list(opened.database, now_s(), row_print, NULL, &note), &note);
}

/* --- rotate, revoke --- */

static int keys_rotate(int argument_count, char **arguments)
{
    const char *file = NULL, *id = "";
    int32_t overlap_hours = OVERLAP_DEFAULT;
    const struct flag flags[] = {
        {.name = "--id", .text = &id},
        {.name = "--overlap-hours", .number = &overlap_hours, .number_max = HOURS_MAX}};
    char secret[KEY_SECRET_BYTES];
    struct error_note note = {""};
    char detail[64];
    struct opened opened;
    status result;

    if (!arguments_read("keys rotate", argument_count, arguments, flags, ARRAY_COUNT(flags), &file))
        return EXIT_USAGE;
    if (!database_open(file, &opened))
        return 1;
    (void)snprintf(detail, sizeof(detail), "the old secret is good for %d hours", overlap_hours);
    result = audit(&opened, "key.rotate", id, detail, &note);
    if (result == STATUS_OK)
        result = key_store_rotate(opened.database, id, now_s(), (uint64_t)overlap_hours * 3600,
                                  secret, &note);
    if (result == STATUS_OK)
        (void)printf("id: %s\nkey: %s\n", id, secret);
    OPENSSL_cleanse(secret, sizeof(secret));
    return end(&opened, result, &note);
}

static int keys_revoke(int argument_count, char **arguments)
{
    const char *file = NULL, *id = "";
    const struct flag flags[] = {{.name = "--id", .text = &id}};
    struct error_note note = {""};
    struct opened opened;
    status result;

    if (!arguments_read("keys revoke", argument_count, arguments, flags, ARRAY_COUNT(flags), &file))
        return EXIT_USAGE;
    if (!database_open(file, &opened))
        return 1;
    /* First: a key that has leaked must not wait for room on a disk. */
    result = key_store_revoke(opened.database, id, now_s(), &note);
    if (result == STATUS_OK) {
        result = audit(&opened, "key.revoke", id, "", &note);
        if (result != STATUS_OK)
            error_note_prefix(&note, "%s is revoked, but the audit log does not have it", id);
    }
    return end(&opened, result, &note);
}

int verb_keys(int argument_count, char **arguments)
{
    static const struct {
        const char *name;
        int (*run)(int argument_count, char **arguments);
    } actions[] = {{"create", keys_create},
                   {"list", keys_list},
                   {"rotate", keys_rotate},
                   {"revoke", keys_revoke}};

    for (size_t i = 0; argument_count > 0 && i < ARRAY_COUNT(actions); i++) {
        if (strcmp(arguments[0], actions[i].name) == 0)
            return actions[i].run(argument_count - 1, arguments + 1);
    }
    (void)fprintf(stderr, "penstock keys: create, list, rotate or revoke? `penstock help keys` "
                          "shows how\n");
    return EXIT_USAGE;
}
