#ifndef PENSTOCK_IDENTITY_CALLER_H
#define PENSTOCK_IDENTITY_CALLER_H

#include <stdint.h>

/* Who sends a request, and what that allows: made when the request is authenticated, plain data, immutable, in the
 * request's memory with all its texts, so that it lives as long as the request. Where the API is open there is an anonymous
 * one. Texts are never NULL but for `tenant`. */

#define CALLER_WEIGHT_DEFAULT 100u
#define CALLER_WEIGHT_MAX     10000u

struct caller {
    const char *
        key_id; /* stable id of the key, token subject or certificate; "": nobody was asked to show one */
    const char *organisation, *team, *name; /* the hierarchy of fairness and quotas; "": none */
    const char *tenant; /* what replicas are told: the salt of their prefix cache; NULL: nothing */
    uint32_t organisation_weight, team_weight, key_weight; /* 1..CALLER_WEIGHT_MAX */
    int32_t priority_max; /* the band that it may ask for at most; a lower number is served first */
    uint64_t ttft_slo_ns; /* 0: none */
    uint32_t scopes;      /* bits of enum scope */
    const char *models;   /* patterns of the models that it may use (scope.h); "": all */
};

/* Nobody in particular: static, and good for any request. */
extern const struct caller caller_anonymous;

#endif
