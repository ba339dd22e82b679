#include "limit_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "hash.h"
#include "memory.h"
#include "redis_link.h"
#include "secret_source.h"

#define NUMBER_BYTES   24u
#define HASH_BYTES     48u /* of a script: 40 digits */
#define SCRIPT_COUNT   2u
#define EXCHANGE_WORDS 13u
#define KEY            "penstock:limit:"

enum { SCRIPT_GREET, SCRIPT_EXCHANGE };

/* What a rate owes is a time of Redis' clock in microseconds: whole numbers of Lua reach 2^53. A rate that owes nothing, and a
 * gateway that runs nothing, has no field; a limit without fields has no key. */
static const char *const scripts[SCRIPT_COUNT] = {
    [SCRIPT_GREET] = "local t = redis.call('TIME')\n"
                     "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
                     "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)\n"
                     "redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])\n"
                     "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
                     "return redis.call('ZCARD', KEYS[1])\n",
    [SCRIPT_EXCHANGE] =
        "local t = redis.call('TIME')\n"
        "local now = t[1] * 1000000 + t[2]\n"
        "local keep = 0\n"
        "local out = {}\n"
        "for i = 1, 3 do\n"
        "  local used, least = tonumber(ARGV[3 + i]), tonumber(ARGV[6 + i])\n"
        "  local at = math.max(tonumber(redis.call('HGET', KEYS[1], 'r' .. i) or '0'), now + "
        "least)\n"
        "  if used > 0 then at = math.max(at, now) end\n"
        "  at = at + used\n"
        "  if at > now then\n"
        "    redis.call('HSET', KEYS[1], 'r' .. i, string.format('%.0f', at))\n"
        "  else\n"
        "    at = now\n"
        "    redis.call('HDEL', KEYS[1], 'r' .. i)\n"
        "  end\n"
        "  out[i] = at - now\n"
        "  keep = math.max(keep, at - now)\n"
        "end\n"
        "local me = 'g' .. ARGV[1]\n"
        "local lease = tonumber(ARGV[2]) * 1000\n"
        "if tonumber(ARGV[3]) > 0 then\n"
        "  redis.call('HSET', KEYS[1], me, ARGV[3] .. ' ' .. string.format('%.0f', now + lease))\n"
        "else\n"
        "  redis.call('HDEL', KEYS[1], me)\n"
        "end\n"
        "out[4] = 0\n"
        "local fields = redis.call('HGETALL', KEYS[1])\n"
        "for i = 1, #fields, 2 do\n"
        "  if string.sub(fields[i], 1, 1) == 'g' then\n"
        "    local count, stop = string.match(fields[i + 1], '(%d+) (%d+)')\n"
        "    if tonumber(stop) <= now then\n"
        "      redis.call('HDEL', KEYS[1], fields[i])\n"
        "    else\n"
        "      keep = math.max(keep, tonumber(stop) - now)\n"
        "      if fields[i] ~= me then out[4] = out[4] + tonumber(count) end\n"
        "    end\n"
        "  end\n"
        "end\n"
        "redis.call('PEXPIRE', KEYS[1], math.ceil(keep / 1000) + 1)\n"
        "return out\n",
};

struct limit_store {
    struct redis_link link;
    uint32_t loaded_generation; /* the connection that has been given the scripts */
    char gateway[NUMBER_BYTES], lease_ms[NUMBER_BYTES];
    char hashes[SCRIPT_COUNT][HASH_BYTES];
};

static status scripts_load(limit_store *store, struct error_note *note)
{
    for (unsigned i = 0; i < SCRIPT_COUNT; i++) {
        redisReply *reply;

        (void)redisAppendCommand(store->link.context, "SCRIPT LOAD %s", scripts[i]);
        reply = redis_link_reply(&store->link, note);
        if (reply == NULL)
            return STATUS_IO;
        (void)snprintf(store->hashes[i], HASH_BYTES, "%s", reply->str != NULL ? reply->str : "");
        freeReplyObject(reply);
    }
    store->loaded_generation = store->link.generation;
    return STATUS_OK;
}

status limit_store_greet(limit_store *store, uint32_t *gateway_count, struct error_note *note)
{
    status result = redis_link_ensure(&store->link, note);
    redisReply *reply;

    if (result == STATUS_OK && store->loaded_generation != store->link.generation)
        result = scripts_load(store, note);
    if (result != STATUS_OK)
        return STATUS_IO;
    (void)redisAppendCommand(store->link.context, "EVALSHA %s 1 penstock:gateways %s %s",
                             store->hashes[SCRIPT_GREET], store->gateway, store->lease_ms);
    reply = redis_link_reply(&store->link, note);
    if (reply == NULL)
        return STATUS_IO;
    *gateway_count = reply->integer > 0 ? (uint32_t)reply->integer : 1;
    freeReplyObject(reply);
    return STATUS_OK;
}

void limit_store_leave(limit_store *store)
{
    struct error_note unused;
    redisReply *reply;

    if (store->link.context == NULL)
        return;
    (void)redisAppendCommand(store->link.context, "ZREM penstock:gateways %s", store->gateway);
    reply = redis_link_reply(&store->link, &unused);
    if (reply != NULL)
        freeReplyObject(reply);
}

uint32_t limit_store_generation(const limit_store *store)
{
    return store->link.generation;
}

/* --- exchanges --- */

static void exchange_send(limit_store *store, const struct limit_exchange *item)
{
    char key[sizeof(KEY) + 2 * LIMIT_NAME_BYTES] = KEY;
    char numbers[1 + 2 * LIMIT_RATES][NUMBER_BYTES];
    const char *words[EXCHANGE_WORDS] = {
        "EVALSHA", store->hashes[SCRIPT_EXCHANGE], "1", key, store->gateway, store->lease_ms};

    for (size_t i = 0; i < LIMIT_NAME_BYTES; i++)
        (void)snprintf(key + sizeof(KEY) - 1 + 2 * i, 3, "%02x", item->name[i]);
    (void)snprintf(numbers[0], NUMBER_BYTES, "%" PRId64, item->running);
    for (unsigned i = 0; i < LIMIT_RATES; i++) {
        (void)snprintf(numbers[1 + i], NUMBER_BYTES, "%" PRId64, item->used_us[i]);
        (void)snprintf(numbers[1 + LIMIT_RATES + i], NUMBER_BYTES, "%" PRId64,
                       item->owed_min_us[i]);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++)
        words[EXCHANGE_WORDS - ARRAY_COUNT(numbers) + i] = numbers[i];
    (void)redisAppendCommandArgv(store->link.context, EXCHANGE_WORDS, words, NULL);
}

static status exchange_receive(limit_store *store, struct limit_exchange *item,
                               struct error_note *note)
{
    redisReply *reply = redis_link_reply(&store->link, note);
    status result = STATUS_IO;

    if (reply == NULL)
        return STATUS_IO;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == LIMIT_RATES + 1) {
        for (unsigned i = 0; i < LIMIT_RATES; i++)
            item->owed_us[i] = reply->element[i]->integer;
        item->running_elsewhere = reply->element[LIMIT_RATES]->integer;
        result = STATUS_OK;
    } else {
        error_note_set(note, "Redis: an answer of another form");
    }
    freeReplyObject(reply);
    return result;
}

status limit_store_exchange(limit_store *store, struct limit_exchange *items, uint32_t count,
                            uint32_t *done, struct error_note *note)
{
    CHECK(store->link.context != NULL);
    for (uint32_t i = 0; i < count; i++)
        exchange_send(store, &items[i]);
    for (*done = 0; *done < count; (*done)++) {
        if (exchange_receive(store, &items[*done], note) != STATUS_OK)
            return STATUS_IO;
    }
    return STATUS_OK;
}

/* --- life --- */

status limit_store_open(const struct config_state *config, limit_store **out,
                        struct error_note *note)
{
    limit_store *store = memory_allocate_array(1, sizeof(*store));
    char password[SECRET_BYTES_MAX + 1];
    uint64_t random;
    status result;

    if (store == NULL)
        return STATUS_NO_MEMORY;
    random_bytes(&random, sizeof(random));
    (void)snprintf(store->gateway, sizeof(store->gateway), "%016" PRIx64, random);
    (void)snprintf(store->lease_ms, sizeof(store->lease_ms), "%llu",
                   (unsigned long long)(config->lease_ns / NS_PER_MS));
    result = secret_read(config->redis_password_file, config->redis_password_env, password, note);
    if (result == STATUS_OK)
        result = redis_link_init(&store->link, config->redis, password, note);
    secret_forget(password, sizeof(password));
    if (result == STATUS_OK)
        *out = store;
    else
        limit_store_close(store);
    return result;
}

status limit_store_check(const struct config_state *config, struct error_note *note)
{
    limit_store *store = NULL;
    status result = limit_store_open(config, &store, note);

    if (result != STATUS_OK)
        return result;
    result = redis_link_ensure(&store->link, note);
    if (result == STATUS_OK)
        result = scripts_load(store, note);
    limit_store_close(store);
    return result;
}

void limit_store_close(limit_store *store)
{
    if (store == NULL)
        return;
    redis_link_deinit(&store->link);
    memory_release(store);
}
