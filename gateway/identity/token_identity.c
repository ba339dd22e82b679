#include "token_identity.h"

#include <stdio.h>

#include "caller.h"
#include "scope.h"

/* Names go into headers, records and the database. */
static bool is_name(const char *text)
{
    size_t bytes = text != NULL ? strlen(text) : 0;

    for (size_t i = 0; i < bytes; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '"' || text[i] == '\\')
            return false;
    }
    return bytes > 0 && bytes <= TOKEN_TEXT_BYTES_MAX;
}

/* "" where the config names no claim or the token has none; NULL: it is no name. */
static const char *claim_read(const json_t *claims, const char *name)
{
    const json_t *value = name[0] != '\0' ? json_object_get(claims, name) : NULL;
    const char *text = json_string_value(value);

    if (value == NULL)
        return "";
    return is_name(text) ? text : NULL;
}

/* What is none of our scopes is some other service's. */
static uint32_t scopes_of_claim(const json_t *value)
{
    const char *text = json_string_value(value);
    uint32_t scopes = SCOPE_NONE;

    while (text != NULL) {
        struct text_slice word = list_next(&text);

        if (word.data == NULL)
            break;
        (void)(scope_add(word, &scopes) == STATUS_OK);
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        (void)(scope_add(text_slice_of(json_string_value(json_array_get(value, i))), &scopes) ==
               STATUS_OK);
    return scopes;
}

static uint32_t scopes_of(const struct config_issuer *issuer, const json_t *claims)
{
    const char *const *names = issuer->scopes.items;
    uint32_t scopes = SCOPE_NONE;

    if (issuer->scopes_claim[0] != '\0' && json_object_get(claims, issuer->scopes_claim) != NULL)
        return scopes_of_claim(json_object_get(claims, issuer->scopes_claim));
    for (uint32_t i = 0; i < issuer->scopes.count; i++)
        (void)(scope_add(text_slice_of(names[i]), &scopes) == STATUS_OK);
    return scopes != SCOPE_NONE ? scopes : SCOPE_DEFAULT;
}

/* False: there are too many to hold. */
static bool models_join(const struct setting_list *list, char *out, size_t bytes_max)
{
    const char *const *patterns = list->items;
    size_t bytes = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < list->count; i++) {
        int added = snprintf(out + bytes, bytes_max - bytes, "%s%s", i > 0 ? " " : "", patterns[i]);

        if (added < 0 || (size_t)added >= bytes_max - bytes)
            return false;
        bytes += (size_t)added;
    }
    return true;
}

status token_identity_read(struct token_identity *out, const struct config_issuer *issuer,
                           const json_t *claims, const char **why)
{
    const char *name = claim_read(claims, issuer->name_claim);
    const char *organisation = claim_read(claims, issuer->organisation_claim);
    const char *team = claim_read(claims, issuer->team_claim);

    *why = "a claim with a name is missing, or has blanks or more than 128 characters";
    if (name == NULL || name[0] == '\0' || organisation == NULL || team == NULL)
        return STATUS_DENIED;
    *why = "its issuer has more models than can be held";
    if (!models_join(&issuer->models, out->models, sizeof(out->models)))
        return STATUS_DENIED;
    (void)snprintf(out->id, sizeof(out->id), "jwt:%s:%s", issuer->issuer, name);
    out->key = (struct key_identity){
        .id = out->id,
        .organisation = organisation,
        .team = team,
        .name = name,
        .models = out->models,
        .scopes = scopes_of(issuer, claims),
        .weight = CALLER_WEIGHT_DEFAULT,
    };
    return STATUS_OK;
}
