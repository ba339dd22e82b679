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
 * Spent is added before reserved is taken away, so the sum of the two is never less than the truth. */
#include "spend_book.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "memory.h"
#include "money.h"
#include "quota_cells.h"

struct spend_slot {
    char subject[SPEND_SUBJECT_BYTES_MAX];
    _Atomic uint32_t is_used; /* 0: free, and the rest is not to be read; release, acquire */
    uint32_t kind;
    _Atomic uint32_t period;
    _Atomic int64_t spent;
};

struct spend_account {
    struct spend_slot *slot; /* the one of its index */
    _Atomic int64_t reserved;
    int64_t written; /* what the database has; the thread's */
};

struct spend_book {
    struct quota_cells *cells; /* owned */
    struct spend_slot *slots;  /* mapped; [SPEND_ACCOUNT_COUNT_MAX] */
    int descriptor;            /* of the file, locked; -1: none */
    _Atomic uint32_t count;    /* handed out */
    _Atomic uint32_t periods[2];
    struct spend_account accounts[SPEND_ACCOUNT_COUNT_MAX];
};

#define FILE_BYTES (SPEND_ACCOUNT_COUNT_MAX * sizeof(struct spend_slot))

/* --- accounts --- */

static status account_make(struct spend_book *book, const char *subject, enum budget_period kind,
                           struct spend_account **out)
{
    uint32_t index = atomic_fetch_add_explicit(&book->count, 1, memory_order_relaxed);
    struct spend_slot *slot = &book->slots[index];

    if (index >= SPEND_ACCOUNT_COUNT_MAX) {
        (void)atomic_fetch_sub_explicit(&book->count, 1, memory_order_relaxed);
        return STATUS_FULL;
    }
    slot->kind = (uint32_t)kind;
    atomic_store_explicit(&slot->spent, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->period, atomic_load(&book->periods[kind]), memory_order_relaxed);
    memcpy(slot->subject, subject, strlen(subject) + 1);
    atomic_store_explicit(&slot->is_used, 1, memory_order_release);
    *out = &book->accounts[index];
    return STATUS_OK;
}

status spend_book_get(struct spend_book *book, const char *subject, enum budget_period kind,
                      struct spend_account **out)
{
    char name[SPEND_SUBJECT_BYTES_MAX + 1];
    size_t bytes = strlen(subject);
    struct quota_cell *cell;
    void *seen = NULL;
    status result;

    if (bytes == 0 || bytes >= SPEND_SUBJECT_BYTES_MAX)
        return STATUS_TOO_LARGE;
    name[0] = (char)kind;
    memcpy(name + 1, subject, bytes);
    result = quota_cells_get(book->cells, name, bytes + 1, &cell);
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

bool spend_reserve(struct spend_account *account, int64_t amount, int64_t most)
{
    int64_t reserved =
        atomic_fetch_add_explicit(&account->reserved, most, memory_order_seq_cst) + most;

    if (reserved + atomic_load_explicit(&account->slot->spent, memory_order_seq_cst) <= amount)
        return true;
    (void)atomic_fetch_sub_explicit(&account->reserved, most, memory_order_seq_cst);
    return false;
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

/* Sums only grow, but for a period that begins. */
static status row_write(state_database *database, const struct spend_slot *slot, uint32_t period,
                        int64_t spent, struct error_note *note)
{
    sqlite3_stmt *statement = state_database_prepare(
        database,
        "INSERT INTO spent VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET nano = max(nano, ?3)",
        note);
    char text[16];

    if (statement == NULL)
        return STATUS_IO;
    money_period_write((enum budget_period)slot->kind, period, text);
    (void)sqlite3_bind_text(statement, 1, slot->subject, -1, SQLITE_TRANSIENT);
    (void)sqlite3_bind_text(statement, 2, text, -1, SQLITE_TRANSIENT);
    (void)sqlite3_bind_int64(statement, 3, spent);
    return state_database_run(database, statement, note);
}

static bool has_changed(const struct spend_book *book, const struct spend_account *account)
{
    return atomic_load_explicit(&account->slot->is_used, memory_order_acquire) != 0 &&
           (spend_spent(account) != account->written ||
            atomic_load(&account->slot->period) !=
                atomic_load(&book->periods[account->slot->kind]));
}

static status accounts_write(struct spend_book *book, uint32_t count, state_database *database,
                             struct error_note *note)
{
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; result == STATUS_OK && i < count; i++) {
        struct spend_account *account = &book->accounts[i];

        if (has_changed(book, account)) {
            account->written = spend_spent(account);
            result = row_write(database, account->slot, atomic_load(&account->slot->period),
                               account->written, note);
        }
    }
    if (result == STATUS_OK)
        return state_database_commit(database, note);
    state_database_roll_back(database);
    for (uint32_t i = 0; i < count; i++)
        book->accounts[i].written = -1; /* all once more */
    return result;
}

/* What is settled between the write and here counts for the new period: it ended after the old one did. */
static void periods_begin(struct spend_book *book, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct spend_account *account = &book->accounts[i];
        uint32_t period;

        if (atomic_load_explicit(&account->slot->is_used, memory_order_acquire) == 0)
            continue;
        period = atomic_load(&book->periods[account->slot->kind]);
        if (atomic_load(&account->slot->period) == period)
            continue;
        (void)atomic_fetch_sub(&account->slot->spent, account->written);
        atomic_store(&account->slot->period, period);
        account->written = 0;
    }
}

status spend_book_tick(struct spend_book *book, state_database *database, uint64_t now_s,
                       struct error_note *note)
{
    uint32_t count = atomic_load_explicit(&book->count, memory_order_relaxed);
    bool is_needed = false;
    status result = STATUS_OK;

    count = count < SPEND_ACCOUNT_COUNT_MAX ? count : SPEND_ACCOUNT_COUNT_MAX;
    atomic_store(&book->periods[BUDGET_DAY], money_period(BUDGET_DAY, now_s));
    atomic_store(&book->periods[BUDGET_MONTH], money_period(BUDGET_MONTH, now_s));
    for (uint32_t i = 0; i < count && !is_needed; i++)
        is_needed = has_changed(book, &book->accounts[i]);
    if (!is_needed)
        return STATUS_OK;
    if (database != NULL)
        result = accounts_write(book, count, database, note);
    for (uint32_t i = 0; database == NULL && i < count; i++) {
        if (has_changed(book, &book->accounts[i]))
            book->accounts[i].written = spend_spent(&book->accounts[i]);
    }
    if (result == STATUS_OK)
        periods_begin(book, count);
    return result;
}

/* --- life --- */

/* What the file has of before goes to the database first; then the file begins anew. */
static status file_recover(struct spend_book *book, state_database *database,
                           struct error_note *note)
{
    status result = state_database_begin(database, note);

    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; result == STATUS_OK && i < SPEND_ACCOUNT_COUNT_MAX; i++) {
        struct spend_slot *slot = &book->slots[i];

        slot->subject[sizeof(slot->subject) - 1] = '\0';
        if (atomic_load(&slot->is_used) != 0 && slot->kind <= BUDGET_MONTH)
            result = row_write(database, slot, atomic_load(&slot->period),
                               atomic_load(&slot->spent), note);
    }
    if (result == STATUS_OK)
        result = state_database_commit(database, note);
    else
        state_database_roll_back(database);
    if (result == STATUS_OK)
        memset(book->slots, 0, FILE_BYTES);
    return result;
}

static status kind_load(struct spend_book *book, state_database *database, enum budget_period kind,
                        struct error_note *note)
{
    sqlite3_stmt *statement =
        state_database_prepare(database, "SELECT subject, nano FROM spent WHERE period = ?1", note);
    status result = STATUS_OK;
    int code = SQLITE_DONE;
    char text[16];

    if (statement == NULL)
        return STATUS_IO;
    money_period_write(kind, atomic_load(&book->periods[kind]), text);
    (void)sqlite3_bind_text(statement, 1, text, -1, SQLITE_TRANSIENT);
    while (result == STATUS_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct spend_account *account = NULL;

        result =
            spend_book_get(book, (const char *)sqlite3_column_text(statement, 0), kind, &account);
        if (result == STATUS_OK) {
            account->written = sqlite3_column_int64(statement, 1);
            atomic_store(&account->slot->spent, account->written);
        }
    }
    if (result == STATUS_OK && code != SQLITE_DONE) {
        state_database_note(database, note);
        result = STATUS_IO;
    }
    sqlite3_finalize(statement);
    return result;
}

static status file_map(struct spend_book *book, const char *file, struct error_note *note)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory;

    if (file != NULL) {
        flags = MAP_SHARED;
        book->descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (book->descriptor >= 0 && flock(book->descriptor, LOCK_EX | LOCK_NB) != 0) {
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
    book->slots = memory;
    for (uint32_t i = 0; i < SPEND_ACCOUNT_COUNT_MAX; i++)
        book->accounts[i].slot = &book->slots[i];
    return STATUS_OK;
}

status spend_book_open(const char *file, state_database *database, uint64_t now_s,
                       struct spend_book **out, struct error_note *note)
{
    struct spend_book *book = memory_allocate_array(1, sizeof(*book));
    status result;

    if (book == NULL)
        return STATUS_NO_MEMORY;
    book->descriptor = -1;
    atomic_store(&book->periods[BUDGET_DAY], money_period(BUDGET_DAY, now_s));
    atomic_store(&book->periods[BUDGET_MONTH], money_period(BUDGET_MONTH, now_s));
    result = quota_cells_create(&book->cells);
    if (result == STATUS_OK)
        result = file_map(book, file, note);
    if (result == STATUS_OK && database != NULL)
        result = file_recover(book, database, note);
    if (result == STATUS_OK && database != NULL)
        result = kind_load(book, database, BUDGET_DAY, note);
    if (result == STATUS_OK && database != NULL)
        result = kind_load(book, database, BUDGET_MONTH, note);
    if (result == STATUS_OK)
        *out = book;
    else
        spend_book_close(book);
    return result;
}

void spend_book_close(struct spend_book *book)
{
    if (book == NULL)
        return;
    if (book->slots != NULL)
        (void)munmap(book->slots, FILE_BYTES);
    if (book->descriptor >= 0)
        close(book->descriptor);
    quota_cells_destroy(book->cells);
    memory_release(book);
}
