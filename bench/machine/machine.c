#include "machine.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "thread.h"

#define LINE_MAX_BYTES 8192 /* the flags of a CPU are one line of two to three thousand */

/* The value of the first line of /proc/cpuinfo that begins with `key`; "" without one. */
static void read_cpuinfo(const char *key, char *value, size_t size)
{
    value[0] = '\0';
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL)
        return;
    static char line[LINE_MAX_BYTES];
    while (value[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) == 0 && colon != NULL)
            (void)snprintf(value, size, "%s", colon + 2);
    }
    (void)fclose(file);
    value[strcspn(value, "\n")] = '\0';
}

/* Those that decide which kernels run. */
static json_t *features_json(void)
{
    static const char *const names[] = {"avx2", "avx_vnni", "avx512_vnni", "amx_int8"};
    static char flags[LINE_MAX_BYTES];
    json_t *out = json_array();
    read_cpuinfo("flags", flags, sizeof flags);
    for (char *rest = flags, *flag; (flag = strtok_r(rest, " ", &rest)) != NULL;)
        for (size_t i = 0; i < ARRAY_COUNT(names); i++)
            if (strcmp(flag, names[i]) == 0)
                json_array_append_new(out, json_string(flag));
    return out;
}

json_t *machine_json(void)
{
    char cpu[128], date[16];
    double load = 0;
    time_t now = time(NULL);
    struct tm day;
    read_cpuinfo("model name", cpu, sizeof cpu);
    (void)strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &day));
    (void)getloadavg(&load, 1);
    json_int_t memory = (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    return json_pack("{s:s,s:s,s:o,s:i,s:I,s:I,s:I,s:f}", "date", date, "cpu", cpu, "features",
                     features_json(), "cores", (int)thread_core_count(), "l2_bytes",
                     (json_int_t)sysconf(_SC_LEVEL2_CACHE_SIZE), "l3_bytes",
                     (json_int_t)sysconf(_SC_LEVEL3_CACHE_SIZE), "memory_bytes", memory,
                     "load_average", load);
}

uint64_t machine_resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file != NULL && fscanf(file, "%llu %llu", &total, &resident) == 2);
    (void)fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
