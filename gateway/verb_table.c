/* Every verb, once: `penstock help`, the manual page and the shells' completions follow from these rows. */
#include "check.h"
#include "verbs.h"

const struct verb verb_table[] = {
    {"serve", "CONFIG [--port N] [--admin-port N] [--model-path FILE]",
     "runs the gateway and its replicas", verb_serve},
    {"replica", "CONFIG --model NAME --listen ADDRESS [--model-path FILE]",
     "runs one model as an OpenAI server of its own; or, with --join [--listen ADDRESS], for the "
     "gateway "
     "that has started it on another machine",
     verb_replica},
    {"check",
     "CONFIG [--model-path FILE] [--device H200] [--tensor-parallel N] [--pipeline-parallel N]\n"
     "               [--calibration FILE] [--rate R] [--prompt-tokens N] [--output-tokens N]",
     "checks a config and prints the memory plan of each model; for accelerators, which need not "
     "be here, with the times to expect. With what steps cost (`penstock bench --calibrate`, or "
     "GET "
     "/admin/capacity) it predicts how many requests of those tokens (128, 64) the replicas carry, "
     "and the times at R a second",
     verb_check},
    {"bench",
     "URL [--model NAME] [--rate R | --concurrency N] [--requests N] [--seconds N]\n"
     "               [--prompt-tokens N] [--output-tokens N] [--shared-tokens N] [--seed N]\n"
     "               [--ttft-slo-ms N] [--inter-token-slo-ms N] [--ca-file FILE] "
     "[--format text|json]\n"
     "           URL --calibrate [--model NAME] [--concurrency N]",
     "sends streamed chat completions to a server with the OpenAI API and tells what came of them, "
     "and when\n"
     "      --rate            requests a second, by a Poisson process; without it --concurrency "
     "(8) "
     "clients\n"
     "                        ask again as soon as they have their answer\n"
     "      --requests        to send (100); --seconds: none is sent after\n"
     "      --prompt-tokens   of each request's own, about (128); --shared-tokens: of a beginning "
     "that all share\n"
     "      --output-tokens   of each answer (64)\n"
     "      --ttft-slo-ms, --inter-token-slo-ms  what a good answer holds, for the goodput\n"
     "      --calibrate       prints what a step costs, for `penstock check --calibration`\n"
     "      A key goes into the environment: PENSTOCK_API_KEY",
     verb_bench},
    {"pull",
     "URL|ORGANISATION/NAME [--into FOLDER] [--sha256 HEX]\n"
     "               [--endpoint URL] [--revision NAME] [--file PATTERN] [--token-file FILE] "
     "[--quiet]",
     "fetches a model: a file from a URL, or a repository's files from a server that speaks as the "
     "Hugging Face Hub (--endpoint, or HF_ENDPOINT). It goes on where it was cut off, and checks "
     "hashes. Into ~/.cache/penstock/models where nothing else is said; a token comes from a file, "
     "or for repositories from HF_TOKEN",
     verb_pull},
    {"manual", "[settings]",
     "prints the manual page of this program, or of its config file, for man", verb_manual},
    {"completion", "bash|zsh|fish", "prints what a shell needs to complete this command line",
     verb_completion},
    {"reference-config", "", "prints every setting with its meaning, default and range",
     verb_reference_config},
    {"keys",
     "create CONFIG --name NAME [--organisation NAME] [--team NAME] [--scopes LIST] [--models "
     "LIST]\n"
     "               [--days N] [--weight N] [--priority-max N] [--ttft-slo-ms N]\n"
     "           list CONFIG\n"
     "           rotate CONFIG --id ID [--overlap-hours N]\n"
     "           revoke CONFIG --id ID",
     "makes, shows, renews and ends the API keys in state.database; a running gateway notices "
     "within a "
     "second",
     verb_keys},
    {"usage",
     "CONFIG [--by organisation,team,key,model,day,hour] [--from TIME] [--to TIME]\n"
     "               [--organisation NAME] [--team NAME] [--key ID-OR-NAME] [--model NAME]\n"
     "               [--format table|csv|json]",
     "what the ledger in state.database has of requests, tokens and costs; times are whole hours "
     "of "
     "UTC "
     "(2026-01-31, 2026-01-31T23), --to is not part of it",
     verb_usage},
    {"audit",
     "verify CONFIG\n"
     "           show CONFIG",
     "checks the hash chain of records.audit_log and names the first line that is wrong; prints it",
     verb_audit},
    {"explain", "CONFIG|URL|ID [--request ID] [--model NAME] [--limit N] [--json]",
     "asks a running gateway's admin listener for its pool; with --model, where one more replica "
     "of "
     "it would go now and why each slice was passed over, who waits, and the last decisions; with "
     "--request, or an ID alone for "
     "a gateway at the usual address, what has happened to that request. Where "
     "auth.admin asks for a key, it goes into the environment: PENSTOCK_ADMIN_KEY",
     verb_explain},
    {"top", "CONFIG|URL [--once] [--interval SECONDS]",
     "shows a running gateway in the terminal, live: models, where their replicas' time went in "
     "the "
     "last minute, the selected one's replicas and slices, the requests under way, what is "
     "unusual. It asks the admin listener every 2 seconds, or --interval. With --once, or where "
     "the output is no terminal, it prints one frame. Keys: q quits, space pauses, the arrows and "
     "m go through the models. NO_COLOR is kept to. Where auth.admin asks for a key, it goes into "
     "the environment: PENSTOCK_ADMIN_KEY",
     verb_top},
    {"flight", "FILE|URL [--steps N] [--json]",
     "the last steps of a replica: of a file that one has left which has crashed or hangs (the log "
     "names it), or of one that runs: URL/admin/replicas/MODEL/INDEX/flight of the admin listener",
     verb_flight},
    {"simulate",
     "[--rules LIST] [--seed N] [--clusters N] [--slices N] [--models N] [--hours N]\n"
     "               [--begin-hour N] [--load-percent N] [--failures on|off] [--trace FILE]\n"
     "               [--format table|json]",
     "a day of a pool of clusters on a virtual clock, with this server's autoscaler, placement and "
     "router\n"
     "      --rules         penstock (this server's), queue (as HPA), concurrency (as Knative), "
     "static (the peak),\n"
     "                      clairvoyant, and sharing: tenants' guarantees and gangs; default: the "
     "first five\n"
     "      --seed          of traffic, failures and starts; the same gives the same day (1)\n"
     "      --clusters      of --slices slices each, in nodes of eight (10, 40)\n"
     "      --models        that share them by Zipf's law (10)\n"
     "      --hours         from --begin-hour of the week, Monday 0:00 being 0 (24, 0)\n"
     "      --load-percent  of the slices that the busiest hour needs (60)\n"
     "      --failures      of nodes, clusters and zones, and spot slices taken back (on)\n"
     "      --trace         traffic of your own instead: a file of seconds,model,prompt_tokens,"
     "output_tokens\n"
     "                      with this line first; a model's name begins with chat, agent, "
     "reasoning "
     "or large",
     verb_simulate},
    {"hash-key", "", "reads an API key from standard input and prints its hash for auth.keys",
     verb_hash_key},
    {"version", "", "prints the version", verb_version},
    {"help", "[VERB]", "prints this, or a verb's usage", verb_help},
};
const size_t verb_count = ARRAY_COUNT(verb_table);
