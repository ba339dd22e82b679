#include "pool_admin.h"

#include "check.h"
#include "pool_json.h"

/* --- by state --- */

struct tally {
    uint64_t count, replicas, milli, milli_booked, memory, memory_booked;
};

uint32_t pool_slice_state(const struct pool_columns *columns, uint32_t slice)
{
    if (columns->presence[slice] == SLICE_GONE)
        return POOL_STATE_GONE;
    return columns->is_quarantined[slice] ? POOL_STATE_QUARANTINED : columns->health[slice];
}

const char *pool_slice_state_name(uint32_t state)
{
    CHECK(state < POOL_STATE_COUNT);
    if (state == POOL_STATE_GONE)
        return "gone";
    return state == POOL_STATE_QUARANTINED ? "quarantined"
                                           : slice_health_name((enum slice_health)state);
}

/* Of one member's slices; POOL_MEMBER_NONE: of all. */
static void tallies_write(const struct pool_columns *columns, uint32_t member, struct buffer *out)
{
    struct tally tallies[POOL_STATE_COUNT] = {{0}};

    for (uint32_t i = 0; i < columns->count; i++) {
        struct tally *tally = &tallies[pool_slice_state(columns, i)];

        if (columns->presence[i] == SLICE_ABSENT ||
            (member != POOL_MEMBER_NONE && columns->member[i] != member))
            continue;
        tally->count++;
        tally->replicas += columns->tenants[i];
        tally->milli += columns->compute_milli[i];
        tally->milli_booked += columns->compute_booked[i];
        tally->memory += columns->memory_bytes[i];
        tally->memory_booked += columns->memory_booked[i];
    }
    json_write_key(out, "slices");
    buffer_append_byte(out, '{');
    for (uint32_t state = 0; state < POOL_STATE_COUNT; state++) {
        const struct tally *tally = &tallies[state];

        if (tally->count == 0)
            continue;
        json_write_key(out, pool_slice_state_name(state));
        buffer_append_byte(out, '{');
        pool_json_count(out, "count", tally->count);
        pool_json_count(out, "replicas", tally->replicas);
        pool_json_devices(out, "devices", tally->milli);
        pool_json_devices(out, "devices_booked", tally->milli_booked);
        pool_json_count(out, "memory_bytes", tally->memory);
        pool_json_count(out, "memory_booked_bytes", tally->memory_booked);
        buffer_append_byte(out, '}');
    }
    buffer_append_byte(out, '}');
}

/* --- members --- */

static void member_write(const struct pool_admin *admin, uint32_t member, uint64_t now_ns,
                         struct buffer *out)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    struct member_info info;

    if (!pool_member_get(pool, member, &info))
        return;
    json_write_comma(out);
    buffer_append_byte(out, '{');
    pool_json_text(out, "name", info.name);
    pool_json_text(out, "state", member_state_name(info.state));
    pool_json_bool(out, "listing", info.is_listing);
    pool_json_number(out, "heard_seconds", pool_json_seconds(info.heard_ns, now_ns));
    if (info.synced_ns > 0)
        pool_json_number(out, "synced_seconds", pool_json_seconds(info.synced_ns, now_ns));
    else
        pool_json_text(out, "synced_seconds", NULL);
    pool_json_text(out, "trouble", replica_fleet_member_trouble(admin->fleet, member));
    pool_json_count(out, "backlog", replica_fleet_member_backlog(admin->fleet, member));
    tallies_write(pool_columns(pool), member, out);
    buffer_append_byte(out, '}');
}

/* --- amounts --- */

static void amount_write(struct buffer *out, const char *key, const struct quota_amount *amount)
{
    json_write_key(out, key);
    buffer_append_byte(out, '{');
    if (amount->of[QUOTA_COMPUTE] == QUOTA_UNLIMITED)
        pool_json_text(out, "devices", NULL);
    else
        pool_json_devices(out, "devices", amount->of[QUOTA_COMPUTE]);
    if (amount->of[QUOTA_MEMORY] == QUOTA_UNLIMITED)
        pool_json_text(out, "memory_bytes", NULL);
    else
        pool_json_count(out, "memory_bytes", amount->of[QUOTA_MEMORY]);
    if (amount->of[QUOTA_MONEY] == QUOTA_UNLIMITED)
        pool_json_text(out, "price_hour", NULL);
    else
        pool_json_price(out, "price_hour", amount->of[QUOTA_MONEY]);
    buffer_append_byte(out, '}');
}

/* What is used beyond what is guaranteed. */
static struct quota_amount borrowed(const struct quota_amount *used,
                                    const struct quota_amount *guaranteed)
{
    struct quota_amount over;

    for (int i = 0; i < QUOTA_RESOURCE_COUNT; i++)
        over.of[i] = used->of[i] > guaranteed->of[i] ? used->of[i] - guaranteed->of[i] : 0;
    return over;
}

static void quota_write(const struct pool_admin *admin, uint32_t node, struct buffer *out)
{
    const struct quota_tree *tree = admin->quota;
    const struct quota_config *config = quota_tree_config(tree, node);
    const struct quota_amount *used = quota_tree_used(tree, node);
    struct quota_amount over = borrowed(used, &config->guaranteed);

    json_write_comma(out);
    buffer_append_byte(out, '{');
    pool_json_text(out, "name", admin->quota_names[node]);
    pool_json_text(out, "parent",
                   node == QUOTA_ROOT ? NULL : admin->quota_names[quota_tree_parent(tree, node)]);
    pool_json_count(out, "weight", config->weight);
    pool_json_signed(out, "priority", config->priority);
    amount_write(out, "guaranteed", &config->guaranteed);
    amount_write(out, "limit", &config->limit);
    amount_write(out, "used", used);
    amount_write(out, "fair", quota_tree_fair(tree, node));
    amount_write(out, "borrowed", &over);
    buffer_append_byte(out, '}');
}

/* --- the whole --- */

static void replicas_write(const struct pool *pool, struct buffer *out)
{
    uint64_t counts[BOOKING_PHASE_COUNT] = {0};

    for (uint32_t row = 0; row < pool_booking_bound(pool); row++) {
        const struct booking *booking = pool_booking_at(pool, row);

        if (booking != NULL)
            counts[booking->phase]++;
    }
    json_write_key(out, "replicas");
    buffer_append_byte(out, '{');
    for (int phase = 0; phase < BOOKING_PHASE_COUNT; phase++)
        pool_json_count(out, booking_phase_name((enum booking_phase)phase), counts[phase]);
    buffer_append_byte(out, '}');
}

void pool_json_write(const struct pool_admin *admin, uint64_t now_ns, struct buffer *out)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    struct quota_amount capacity = pool_capacity(pool);

    buffer_append_text(out, "{\"members\":[");
    for (uint32_t i = 0; i < pool_member_bound(pool); i++)
        member_write(admin, i, now_ns, out);
    buffer_append_byte(out, ']');
    tallies_write(pool_columns(pool), POOL_MEMBER_NONE, out);
    amount_write(out, "capacity", &capacity);
    if (admin->mix_count > 0)
        pool_json_number(
            out, "stranded_share",
            placement_stranded(replica_fleet_placement(admin->fleet), admin->mix, admin->mix_count)
                .stranded_share);
    else
        pool_json_text(out, "stranded_share", NULL);
    replicas_write(pool, out);
    pool_json_count(out, "waiting", placement_queue_count(replica_fleet_queue(admin->fleet)));
    json_write_key(out, "quotas");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; admin->quota != NULL && i < quota_tree_count(admin->quota); i++)
        quota_write(admin, i, out);
    buffer_append_text(out, "]}");
}

/* --- slices --- */

static void part_write(const struct pool_admin *admin, uint32_t part, uint64_t now_ns,
                       struct buffer *out)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    const struct booking_part *of = pool_part(pool, part);
    const struct booking *booking = pool_booking_at(pool, pool_part_row(pool, part));

    json_write_comma(out);
    buffer_append_byte(out, '{');
    pool_json_uid(out, booking->uid);
    pool_json_text(out, "model", admin->model_name(admin->context, booking->model));
    pool_json_text(out, "phase", booking_phase_name(booking->phase));
    pool_json_signed(out, "priority", booking->priority);
    pool_json_bool(out, "preemptible", booking->is_preemptible);
    pool_json_text(out, "quota", admin->quota != NULL ? admin->quota_names[booking->tenant] : NULL);
    pool_json_devices(out, "devices", of->compute_milli);
    pool_json_count(out, "memory_bytes", of->memory_bytes);
    if (booking->ends_ns != POOL_NO_END)
        pool_json_number(out, "ends_seconds", pool_json_seconds(now_ns, booking->ends_ns));
    else
        pool_json_text(out, "ends_seconds", NULL);
    buffer_append_byte(out, '}');
}

static void labels_write(const struct pool *pool, uint64_t labels, struct buffer *out)
{
    const char *text;

    json_write_key(out, "labels");
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; (text = pool_label_text(pool, i)) != NULL; i++) {
        if ((labels >> i & 1) == 0)
            continue;
        json_write_comma(out);
        json_write_text(out, text);
    }
    buffer_append_byte(out, ']');
}

/* Who and where it is. */
static void slice_names_write(const struct pool *pool, uint32_t slice, struct buffer *out)
{
    const struct pool_columns *columns = pool_columns(pool);
    const struct {
        const char *key;
        const uint32_t *names;
    } texts[] = {{"id", columns->id},
                 {"reason", columns->reason},
                 {"product", columns->product},
                 {"profile", columns->profile},
                 {"node", columns->node},
                 {"region", columns->region},
                 {"zone", columns->zone},
                 {"rack", columns->rack},
                 {"nvlink_domain", columns->nvlink},
                 {"switch", columns->pcie_switch},
                 {"pcie_root", columns->pcie_root},
                 {"owner", columns->owner}};
    char name[2 * SLICE_NAME_BYTES_MAX + 2];
    struct member_info info;
    bool has_member = pool_member_get(pool, columns->member[slice], &info);

    CHECK(has_member);
    pool_slice_write(pool, slice, name, sizeof(name));
    pool_json_text(out, "slice", name);
    pool_json_text(out, "member", info.name);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        pool_json_text(out, texts[i].key, pool_name_text(pool, texts[i].names[slice]));
}

/* What it has, and what of it is taken. */
static void slice_amounts_write(const struct pool_columns *columns, uint32_t slice,
                                struct buffer *out)
{
    pool_json_price(out, "price_hour", (uint64_t)columns->price_nano_hour[slice]);
    pool_json_devices(out, "devices", columns->compute_milli[slice]);
    pool_json_devices(out, "devices_free", columns->compute_free[slice]);
    pool_json_devices(out, "devices_booked", columns->compute_booked[slice]);
    pool_json_devices(out, "devices_foreign", columns->compute_foreign[slice]);
    pool_json_devices(out, "devices_step", columns->step_milli[slice]);
    pool_json_count(out, "memory_bytes", columns->memory_bytes[slice]);
    pool_json_count(out, "memory_free_bytes", columns->memory_free[slice]);
    pool_json_count(out, "memory_booked_bytes", columns->memory_booked[slice]);
    pool_json_count(out, "memory_foreign_bytes", columns->memory_foreign[slice]);
    pool_json_count(out, "tenants", columns->tenants[slice]);
    pool_json_count(out, "tenants_max", columns->tenants_max[slice]);
}

static void slice_write(const struct pool_admin *admin, uint32_t slice, uint64_t now_ns,
                        struct buffer *out)
{
    const struct pool *pool = replica_fleet_pool(admin->fleet);
    const struct pool_columns *columns = pool_columns(pool);

    json_write_comma(out);
    buffer_append_byte(out, '{');
    slice_names_write(pool, slice, out);
    pool_json_text(out, "state", pool_slice_state_name(pool_slice_state(columns, slice)));
    pool_json_text(out, "health", slice_health_name((enum slice_health)columns->health[slice]));
    pool_json_bool(out, "quarantined", columns->is_quarantined[slice]);
    pool_json_number(out, "avoid_seconds",
                     pool_json_seconds(now_ns, columns->avoid_until_ns[slice]));
    pool_json_text(out, "kind", slice_kind_name((enum slice_kind)columns->kind[slice]));
    pool_json_text(out, "vendor", slice_vendor_name((enum slice_vendor)columns->vendor[slice]));
    pool_json_number(out, "compute_capability", columns->compute_capability[slice] / 10.0);
    pool_json_signed(out, "numa", columns->numa[slice]);
    labels_write(pool, columns->labels[slice], out);
    pool_json_bool(out, "preemptible", columns->is_preemptible[slice]);
    pool_json_number(out, "preemptions_hour", (double)columns->preemptions_hour[slice]);
    slice_amounts_write(columns, slice, out);
    pool_json_number(out, "seen_seconds", pool_json_seconds(columns->seen_ns[slice], now_ns));
    pool_json_count(out, "version", columns->version[slice]);
    json_write_key(out, "replicas");
    buffer_append_byte(out, '[');
    for (uint32_t part = pool_slice_part_first(pool, slice); part != POOL_SLICE_NONE;
         part = pool_slice_part_next(pool, part))
        part_write(admin, part, now_ns, out);
    buffer_append_text(out, "]}");
}

void pool_slices_json_write(const struct pool_admin *admin, const struct pool_page *page,
                            uint64_t now_ns, struct buffer *out)
{
    const struct pool_columns *columns = pool_columns(replica_fleet_pool(admin->fleet));
    uint32_t slice = page->from, count = 0;

    CHECK(page->count_max > 0 && page->count_max <= POOL_PAGE_MAX);
    buffer_append_text(out, "{\"slices\":[");
    for (; slice < columns->count && count < page->count_max; slice++) {
        if (columns->presence[slice] == SLICE_ABSENT)
            continue;
        slice_write(admin, slice, now_ns, out);
        count++;
    }
    buffer_append_byte(out, ']');
    if (slice < columns->count)
        pool_json_count(out, "next", slice);
    else
        pool_json_text(out, "next", NULL);
    buffer_append_byte(out, '}');
}
