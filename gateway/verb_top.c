/* `penstock top`: a running gateway, live, in a terminal. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "admin_address.h"
#include "admin_get.h"
#include "check.h"
#include "clock.h"
#include "top.h"
#include "verbs.h"

#define INTERVAL_MAX_S 3600

struct asked {
    char base[ADMIN_ADDRESS_BYTES];
    struct http_fetch_session
        *session; /* owned; NULL: every question has a connection of its own */
    atomic_bool is_over;
};

static bool is_over(const void *context)
{
    return atomic_load(&((const struct asked *)context)->is_over);
}

static void stop(void *context)
{
    atomic_store(&((struct asked *)context)->is_over, true);
}

static status ask(void *context, const char *path, struct buffer *out, struct error_note *note)
{
    struct asked *asked = context;
    char url[ADMIN_ADDRESS_BYTES + 256];

    CHECK(snprintf(url, sizeof(url), "%s%s", asked->base, path) < (int)sizeof(url));
    return admin_ask(url, asked->session, is_over, asked, out, note);
}

int verb_top(int argument_count, char **arguments)
{
    const char *where = NULL;
    int32_t interval_s = 2;
    struct asked asked = {.session = NULL};
    struct top top = {.get = ask, .stop = stop, .context = &asked};
    const struct flag flags[] = {
        {.name = "--interval", .number = &interval_s, .number_max = INTERVAL_MAX_S},
        {.name = "--once", .is_given = &top.is_once}};
    int exit_code;

    if (!arguments_read("top", argument_count, arguments, flags, ARRAY_COUNT(flags), &where))
        return EXIT_USAGE;
    if (where == NULL || interval_s == 0) {
        (void)fprintf(stderr, "penstock top: %s; `penstock help top` shows how\n",
                      where == NULL ? "which gateway?" : "--interval must be above 0");
        return EXIT_USAGE;
    }
    if (!admin_address_find("penstock top", where, asked.base))
        return 1;
    top.where = asked.base;
    top.interval_ns = (uint64_t)interval_s * NS_PER_SECOND;
    asked.session = http_fetch_session_create();
    exit_code = top_run(&top);
    http_fetch_session_destroy(asked.session);
    return exit_code;
}
