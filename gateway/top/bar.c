#include "bar.h"

#include <math.h>
#include <string.h>

#define BAR_CELLS_MAX 256u

void bar_cells(const double shares[TIME_STATES], uint32_t cells, uint32_t out[TIME_STATES])
{
    double sum = 0, rests[TIME_STATES];
    uint32_t given = 0;

    memset(out, 0, TIME_STATES * sizeof(*out));
    for (int i = 0; i < TIME_STATES; i++)
        sum += shares[i];
    if (sum <= 0)
        return;
    for (int i = 0; i < TIME_STATES; i++) {
        double exact = shares[i] / sum * cells;

        out[i] = (uint32_t)exact;
        rests[i] = exact - floor(exact);
        given += out[i];
    }
    while (given < cells) {
        int largest = 0;

        for (int i = 1; i < TIME_STATES; i++)
            largest = rests[i] > rests[largest] ? i : largest;
        rests[largest] = -1;
        out[largest]++;
        given++;
    }
}

void bar_write(struct line *line, const double shares[TIME_STATES], uint32_t cells)
{
    uint32_t counts[TIME_STATES];
    char letters[BAR_CELLS_MAX + 1];

    bar_cells(shares, cells < BAR_CELLS_MAX ? cells : BAR_CELLS_MAX, counts);
    for (int i = 0; i < TIME_STATES; i++) {
        if (counts[i] == 0)
            continue;
        memset(letters, time_states[i].letter, counts[i]);
        letters[counts[i]] = '\0';
        line_painted(line, time_states[i].foreground, time_states[i].background, letters);
    }
}
