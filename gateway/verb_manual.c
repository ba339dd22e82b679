/* penstock manual: pages for man, from the tables that the program itself runs on. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "roff.h"
#include "verbs.h"

static void write_title(const char *name, const char *section, const char *what, struct buffer *out)
{
    buffer_append_format(out, ".TH %s %s \"\" \"penstock " PENSTOCK_VERSION "\" \"Penstock\"\n",
                         name, section);
    buffer_append_text(out, ".SH NAME\n");
    roff_append(out, what);
    buffer_append_byte(out, '\n');
}

/* As it stands: usages of several lines are laid out for a terminal. */
static void write_verb(const struct verb *verb, struct buffer *out)
{
    buffer_append_text(out, ".SS ");
    roff_append(out, verb->name);
    buffer_append_text(out, "\n.nf\n\\fBpenstock ");
    roff_append(out, verb->name);
    buffer_append_text(out, "\\fR ");
    roff_append(out, verb->usage);
    buffer_append_byte(out, '\n');
    buffer_append_text(out, ".fi\n.PP\n");
    if (strchr(verb->help, '\n') != NULL)
        buffer_append_text(out, ".nf\n");
    roff_append(out, verb->help);
    buffer_append_byte(out, '\n');
    if (strchr(verb->help, '\n') != NULL)
        buffer_append_text(out, ".fi\n");
}

static void write_program(struct buffer *out)
{
    write_title("PENSTOCK", "1", "penstock - LLM inference gateway server", out);
    buffer_append_text(out, ".SH SYNOPSIS\n.B penstock\n.I verb\n.RI [ argument ]...\n"
                            ".SH DESCRIPTION\n");
    roff_append(out, "A gateway with an OpenAI-compatible API before replicas of language models, "
                     "and the replicas "
                     "themselves: engines with continuous batching on CPU cores and GPUs. The "
                     "gateway places, scales and "
                     "heals replicas on the slices of a pool: this machine, Kubernetes clusters, "
                     "Slurm clusters.\n");
    buffer_append_text(out, ".SH VERBS\n");
    for (size_t i = 0; i < verb_count; i++)
        write_verb(&verb_table[i], out);
    buffer_append_text(out, ".SH SIGNALS\n");
    roff_append(out, "To penstock serve: SIGTERM and SIGINT drain and end it, a second one at "
                     "once; SIGHUP reads the config "
                     "anew and opens the access log again; SIGUSR2 starts the program anew in its "
                     "place without ending "
                     "requests.\n");
    buffer_append_text(out, ".SH EXIT STATUS\n");
    roff_append(out, "0: done. 1: it failed, and standard error says why. 2: the command line "
                     "makes no sense.\n");
    buffer_append_text(out, ".SH SEE ALSO\n.BR penstock.yaml (5)\n");
}

static void write_settings(struct buffer *out)
{
    write_title("PENSTOCK.YAML", "5", "penstock.yaml - config file of penstock", out);
    buffer_append_text(out, ".SH DESCRIPTION\n");
    roff_append(out, "YAML. A config needs only what differs from the defaults, and the models. "
                     "Sizes are written as 512MiB or "
                     "2GB, durations as 250ms, 30s, 5m or 1h. penstock check tells every mistake "
                     "with its line, column and "
                     "remedy.\n");
    buffer_append_text(out, ".SH SETTINGS\n");
    settings_write_manual(config_table, out);
    buffer_append_text(out, ".SH SEE ALSO\n.BR penstock (1)\n");
}

int verb_manual(int argument_count, char **arguments)
{
    const char *page = NULL;
    struct buffer out;
    int code = 1;

    if (!arguments_read("manual", argument_count, arguments, NULL, 0, &page))
        return EXIT_USAGE;
    if (page != NULL && strcmp(page, "settings") != 0) {
        (void)fprintf(stderr, "penstock manual: there is no page '%s'; settings, or none\n", page);
        return EXIT_USAGE;
    }
    buffer_init(&out, 1u << 20);
    if (page == NULL)
        write_program(&out);
    else
        write_settings(&out);
    if (out.failed == STATUS_OK && fwrite(out.data, 1, out.bytes, stdout) == out.bytes)
        code = 0;
    buffer_deinit(&out);
    return code;
}
