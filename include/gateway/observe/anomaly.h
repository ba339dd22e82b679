#ifndef PENSTOCK_OBSERVE_ANOMALY_H
#define PENSTOCK_OBSERVE_ANOMALY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether what a model does now is unlike what it does at this hour of the week. A series is one signal of one model, with a value for
 * each window of time (five minutes); a month of windows is kept. What is expected is the median of the same hour in the weeks before,
 * how far from it is usual their median absolute deviation; before there are weeks, that of the same hour of the days before, then that
 * of the last day. Medians, so that what went wrong last week does not become normal, nor hide the next time: the seasonal hybrid of
 * Hochenbaum, Vallis and Kejariwal 2017 (Automatic Anomaly Detection in the Cloud Via Statistical Learning, arXiv 1704.07706), with the
 * season as a table. An anomaly begins and ends by hysteresis. Pure; one owner at a time. */

enum anomaly_signal {
    ANOMALY_TTFT,        /* median time to the first token */
    ANOMALY_INTER_TOKEN, /* median time between tokens */
    ANOMALY_ERROR_RATE,  /* of requests */
    ANOMALY_ACCEPTANCE,  /* of speculation's drafts */
    ANOMALY_SIGNAL_COUNT
};
/* "ttft", "inter_token", "error_rate", "acceptance_rate". Never NULL. */
const char *anomaly_signal_name(enum anomaly_signal signal);

/* As it is compared: times by their logarithms, shares by the arcsine of their root, whose spread does not depend on them. */
double anomaly_from_measure(enum anomaly_signal signal, double measure);
double anomaly_to_measure(enum anomaly_signal signal, double value);
/* How far chance alone takes a value that was reckoned from `count` requests, tokens or drafts: one standard deviation. */
double anomaly_noise(enum anomaly_signal signal, double count);

#define ANOMALY_SLOTS 8640u /* 30 days of five minutes */

struct anomaly_series {
    enum anomaly_signal signal;
    int64_t window_s;
    int64_t newest;                    /* number of its newest window, from 1970; 0: none yet */
    float values[ANOMALY_SLOTS];       /* by the window's number, modulo; NAN: it had none */
    uint32_t above_count, below_count; /* windows in a row */
    bool is_anomalous, is_learning;
    int64_t since_s; /* of the anomaly */
    double score;    /* of the newest window: deviations from what was expected, to the bad side */
    double value, expected; /* of the newest window, as measures; NAN: not known */
};

void anomaly_series_init(struct anomaly_series *series, enum anomaly_signal signal,
                         int64_t window_s);

/* A value of the past, as anomaly_from_measure gives it: learned and not judged. `start_s`: of its window. */
void anomaly_series_learn(struct anomaly_series *series, int64_t start_s, double value);

/* The window that began then is over: judges its value by what was there before, then learns it. `threshold`: the score that an anomaly
 * begins with, when two windows in a row have it (one alone is chance, or over before anybody could look); below half of it for two windows it ends. NAN: too
 * little has happened to tell. */
void anomaly_series_note(struct anomaly_series *series, int64_t start_s, double value, double noise,
                         double threshold);

#endif
