#ifndef PENSTOCK_IDENTITY_SPEND_BOOK_H
#define PENSTOCK_IDENTITY_SPEND_BOOK_H

#include "config.h"
#include "state_database.h"

/* What each subject of a budget has spent in its period, and what running requests may still spend. A request reserves
 * the most that it may cost before it begins and settles what it did cost when it ends; both are atomic additions, on
 * any loop. What is settled stands at once in a mapped file beside the database, so it outlives the process however
 * that ends; a thread writes it to the database in batches, and starts each period anew. */

#define SPEND_ACCOUNT_COUNT_MAX 16384u
#define SPEND_SUBJECT_BYTES_MAX 304u

struct spend_book;
struct spend_account;

/* Among gateways that share the database. */
struct spend_sharing {
    double share;     /* of a budget, that each of them may spend too much (spend_book.c) */
    uint64_t hold_ms; /* how long what one holds outlives it */
};

/* `file`, `database`: NULL: nothing outlives the process. Both periods' sums come from the file and the database,
 * whichever has more. STATUS_OK; STATUS_IO with a note, also when another process has the file; STATUS_NO_MEMORY. Thread: main. */
NODISCARD status spend_book_open(const char *file, state_database *database,
                                 const struct spend_sharing *sharing, uint64_t now_s,
                                 struct spend_book **out, struct error_note *note);
/* The same for a gateway that takes over from another, which has the file still: both add to the same sums until that one is gone. What that
 * one has reserved is known to it alone; a tick may be made once it makes none any more. */
NODISCARD status spend_book_take_over(const char *file, state_database *database,
                                      const struct spend_sharing *sharing, uint64_t now_s,
                                      struct spend_book **out, struct error_note *note);
void spend_book_close(struct spend_book *book); /* accepts NULL */

/* The account of a subject, made when there is none; good as long as the book. Any thread. STATUS_OK, STATUS_FULL,
 * STATUS_TOO_LARGE (the subject's text), STATUS_NO_MEMORY. */
NODISCARD status spend_book_get(struct spend_book *book, const char *subject,
                                enum budget_period kind, struct spend_account **out);

enum spend_answer {
    SPEND_TAKEN,
    SPEND_OVER,  /* with so much more, what is spent and reserved would be over the amount */
    SPEND_ASKING /* there may be as much, but not of what this gateway holds, and it asks for more */
};
/* Takes `most`, or else nothing changes. Any thread. */
enum spend_answer spend_reserve(struct spend_account *account, int64_t amount, int64_t most);
/* What was reserved has cost so much. Any thread. */
void spend_settle(struct spend_account *account, int64_t reserved, int64_t cost);
int64_t spend_spent(const struct spend_account *account);

/* `call` is called when a tick is due before its time, from any thread, at most once for each tick. Before the loops run. */
void spend_book_on_wanting(struct spend_book *book, void (*call)(void *context), void *context);
bool spend_book_is_wanting(const struct spend_book *book);

/* Writes what has changed, holds for the time to come what a shared database has, and begins the periods that have come. The thread that owns the database. STATUS_OK,
 * STATUS_AGAIN, STATUS_IO with a note: then it is tried again at the next call. */
NODISCARD status spend_book_tick(struct spend_book *book, state_database *database, uint64_t now_s,
                                 struct error_note *note);

/* Deletes the sums of periods that are over for two months. Inside of a transaction. STATUS_OK, STATUS_IO. */
NODISCARD status spend_sweep(state_database *database, uint64_t now_s, struct error_note *note);

#endif
