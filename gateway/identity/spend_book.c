/* The accounts, and the file under them
 *
 *   file (mapped, shared):  | slot 0 | slot 1 | ...    subject, kind, period, spent
 *   memory:                 | account 0 | account 1    reserved, written to the database; points to its slot
 *   quota_cells:            hash of subject and kind -> account
 *
 * A page that was written belongs to the kernel: SIGKILL loses nothing of it, only a power cut may, and then the
 * database has all but the last second. Slots are handed out by rising index and never go back while the process lives;
 * at the start those whose period is over make room.
 *
 * Spent is added before reserved is taken away, so the sum of the two is never less than the truth.
 *
 * Gateways that share a database keep a row each for a subject: what this one has spent, and up to what it may spend without
 * asking ("held", which counts for the others like spent money, until it runs out). A tick reads what the others have, under
 * the lock of all who write, and holds anew: what is in use here and one share of the budget more, as far as there is any. So
 * a request asks nobody. Beyond what is held a gateway may go by one share, as whoever comes first to a subject, or faster
 * than the ticks, would else be refused money that is there: so much may be spent too much for each gateway, and two shares
 * for one that cannot reach the database for longer than a hold lives. */
#include "spend_book.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "hash.h"
#include "memory.h"
#include "money.h"
#include "quota_cells.h"

enum slot_use { SLOT_FREE, SLOT_USED, SLOT_CLAIMED /* used soon */ };

struct spend_slot {
    char subject[SPEND_SUBJECT_BYTES_MAX];
    _Atomic uint32_t
        is_used; /* enum slot_use; of others than a used one nothing is to be read; release, acquire */
    uint32_t kind;
    _Atomic uint32_t period;
    _Atomic int64_t spent;
};

#define GATEWAY_BYTES 24u
/* Of a gateway that does not share: never reached, and sums with it do not overflow. */
#define GRANTED_ALL (INT64_MAX / 4)
#define IDLE_TICKS  10u /* without use until what is held goes back */

struct spend_account {
    _Atomic bool is_known;   /* this process has made it, or found it in the file; relaxed */
    struct spend_book *book; /* the one that it is in */
    struct spend_slot *slot; /* the one of its index */
    _Atomic int64_t reserved;
    _Atomic int64_t amount;    /* of the budget, as was asked last */
    _Atomic int64_t elsewhere; /* what the others have spent and hold */
    _Atomic int64_t granted;   /* what may be spent and reserved here */
    int64_t written;           /* what the database has; the thread's, as all below */
    int64_t seen, holding;     /* use, and what is held, at the last tick */
    uint32_t idle_ticks;
};

/* The file. */
struct spend_file {
    struct spend_slot slots[SPEND_ACCOUNT_COUNT_MAX];
    char gateway[GATEWAY_BYTES]; /* whose sums they are, in a database that is shared */
};

struct spend_book {
    struct quota_cells *cells; /* owned */
    struct spend_file *file;   /* mapped */
    struct spend_slot *slots;  /* in it */
    bool is_shared;
    struct spend_sharing sharing;
    _Atomic bool is_wanting;           /* somebody comes near the end of what is held */
    void (*on_wanting)(void *context); /* NULL: nobody listens */
    void *on_wanting_context;
    int descriptor;         /* of the file; -1: none */
    bool is_locked;         /* no other process has the file any more; the thread's */
    _Atomic uint32_t count; /* handed out */
    _Atomic uint32_t periods[2];
    struct spend_account accounts[SPEND_ACCOUNT_COUNT_MAX];
};

#define FILE_BYTES sizeof(struct spend_file)

/* --- accounts --- */

/* The next slot that is free: a gateway and the one that takes over from it claim them from the same file. NULL: there is none. */
static struct spend_slot *slot_claim(struct spend_book *book, uint32_t *index)
{
    while ((*index = atomic_fetch_add_explicit(&book->count, 1, memory_order_relaxed)) <
           SPEND_ACCOUNT_COUNT_MAX) {
        struct spend_slot *slot = &book->slots[*index];
        uint32_t use = SLOT_FREE;

        if (atomic_compare_exchange_strong_explicit(&slot->is_used, &use, SLOT_CLAIMED,
                                                    memory_order_relaxed, memory_order_relaxed))
            return slot;
    }
    (void)atomic_fetch_sub_explicit(&book->count, 1, memory_order_relaxed);
    return NULL;
}

static status account_make(struct spend_book *book, const char *subject, enum budget_period kind,
                           struct spend_account **out)
{
    uint32_t index;
    struct spend_slot *slot = slot_claim(book, &index);

    if (slot == NULL)
        return STATUS_FULL;
    slot->kind = (uint32_t)kind;
    atomic_store_explicit(&slot->spent, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->period, atomic_load(&book->periods[kind]), memory_order_relaxed);
    memcpy(slot->subject, subject, strlen(subject) + 1);
    atomic_store_explicit(&book->accounts[index].is_known, true, memory_order_relaxed);
    atomic_store_explicit(&slot->is_used, SLOT_USED, memory_order_release);
    *out = &book->accounts[index];
    return STATUS_OK;
}

static status cell_of(struct spend_book *book, const char *subject, enum budget_period kind,
                      struct quota_cell **out)
{
    char name[SPEND_SUBJECT_BYTES_MAX + 1];
    size_t bytes = strlen(subject);

    if (bytes == 0 || bytes >= SPEND_SUBJECT_BYTES_MAX)
        return STATUS_TOO_LARGE;
    name[0] = (char)kind;
    memcpy(name + 1, subject, bytes);
    return quota_cells_get(book->cells, name, bytes + 1, out);
}

status spend_book_get(struct spend_book *book, const char *subject, enum budget_period kind,
                      struct spend_account **out)
{
    struct quota_cell *cell;
    void *seen = NULL;
    status result = cell_of(book, subject, kind, &cell);

    if (result != STATUS_OK)
        return result;
    *out = atomic_load_explicit(&cell->account, memory_order_acquire);
    if (*out != NULL)
        return STATUS_OK;
    result = account_make(book, subject, kind, out);
    /* Of two that come at once one keeps an account that nobody uses. */
    if (result == STATUS_OK &&
        !atomic_compare_exchange_strong_explicit(&cell->account, &seen, *out, memory_order_acq_rel,
                                                 memory_order_acquire))
        *out = seen;
    return result;
}

static int64_t share_of(const struct spend_book *book, int64_t amount)
{
    return (int64_t)((double)amount * book->sharing.share);
}

/* At most once for each tick. */
static void want(struct spend_book *book)
{
    if (atomic_load_explicit(&book->is_wanting, memory_order_relaxed) ||
        atomic_exchange(&book->is_wanting, true))
        return;
    if (book->on_wanting != NULL)
        book->on_wanting(book->on_wanting_context);
}

enum spend_answer spend_reserve(struct spend_account *account, int64_t amount, int64_t most)
{
    struct spend_book *book = account->book;
    int64_t share = share_of(book, amount), granted = atomic_load(&account->granted), used;
    bool is_there;

    if (atomic_load_explicit(&account->amount, memory_order_relaxed) != amount)
        atomic_store(&account->amount, amount);
    used = atomic_fetch_add_explicit(&account->reserved, most, memory_order_seq_cst) + most +
           atomic_load_explicit(&account->slot->spent, memory_order_seq_cst);
    is_there = used + atomic_load(&account->elsewhere) <= amount;
    if (is_there && used > granted - share / 2)
        want(book);
    if (is_there && used - most <= granted + share)
        return SPEND_TAKEN;
    (void)atomic_fetch_sub_explicit(&account->reserved, most, memory_order_seq_cst);
    return is_there ? SPEND_ASKING : SPEND_OVER;
}

void spend_settle(struct spend_account *account, int64_t reserved, int64_t cost)
{
    (void)atomic_fetch_add_explicit(&account->slot->spent, cost, memory_order_seq_cst);
    (void)atomic_fetch_sub_explicit(&account->reserved, reserved, memory_order_seq_cst);
}

int64_t spend_spent(const struct spend_account *account)
{
    return atomic_load_explicit(&account->slot->spent, memory_order_relaxed);
}

/* --- the database --- */

#define WRITE_SQL                                                                                  \
    "INSERT INTO spent VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (subject, period, gateway)"     \
    " DO UPDATE SET nano = CASE WHEN spent.nano > excluded.nano THEN spent.nano"                   \
    " ELSE excluded.nano END, held_nano = excluded.held_nano,"                                     \
    " held_until_ms = excluded.held_until_ms"

/* Sums only grow, but for a period that begins. `hold_end_ms`: 0: nothing is held. */
static status row_write(struct spend_book *book, state_statement *statement,
                        const struct spend_slot *slot, int64_t spent, int64_t held,
                        uint64_t hold_end_ms, struct error_note *note)
{
    char period[16];

    money_period_write((enum budget_period)slot->kind, atomic_load(&slot->period), period);
    state_bind_text(statement, 1, slot->subject);
    state_bind_text(statement, 2, period);
    state_bind_text(statement, 3, book->file->gateway);
    state_bind_number(statement, 4, spent);
    state_bind_number(statement, 5, held);
    state_bind_number(statement, 6, (int64_t)hold_end_ms);
    return state_statement_queue(statement, note);
}

static bool is_used(const struct spend_account *account)
{
    return atomic_load_explicit(&account->slot->is_used, memory_order_acquire) == SLOT_USED;
}

static bool has_changed(const struct spend_book *book, const struct spend_account *account)
{
    return is_used(account) && (spend_spent(account) != account->written ||
                                atomic_load(&account->slot->period) !=
                                    atomic_load(&book->periods[account->slot->kind]));
}

static int64_t use_of(const struct spend_account *account)
{
    return spend_spent(account) + atomic_load(&account->reserved);
}

/* Whether it has something to ask or to give back. */
static bool is_active(const struct spend_book *book, const struct spend_account *account)
{
    return has_changed(book, account) ||
           (book->is_shared && is_used(account) &&
            (account->holding != 0 || use_of(account) != account->seen));
}

/* What the others have, of both periods. Subjects that nobody asks for here get accounts as well: then the first who does is
 * not let through unseen. */
static status others_read(struct spend_book *book, state_database *database, uint64_t now_ms,
                          struct error_note *note)
{
    state_statement *statement = state_database_prepare(
        database,
        "SELECT subject, period, sum(CASE WHEN held_until_ms > ?4 AND held_nano > nano"
        " THEN held_nano ELSE nano END) FROM spent WHERE (period = ?1 OR period = ?2)"
        " AND gateway <> ?3 GROUP BY subject, period",
        note);
    bool has_row = true;
    char periods[2][16];
    status result = STATUS_OK;

    if (statement == NULL)
        return STATUS_IO;
    for (unsigned kind = 0; kind < 2; kind++) {
        money_period_write((enum budget_period)kind, atomic_load(&book->periods[kind]),
                           periods[kind]);
        state_bind_text(statement, 1 + kind, periods[kind]);
    }
    state_bind_text(statement, 3, book->file->gateway);
    state_bind_number(statement, 4, (int64_t)now_ms);
    while ((result = state_statement_step(statement, &has_row, note)) == STATUS_OK && has_row) {
        bool is_month = strcmp(state_column_text(statement, 1), periods[BUDGET_MONTH]) == 0;
        struct spend_account *account;

        if (spend_book_get(book, state_column_text(statement, 0),
                           is_month ? BUDGET_MONTH : BUDGET_DAY, &account) == STATUS_OK)
            atomic_store(&account->elsewhere, state_column_number(statement, 2));
    }
    state_statement_close(statement);
    return result == STATUS_OK ? STATUS_OK : STATUS_IO;
}

/* Up to what it may go: what is in use and a share more, as far as there is any. 0: it asks for nothing. */
static int64_t hold_decide(struct spend_book *book, struct spend_account *account)
{
    int64_t used = use_of(account), amount = atomic_load(&account->amount);
    int64_t room = amount - atomic_load(&account->elsewhere);
    int64_t wanted = used + share_of(book, amount);

    account->idle_ticks = used != account->seen ? 0 : account->idle_ticks + 1;
    account->seen = used;
    if (amount == 0 || (account->idle_ticks >= IDLE_TICKS && atomic_load(&account->reserved) == 0))
        return 0;
    if (wanted <= room)
        return wanted;
    return room > used ? room : used;
}

static status accounts_write(struct spend_book *book, uint32_t count, state_database *database,
                             uint64_t now_ms, struct error_note *note)
{
    state_statement *statement = state_database_prepare(database, WRITE_SQL, note);
    status result = statement != NULL ? STATUS_OK : STATUS_IO;

    for (uint32_t i = 0; result == STATUS_OK && i < count; i++) {
        struct spend_account *account = &book->accounts[i];

        if (!is_active(book, account))
            continue;
        account->holding = book->is_shared ? hold_decide(book, account) : 0;
        account->written = spend_spent(account);
        result = row_write(book, statement, account->slot, account->written, account->holding,
                           account->holding != 0 ? now_ms + book->sharing.hold_ms : 0, note);
    }
    state_statement_close(statement);
    return result;
}

static status all_write(struct spend_book *book, uint32_t count, state_database *database,
                        struct error_note *note)
{
    uint64_t now_ms = 0;
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    if (book->is_shared)
        result = state_database_now_ms(database, &now_ms, note);
    if (result == STATUS_OK && book->is_shared)
        result = others_read(book, database, now_ms, note);
    if (result == STATUS_OK)
        result = accounts_write(book, count, database, now_ms, note);
    if (result == STATUS_OK)
        result = state_database_commit(database, note);
    else
        state_database_roll_back(database);
    for (uint32_t i = 0; i < count; i++) {
        struct spend_account *account = &book->accounts[i];

        if (result != STATUS_OK)
            account->written = -1; /* all once more */
        else if (book->is_shared && is_used(account))
            atomic_store(&account->granted, account->holding);
    }
    return result;
}

/* What is settled between the write and here counts for the new period: it ended after the old one did. */
static void periods_begin(struct spend_book *book, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct spend_account *account = &book->accounts[i];
        uint32_t period;

        if (!is_used(account))
            continue;
        period = atomic_load(&book->periods[account->slot->kind]);
        if (atomic_load(&account->slot->period) == period)
            continue;
        (void)atomic_fetch_sub(&account->slot->spent, account->written);
        atomic_store(&account->slot->period, period);
        atomic_store(&account->elsewhere, 0);
        atomic_store(&account->granted, book->is_shared ? 0 : GRANTED_ALL);
        account->holding = account->written = 0;
    }
}

/* Makes the account of a slot that another process has made, or, where this one has come to have another for the same subject,
 * adds its sum to that. */
static status slot_adopt(struct spend_book *book, uint32_t index)
{
    struct spend_account *account = &book->accounts[index];
    struct quota_cell *cell;
    void *seen = NULL;
    status result =
        cell_of(book, account->slot->subject, (enum budget_period)account->slot->kind, &cell);

    if (result != STATUS_OK)
        return result;
    atomic_store_explicit(&account->is_known, true, memory_order_relaxed);
    account->written = -1; /* what the database has is that one's to know */
    if (atomic_compare_exchange_strong_explicit(&cell->account, &seen, account,
                                                memory_order_acq_rel, memory_order_acquire))
        return STATUS_OK;
    (void)atomic_fetch_add(&((struct spend_account *)seen)->slot->spent,
                           atomic_load(&account->slot->spent));
    atomic_store_explicit(&account->slot->is_used, SLOT_FREE, memory_order_release);
    return STATUS_OK;
}

/* All that this process does not know. */
static status slots_adopt(struct spend_book *book)
{
    status result = STATUS_OK;

    for (uint32_t i = 0; result == STATUS_OK && i < SPEND_ACCOUNT_COUNT_MAX; i++) {
        uint32_t count = atomic_load_explicit(&book->count, memory_order_relaxed);

        if (!is_used(&book->accounts[i]) ||
            atomic_load_explicit(&book->accounts[i].is_known, memory_order_relaxed))
            continue;
        result = slot_adopt(book, i);
        while (count < i + 1 &&
               !atomic_compare_exchange_weak_explicit(&book->count, &count, i + 1,
                                                      memory_order_relaxed, memory_order_relaxed))
            continue;
    }
    return result;
}

/* The gateway before goes some time: then nobody else makes slots any more. */
static void lock_take(struct spend_book *book)
{
    if (book->is_locked || book->descriptor < 0 || flock(book->descriptor, LOCK_EX | LOCK_NB) != 0)
        return;
    book->is_locked = slots_adopt(book) == STATUS_OK;
}

status spend_book_tick(struct spend_book *book, state_database *database, uint64_t now_s,
                       struct error_note *note)
{
    uint32_t count;
    bool is_needed = atomic_exchange(&book->is_wanting, false);
    status result = STATUS_OK;

    lock_take(book);
    count = atomic_load_explicit(&book->count, memory_order_relaxed);
    count = count < SPEND_ACCOUNT_COUNT_MAX ? count : SPEND_ACCOUNT_COUNT_MAX;
    atomic_store(&book->periods[BUDGET_DAY], money_period(BUDGET_DAY, now_s));
    atomic_store(&book->periods[BUDGET_MONTH], money_period(BUDGET_MONTH, now_s));
    for (uint32_t i = 0; i < count && !is_needed; i++)
        is_needed = is_active(book, &book->accounts[i]);
    if (!is_needed)
        return STATUS_OK;
    if (database != NULL)
        result = all_write(book, count, database, note);
    for (uint32_t i = 0; database == NULL && i < count; i++) {
        if (has_changed(book, &book->accounts[i]))
            book->accounts[i].written = spend_spent(&book->accounts[i]);
    }
    if (result == STATUS_OK)
        periods_begin(book, count);
    return result;
}

/* --- life --- */

/* Texts of periods sort by time, a month's before those of its days. */
status spend_sweep(state_database *database, uint64_t now_s, struct error_note *note)
{
    state_statement *statement =
        state_database_prepare(database, "DELETE FROM spent WHERE period < ?1", note);
    char period[16];

    if (statement == NULL)
        return STATUS_IO;
    money_period_write(BUDGET_MONTH, money_period(BUDGET_MONTH, now_s) - 2, period);
    state_bind_text(statement, 1, period);
    return state_database_run(statement, note);
}

bool spend_book_is_wanting(const struct spend_book *book)
{
    return atomic_load_explicit(&book->is_wanting, memory_order_relaxed);
}

void spend_book_on_wanting(struct spend_book *book, void (*call)(void *context), void *context)
{
    book->on_wanting = call;
    book->on_wanting_context = context;
}

/* What the file has of before goes to the database first; then the file begins anew, under the same name. */
static status file_recover(struct spend_book *book, state_database *database,
                           struct error_note *note)
{
    state_statement *statement = state_database_prepare(database, WRITE_SQL, note);
    status result = statement != NULL ? state_database_begin(database, note) : STATUS_IO;

    for (uint32_t i = 0; result == STATUS_OK && i < SPEND_ACCOUNT_COUNT_MAX; i++) {
        struct spend_slot *slot = &book->slots[i];

        slot->subject[sizeof(slot->subject) - 1] = '\0';
        if (atomic_load(&slot->is_used) == SLOT_USED && slot->kind <= BUDGET_MONTH)
            result = row_write(book, statement, slot, atomic_load(&slot->spent), 0, 0, note);
    }
    if (result == STATUS_OK)
        result = state_database_commit(database, note);
    else if (statement != NULL)
        state_database_roll_back(database);
    state_statement_close(statement);
    if (result == STATUS_OK)
        memset(book->slots, 0, sizeof(book->file->slots));
    return result;
}

static status kind_load(struct spend_book *book, state_database *database, enum budget_period kind,
                        struct error_note *note)
{
    state_statement *statement = state_database_prepare(
        database, "SELECT subject, nano FROM spent WHERE period = ?1 AND gateway = ?2", note);
    status result = STATUS_OK;
    bool has_row = true;
    char text[16];

    if (statement == NULL)
        return STATUS_IO;
    money_period_write(kind, atomic_load(&book->periods[kind]), text);
    state_bind_text(statement, 1, text);
    state_bind_text(statement, 2, book->file->gateway);
    while (result == STATUS_OK && has_row) {
        struct spend_account *account = NULL;

        result = state_statement_step(statement, &has_row, note);
        if (result == STATUS_OK && has_row)
            result = spend_book_get(book, state_column_text(statement, 0), kind, &account);
        if (account != NULL) {
            account->written = state_column_number(statement, 1);
            atomic_store(&account->slot->spent, account->written);
        }
    }
    state_statement_close(statement);
    return result;
}

/* A random name that stays with the file; '' where nobody shares. */
static void gateway_name(struct spend_book *book)
{
    uint64_t random[1];

    book->file->gateway[GATEWAY_BYTES - 1] = '\0';
    if (!book->is_shared || book->file->gateway[0] != '\0')
        return;
    random_bytes(random, sizeof(random));
    (void)snprintf(book->file->gateway, GATEWAY_BYTES, "%016" PRIx64, random[0]);
}

static status file_map(struct spend_book *book, const char *file, bool is_taken_over,
                       struct error_note *note)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory;

    if (file != NULL) {
        flags = MAP_SHARED;
        book->descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        book->is_locked = !is_taken_over && book->descriptor >= 0 &&
                          flock(book->descriptor, LOCK_EX | LOCK_NB) == 0;
        if (book->descriptor >= 0 && !book->is_locked && !is_taken_over) {
            error_note_set(note, "%s is in use by another gateway", file);
            return STATUS_IO;
        }
        if (book->descriptor < 0 || ftruncate(book->descriptor, (off_t)FILE_BYTES) != 0) {
            error_note_set(note, "%s cannot be written: %s", file, strerror(errno));
            return STATUS_IO;
        }
    }
    memory = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, flags, book->descriptor, 0);
    if (memory == MAP_FAILED) {
        error_note_set(note, "%s cannot be mapped: %s", file != NULL ? file : "memory",
                       strerror(errno));
        return STATUS_IO;
    }
    book->file = memory;
    book->slots = book->file->slots;
    for (uint32_t i = 0; i < SPEND_ACCOUNT_COUNT_MAX; i++) {
        book->accounts[i].book = book;
        book->accounts[i].slot = &book->slots[i];
        atomic_init(&book->accounts[i].granted, book->is_shared ? 0 : GRANTED_ALL);
    }
    gateway_name(book);
    return STATUS_OK;
}

/* The sums of before. The gateway that is taken over from keeps the file as it should be. */
static status sums_load(struct spend_book *book, state_database *database, bool is_taken_over,
                        struct error_note *note)
{
    status result;

    if (is_taken_over)
        return slots_adopt(book);
    if (database == NULL)
        return STATUS_OK;
    result = file_recover(book, database, note);
    if (result == STATUS_OK)
        result = kind_load(book, database, BUDGET_DAY, note);
    if (result == STATUS_OK)
        result = kind_load(book, database, BUDGET_MONTH, note);
    return result;
}

static status book_open(const char *file, state_database *database,
                        const struct spend_sharing *sharing, bool is_taken_over, uint64_t now_s,
                        struct spend_book **out, struct error_note *note)
{
    struct spend_book *book = memory_allocate_array(1, sizeof(*book));
    status result;

    if (book == NULL)
        return STATUS_NO_MEMORY;
    book->descriptor = -1;
    book->sharing = *sharing;
    book->is_shared = database != NULL && state_database_is_shared(database);
    atomic_store(&book->periods[BUDGET_DAY], money_period(BUDGET_DAY, now_s));
    atomic_store(&book->periods[BUDGET_MONTH], money_period(BUDGET_MONTH, now_s));
    result = quota_cells_create(&book->cells);
    if (result == STATUS_OK)
        result = file_map(book, file, is_taken_over, note);
    if (result == STATUS_OK)
        result = sums_load(book, database, is_taken_over, note);
    if (result == STATUS_OK)
        *out = book;
    else
        spend_book_close(book);
    return result;
}

status spend_book_open(const char *file, state_database *database,
                       const struct spend_sharing *sharing, uint64_t now_s, struct spend_book **out,
                       struct error_note *note)
{
    return book_open(file, database, sharing, false, now_s, out, note);
}

status spend_book_take_over(const char *file, state_database *database,
                            const struct spend_sharing *sharing, uint64_t now_s,
                            struct spend_book **out, struct error_note *note)
{
    return book_open(file, database, sharing, true, now_s, out, note);
}

void spend_book_close(struct spend_book *book)
{
    if (book == NULL)
        return;
    if (book->file != NULL)
        (void)munmap(book->file, FILE_BYTES);
    if (book->descriptor >= 0)
        close(book->descriptor);
    quota_cells_destroy(book->cells);
    memory_release(book);
}
