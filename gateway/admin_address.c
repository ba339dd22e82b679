#include "admin_address.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "verbs.h"

/* "http://127.0.0.1:8081" of an address to listen on, where all addresses mean this machine. False: it does not fit. */
static bool address_write(const char *listen, char *out)
{
    const char *port = strrchr(listen, ':');
    size_t host_bytes = port != NULL ? (size_t)(port - listen) : 0;
    int bytes;

    if (port == NULL)
        return false;
    if (strncmp(listen, "0.0.0.0:", 8) == 0 || host_bytes == 0)
        bytes = snprintf(out, ADMIN_ADDRESS_BYTES, "http://127.0.0.1%s", port);
    else if (strncmp(listen, "[::]:", 5) == 0)
        bytes = snprintf(out, ADMIN_ADDRESS_BYTES, "http://[::1]%s", port);
    else
        bytes = snprintf(out, ADMIN_ADDRESS_BYTES, "http://%s", listen);
    return bytes > 0 && bytes < (int)ADMIN_ADDRESS_BYTES;
}

/* Where the gateway's admin listener is: a URL as it was given, or as the config says. */
bool admin_address_find(const char *verb, const char *where, char out[ADMIN_ADDRESS_BYTES])
{
    struct config *config;
    bool is_found = true;

    if (strncmp(where, "http://", 7) == 0 || strncmp(where, "https://", 8) == 0) {
        size_t bytes = strlen(where);

        while (bytes > 0 && where[bytes - 1] == '/')
            bytes--;
        return snprintf(out, ADMIN_ADDRESS_BYTES, "%.*s", (int)bytes, where) <
               (int)ADMIN_ADDRESS_BYTES;
    }
    config = config_load_or_print(where, NULL);
    if (config == NULL)
        return false;
    if (config->server.admin_listen[0] == '\0') {
        (void)fprintf(stderr, "%s: %s has no server.admin_listen\n", verb, where);
        is_found = false;
    } else if (!address_write(config->server.admin_listen, out)) {
        (void)fprintf(stderr, "%s: server.admin_listen is no address: %s\n", verb,
                      config->server.admin_listen);
        is_found = false;
    }
    config_destroy(config);
    return is_found;
}

static const char *usual_listen(void)
{
    const struct setting *row = config_table;

    while (strcmp(row->key, "server") != 0)
        row++;
    for (row = row->table; strcmp(row->key, "admin_listen") != 0;)
        row++;
    return row->fallback;
}

void admin_address_usual(char out[ADMIN_ADDRESS_BYTES])
{
    CHECK(address_write(usual_listen(), out));
}
