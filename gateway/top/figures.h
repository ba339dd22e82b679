#ifndef PENSTOCK_TOP_FIGURES_H
#define PENSTOCK_TOP_FIGURES_H

/* Numbers as people read them, as the dashboard page writes them. Not finite: an en dash. */

struct figure {
    char text[24];
};

struct figure figure_short(double value);   /* "0.15", "12.3", "1200", "12.3k", "4.5M" */
struct figure figure_percent(double share); /* "0.4%", "12%" */
struct figure figure_seconds(double value); /* "18 ms", "2.5 s", "3 min", "2.1 h", "4 d" */

#endif
