/* Gangs: all parts in one domain, the smallest kind that has room for them.
 *
 * A domain up to a node is one unit; a larger one (a leaf, a zone) is made of its nodes, and the gang takes as few of them as it can: the
 * fullest first, and of those that could take the rest the one that is left with least. Of several domains of one kind the
 * one with the best mean score is taken, where "pack" is how much of the domain the gang uses up: a domain with more room
 * stays whole for a larger gang.
 *
 * All lists are made in the order of slices' indices, so the same book gives the same gang. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "placement_internal.h"

/* Of the topology term: what the kind of domain is worth. NVLink carries some ten times a PCIe switch, a node's root
 * complex half of that, a leaf switch a tenth, a zone less. */
static const float NEARNESS[PLACEMENT_DOMAIN_COUNT] = {
    [PLACEMENT_NVLINK] = 1.0f, [PLACEMENT_SWITCH] = 0.85f, [PLACEMENT_NODE] = 0.7f,
    [PLACEMENT_LEAF] = 0.3f,   [PLACEMENT_ZONE] = 0.1f,
};

struct gang {
    uint32_t part_count, node_count;
    uint32_t parts[POOL_GANG_MAX]; /* indices among the eligible */
    float value;
};

const uint32_t *placement_domain_column(const struct placement *placement,
                                        enum placement_domain domain)
{
    const struct pool_columns *columns = placement->columns;

    switch (domain) {
    case PLACEMENT_NVLINK:
        return columns->nvlink;
    case PLACEMENT_SWITCH:
        return columns->pcie_switch;
    case PLACEMENT_NODE:
        return columns->node;
    case PLACEMENT_LEAF:
        return columns->rack;
    default:
        return columns->zone_here;
    }
}

/* --- units --- */

/* Chains the eligible by unit and counts both; returns how many units there are. A node that reports slices in two racks belongs to
 * the rack of the first that was met. */
static uint32_t gather_units(struct placement *placement, enum placement_domain domain)
{
    const uint32_t *domains = placement_domain_column(placement, domain);
    const uint32_t *names = domain <= PLACEMENT_NODE ? domains : placement->columns->node;
    uint32_t found = 0;

    for (uint32_t i = placement->eligible_count; i-- > 0;) {
        uint32_t slice = placement->eligible[i].slice, name = names[slice], first;

        if (name == NAME_NONE || domains[slice] == NAME_NONE)
            continue;
        first = placement->unit_first[name];
        if (first == 0)
            placement->units[found++] = (struct gang_unit){.domain = domains[slice], .name = name};
        else if (domains[placement->eligible[first - 1].slice] != domains[slice])
            continue;
        placement->unit_next[i] = first;
        placement->unit_first[name] = i + 1;
        placement->unit_count[name]++;
        placement->domain_count[domains[slice]]++;
    }
    for (uint32_t i = 0; i < found; i++)
        placement->units[i].count = placement->unit_count[placement->units[i].name];
    return found;
}

static void clear_units(struct placement *placement, uint32_t found)
{
    for (uint32_t i = 0; i < found; i++) {
        placement->unit_first[placement->units[i].name] = 0;
        placement->unit_count[placement->units[i].name] = 0;
        placement->domain_count[placement->units[i].domain] = 0;
    }
}

/* By domain, the fullest first. */
static int compare_units(const void *left, const void *right)
{
    const struct gang_unit *a = left, *b = right;

    if (a->domain != b->domain)
        return a->domain < b->domain ? -1 : 1;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return a->name < b->name ? -1 : a->name > b->name;
}

/* --- one domain --- */

static bool is_better(const struct placement *placement, uint32_t a, uint32_t b)
{
    const struct eligible *left = &placement->eligible[a], *right = &placement->eligible[b];

    return left->score > right->score || (left->score == right->score && a < b);
}

/* Adds the `count` best of a unit, by insertion: units have eight slices, rarely more. */
static void take_best(const struct placement *placement, const struct gang_unit *unit,
                      uint32_t count, struct gang *gang)
{
    uint32_t *best = &gang->parts[gang->part_count], taken = 0;

    for (uint32_t i = placement->unit_first[unit->name]; i != 0; i = placement->unit_next[i - 1]) {
        uint32_t at = taken;

        if (taken == count && !is_better(placement, i - 1, best[taken - 1]))
            continue;
        if (taken < count)
            taken++;
        else
            at--;
        for (; at > 0 && is_better(placement, i - 1, best[at - 1]); at--)
            best[at] = best[at - 1];
        best[at] = i - 1;
    }
    gang->part_count += taken;
    gang->node_count++;
}

/* The units of one domain, fullest first, have room for the gang: fills it. */
static void fill_gang(const struct placement *placement, const struct gang_unit *units,
                      uint32_t count, uint32_t wanted, struct gang *gang)
{
    gang->part_count = gang->node_count = 0;
    for (uint32_t i = 0; gang->part_count < wanted; i++) {
        uint32_t rest = wanted - gang->part_count, last = i;

        CHECK(i < count);
        if (units[i].count <= rest) {
            take_best(placement, &units[i], units[i].count, gang);
            continue;
        }
        while (last + 1 < count && units[last + 1].count >= rest)
            last++;
        take_best(placement, &units[last], rest, gang);
    }
}

static void gang_terms(const struct placement *placement, const struct choice *choice,
                       const struct gang *gang, enum placement_domain domain, uint32_t room,
                       uint32_t part, float terms[PLACEMENT_TERM_COUNT])
{
    float near = NEARNESS[domain], wanted = (float)gang->part_count;

    placement_terms(placement, choice, &placement->eligible[gang->parts[part]], terms);
    terms[PLACEMENT_PACK] = wanted / (float)room;
    /* On fewer nodes it is nearer to what a single one is worth. */
    if (domain > PLACEMENT_NODE)
        near += (NEARNESS[PLACEMENT_NODE] - near) *
                (1.0f - (float)(gang->node_count - 1) / (wanted - 1.0f));
    terms[PLACEMENT_TOPOLOGY] = near;
}

static float value_of(const struct placement *placement, const struct choice *choice,
                      const struct gang *gang, enum placement_domain domain, uint32_t room)
{
    float sum = 0;

    for (uint32_t i = 0; i < gang->part_count; i++) {
        float terms[PLACEMENT_TERM_COUNT];

        gang_terms(placement, choice, gang, domain, room, i, terms);
        sum += placement_sum(&choice->tier->weights, terms);
        if (choice->view->penalties != NULL)
            sum -= choice->view->penalties[placement->eligible[gang->parts[i]].slice];
    }
    return sum / (float)gang->part_count;
}

/* --- all domains of a kind --- */

/* Keeps the units of domains with room for the gang; returns how many. */
static uint32_t keep_roomy(const struct placement *placement, struct gang_unit *units,
                           uint32_t found, uint32_t wanted)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < found; i++) {
        if (placement->domain_count[units[i].domain] < wanted)
            continue;
        struct gang_unit unit = units[i];

        units[i] = units[kept];
        units[kept++] = unit;
    }
    return kept;
}

void placement_write_part(const struct placement *placement, const struct choice *choice,
                          const struct eligible *one, struct placement_part *out)
{
    out->booking = (struct booking_part){.slice = one->slice,
                                         .version = placement->columns->version[one->slice],
                                         .memory_bytes = one->memory_bytes,
                                         .compute_milli = one->compute_milli};
    out->score = one->score;
    placement_terms(placement, choice, one, out->terms);
}

static void write_gang(const struct placement *placement, const struct choice *choice,
                       const struct gang *gang, enum placement_domain domain, uint32_t room,
                       struct placement_decision *out)
{
    out->domain = domain;
    out->part_count = gang->part_count;
    for (uint32_t i = 0; i < gang->part_count; i++) {
        struct placement_part *part = &out->parts[i];

        placement_write_part(placement, choice, &placement->eligible[gang->parts[i]], part);
        gang_terms(placement, choice, gang, domain, room, i, part->terms);
        part->score = placement_sum(&choice->tier->weights, part->terms);
    }
}

static bool pick_in(struct placement *placement, const struct choice *choice,
                    enum placement_domain domain, uint32_t kept, struct placement_decision *out)
{
    struct gang gang, best = {.part_count = 0};
    uint32_t wanted = choice->request->part_count, best_room = 0, end;

    for (uint32_t first = 0; first < kept; first = end) {
        const struct gang_unit *units = &placement->units[first];
        uint32_t room = placement->domain_count[units->domain];

        for (end = first; end < kept && placement->units[end].domain == units->domain;)
            end++;
        fill_gang(placement, units, end - first, wanted, &gang);
        gang.value = value_of(placement, choice, &gang, domain, room);
        if (best.part_count == 0 || gang.value > best.value) {
            best = gang;
            best_room = room;
        }
    }
    if (best.part_count == 0)
        return false;
    write_gang(placement, choice, &best, domain, best_room, out);
    return true;
}

bool placement_pick_gang(struct placement *placement, const struct choice *choice,
                         struct placement_decision *out)
{
    bool is_found = false;

    for (uint32_t i = 0; i <= choice->request->domain_max && !is_found; i++) {
        enum placement_domain domain = (enum placement_domain)i;
        uint32_t found = gather_units(placement, domain);
        uint32_t kept = keep_roomy(placement, placement->units, found, choice->request->part_count);

        qsort(placement->units, kept, sizeof(*placement->units), compare_units);
        is_found = pick_in(placement, choice, domain, kept, out);
        clear_units(placement, found);
    }
    return is_found;
}
