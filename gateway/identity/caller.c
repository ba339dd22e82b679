#include "caller.h"

#include "scope.h"

const struct caller caller_anonymous = {
    .key_id = "",
    .organisation = "",
    .team = "",
    .name = "",
    .organisation_weight = CALLER_WEIGHT_DEFAULT,
    .team_weight = CALLER_WEIGHT_DEFAULT,
    .key_weight = CALLER_WEIGHT_DEFAULT,
    .scopes = SCOPE_DEFAULT,
    .models = "",
};
