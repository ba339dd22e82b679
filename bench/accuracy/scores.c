#include "scores.h"

#include <stdio.h>
#include <stdlib.h>

#include "log_softmax.h"

#define LINE_BYTES_MAX 256

static void fail(const char *what)
{
    fprintf(stderr, "questions: %s\n", what);
    exit(1);
}

/* The numbers of one line; their count. */
static uint32_t read_numbers(char *line, long *out, uint32_t count_max)
{
    char *at = line, *end;
    for (uint32_t count = 0;; count++, at = end) {
        long number = strtol(at, &end, 10);
        if (end == at)
            return count;
        if (count == count_max)
            fail("too many numbers in a line");
        out[count] = number;
    }
}

static int32_t token_of(long number, uint32_t vocabulary)
{
    if (number < 0 || (unsigned long)number >= vocabulary)
        fail("an id outside the vocabulary");
    return (int32_t)number;
}

bool scores_read(struct scores_sequence *out, uint32_t vocabulary)
{
    char line[LINE_BYTES_MAX];
    long numbers[1 + SCORES_WANTED_MAX];
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    if (read_numbers(line, numbers, 2) != 2 || numbers[0] < 1 || numbers[0] > SCORES_COUNT_MAX ||
        numbers[1] < 1 || numbers[1] > numbers[0])
        fail("a sequence begins with COUNT DECODE_FROM");
    out->count = (uint32_t)numbers[0];
    out->decode_from = (uint32_t)numbers[1];
    for (uint32_t i = 0; i < out->count; i++) {
        uint32_t count = 0;
        if (fgets(line, sizeof line, stdin) != NULL)
            count = read_numbers(line, numbers, 1 + SCORES_WANTED_MAX);
        if (count == 0)
            fail("a sequence is cut short");
        out->ids[i] = token_of(numbers[0], vocabulary);
        out->wanted_count[i] = count - 1;
        for (uint32_t k = 1; k < count; k++)
            out->wanted[i][k - 1] = token_of(numbers[k], vocabulary);
    }
    return true;
}

void scores_write(const struct scores_sequence *sequence, uint32_t position, const float *logprobs,
                  uint32_t vocabulary)
{
    printf("%u", largest_index(logprobs, vocabulary));
    for (uint32_t k = 0; k < sequence->wanted_count[position]; k++)
        printf(" %.5f", (double)logprobs[sequence->wanted[position][k]]);
    putchar('\n');
}
