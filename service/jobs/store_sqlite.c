/* The embedded store: one SQLite database in write-ahead mode.
 *
 * Two connections: one writes, one reads, so that status polls do not wait for a commit's fsync. State changes
 * commit with synchronous=FULL (they survive a power failure); heartbeats with NORMAL (no fsync of their own: they
 * survive a killed process, and after a power failure the job runs again anyway). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "service/jobs/store.h"

enum { SCHEMA_VERSION = 3, BUSY_TIMEOUT_MS = 10000 };

/* X(kind, column, field of bs_job): the columns that a job is read from and inserted with. */
/* clang-format off */
#define JOB_COLUMNS(X) \
    X(TEXT, id, id) \
    X(NUMBER, state, state) \
    X(TEXT, filename, filename) \
    X(NUMBER, file_size, file_size) \
    X(TEXT, input_sha256, input_sha256) \
    X(NUMBER, photo, photo) \
    X(NUMBER, mode, options.mode) \
    X(NUMBER, model, options.model) \
    X(NUMBER, interval, options.interval) \
    X(NUMBER, people, options.people) \
    X(NUMBER, max_width, options.max_width) \
    X(NUMBER, max_duration_us, options.max_duration_us) \
    X(NUMBER, exact, options.exact) \
    X(NUMBER, save_frames, options.save_frames) \
    X(NUMBER, png, options.png) \
    X(NUMBER, no_video, options.no_video) \
    X(NUMBER, progress, progress) \
    X(TEXT, message, message) \
    X(NUMBER, current_frame, current_frame) \
    X(NUMBER, total_frames, total_frames) \
    X(NUMBER, created_us, created_us) \
    X(NUMBER, started_us, started_us) \
    X(NUMBER, completed_us, completed_us) \
    X(TEXT, statistics, statistics) \
    X(TEXT, error, error) \
    X(NUMBER, reserved_memory, reserved_memory) \
    X(NUMBER, shared_memory, shared_memory) \
    X(NUMBER, memory_limit, memory_limit) \
    X(NUMBER, attempts, attempts) \
    X(NUMBER, interruptions, interruptions) \
    X(NUMBER, cancel_requested, cancel_requested) \
    X(NUMBER, kept, kept) \
    X(TEXT, worker, worker) \
    X(NUMBER, lease_until_us, lease_until_us)
/* clang-format on */

#define COLUMN_NAME(kind, column, field)  #column ","
#define COLUMN_PLACE(kind, column, field) "?,"
#define COLUMN_NAMES                      JOB_COLUMNS(COLUMN_NAME)

#define SELECT_JOB \
    "SELECT " COLUMN_NAMES \
    "CASE WHEN state = 0 THEN (SELECT count(*) FROM jobs q WHERE q.state = 0 AND q.seq <= jobs.seq) ELSE 0 END," \
    "CASE WHEN state = 0 THEN (SELECT count(*) FROM jobs q WHERE q.state = 0) ELSE 0 END FROM jobs "

/* Column types follow from what is stored; AUTOINCREMENT, so that a place in the queue is never given twice. */
static const char schema_sql[] =
    "CREATE TABLE jobs(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL,"
    "filename TEXT NOT NULL, file_size INTEGER NOT NULL, input_sha256 TEXT NOT NULL, photo INTEGER NOT NULL,"
    "mode INTEGER NOT NULL, model INTEGER NOT NULL, interval INTEGER NOT NULL, people INTEGER NOT NULL,"
    "max_width INTEGER NOT NULL, max_duration_us INTEGER NOT NULL, exact INTEGER NOT NULL,"
    "save_frames INTEGER NOT NULL, png INTEGER NOT NULL, no_video INTEGER NOT NULL, progress INTEGER NOT NULL,"
    "message TEXT NOT NULL, current_frame INTEGER NOT NULL, total_frames INTEGER NOT NULL,"
    "created_us INTEGER NOT NULL, started_us INTEGER NOT NULL,"
    "completed_us INTEGER NOT NULL, statistics TEXT NOT NULL, error TEXT NOT NULL,"
    "reserved_memory INTEGER NOT NULL, shared_memory INTEGER NOT NULL, memory_limit INTEGER NOT NULL,"
    "attempts INTEGER NOT NULL, interruptions INTEGER NOT NULL, cancel_requested INTEGER NOT NULL, kept INTEGER NOT "
    "NULL, worker TEXT NOT NULL,"
    "lease_until_us INTEGER NOT NULL, idempotency_key TEXT UNIQUE);"
    "CREATE INDEX jobs_by_state ON jobs(state, seq);"
    "CREATE TABLE totals(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version = 3;";

/* From each version to the next. In version 1 a server's death counted as an attempt, in version 2 a repeated upload
 * was known by its size alone. */
static const char *const update_sql[] = {
    [1] = "ALTER TABLE jobs ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0; PRAGMA user_version = 2;",
    [2] = "ALTER TABLE jobs ADD COLUMN input_sha256 TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 3;",
};

/* Every statement that is used more than once, prepared when first needed. The first ones only read. */
enum statement {
    GET,
    FIND,
    NEXT,
    LIST,
    COUNTS,
    TOTALS,
    BEGIN,
    COMMIT,
    ROLLBACK,
    INSERT,
    CLAIM,
    HEARTBEAT,
    CANCEL_WISH,
    FINISH,
    REQUEUE,
    FAIL,
    REFUSE,
    CANCEL_PENDING,
    CANCEL_RUNNING,
    REMOVE,
    KEEP,
    PROCESSING,
    ADD_TOTAL,
    MEAN,
    STATEMENTS
};

_Static_assert(BS_JOB_PENDING == 0 && BS_JOB_PROCESSING == 1 && BS_JOB_FAILED == 3 && BS_JOB_CANCELLED == 4,
               "the statements name states by their numbers, and so do databases on disk");

static const char *const statement_sql[STATEMENTS] = {
    [GET] = SELECT_JOB "WHERE id = ?1",
    [FIND] = SELECT_JOB "WHERE idempotency_key = ?1",
    [NEXT] = SELECT_JOB "WHERE state = 0 ORDER BY seq LIMIT 1",
    [LIST] = SELECT_JOB "WHERE (?1 >> state) & 1 ORDER BY seq DESC LIMIT ?3 OFFSET ?2",
    [COUNTS] = "SELECT state, count(*) FROM jobs GROUP BY state",
    [TOTALS] = "SELECT name, value FROM totals",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [INSERT] = "INSERT INTO jobs(" COLUMN_NAMES "idempotency_key) VALUES(" JOB_COLUMNS(COLUMN_PLACE) "?)",
    [CLAIM] = "UPDATE jobs SET state = 1, attempts = attempts + 1, worker = ?2, lease_until_us = ?3, started_us = ?4,"
              "progress = 0, current_frame = 0, error = '', message = 'Processing' WHERE id = ?1 AND state = 0",
    [HEARTBEAT] = "UPDATE jobs SET lease_until_us = ?3, progress = ?4, message = ?5, current_frame = ?6,"
                  "total_frames = ?7 WHERE id = ?1 AND worker = ?2 AND state = 1",
    [CANCEL_WISH] = "SELECT cancel_requested FROM jobs WHERE id = ?1",
    [FINISH] = "UPDATE jobs SET state = ?3, progress = ?4, message = ?5, current_frame = ?6, total_frames = ?7,"
               "statistics = ?8, error = ?9, completed_us = ?10, worker = '', lease_until_us = 0, cancel_requested = 0 "
               "WHERE id = ?1 AND worker = ?2 AND state = 1",
    [REQUEUE] = "UPDATE jobs SET state = 0, attempts = attempts - (?3 <> 1), interruptions = interruptions + (?3 = 2),"
                "worker = '', lease_until_us = 0, started_us = 0, progress = 0, current_frame = 0, message = ?4 "
                "WHERE id = ?1 AND worker = ?2 AND state = 1 AND cancel_requested = 0 AND "
                "CASE ?3 WHEN 0 THEN 1 WHEN 1 THEN attempts < ?5 ELSE interruptions + 1 < ?5 END",
    [FAIL] = "UPDATE jobs SET state = CASE WHEN cancel_requested THEN 4 ELSE 3 END,"
             "message = CASE WHEN cancel_requested THEN 'Cancelled' ELSE 'Failed' END,"
             "error = CASE WHEN cancel_requested THEN '' ELSE ?3 END,"
             "completed_us = ?4, worker = '', lease_until_us = 0 WHERE id = ?1 AND worker = ?2 AND state = 1",
    [REFUSE] = "UPDATE jobs SET state = 3, message = 'Failed', error = ?2, completed_us = ?3 "
               "WHERE id = ?1 AND state = 0",
    [CANCEL_PENDING] =
        "UPDATE jobs SET state = 4, message = 'Cancelled', completed_us = ?2 WHERE id = ?1 AND state = 0",
    [CANCEL_RUNNING] = "UPDATE jobs SET cancel_requested = 1, message = 'Cancelling' WHERE id = ?1 AND state = 1",
    [REMOVE] = "DELETE FROM jobs WHERE id = ?1 AND state <> 1",
    [KEEP] = "UPDATE jobs SET kept = ?2 WHERE id = ?1",
    [PROCESSING] = "SELECT id, worker, lease_until_us FROM jobs WHERE state = 1",
    [ADD_TOTAL] = "INSERT INTO totals VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET value = value + 1",
    [MEAN] = "INSERT INTO totals VALUES('mean_duration_us', ?1) ON CONFLICT(name) DO UPDATE SET "
             "value = (value * 7 + excluded.value) / 8",
};

typedef struct connection {
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENTS];
    pthread_mutex_t turn;
} connection;

typedef struct sqlite_store {
    connection writer, reader;
    bool relaxed; /* the writer's synchronous is NORMAL now; under writer.turn */
} sqlite_store;

static bs_status fail_sqlite(sqlite3 *db, const char *what, bs_error *err)
{
    bs_status status = db && sqlite3_errcode(db) == SQLITE_NOMEM ? BS_ERR_NOMEM : BS_ERR_IO;
    return bs_fail(err, status, "the job store cannot %s: %s", what, db ? sqlite3_errmsg(db) : "no memory");
}

/* The prepared statement, reset and without bindings. NULL where it cannot be prepared. */
static sqlite3_stmt *use(connection *c, enum statement which)
{
    sqlite3_stmt **s = &c->statement[which];
    if (!*s && sqlite3_prepare_v3(c->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL) != SQLITE_OK)
        return NULL;
    sqlite3_reset(*s);
    sqlite3_clear_bindings(*s);
    return *s;
}

/* Runs a statement that gives no rows, and lets go of it. */
static bs_status run(connection *c, sqlite3_stmt *s, const char *what, bs_error *err)
{
    int rc = s ? sqlite3_step(s) : SQLITE_ERROR;
    bs_status status = rc == SQLITE_DONE ? BS_OK : fail_sqlite(c->db, what, err);
    sqlite3_reset(s);
    return status;
}

/* A column as text; "" where memory is refused for it. */
static const char *text_at(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

static void read_job(sqlite3_stmt *s, bs_job *job)
{
    int i = 0;
    memset(job, 0, sizeof(*job));
#define TEXT(field)            snprintf(job->field, sizeof(job->field), "%s", text_at(s, i++))
#define NUMBER(field)          job->field = (__typeof__(job->field))sqlite3_column_int64(s, i++)
#define X(kind, column, field) kind(field);
    JOB_COLUMNS(X)
#undef X
#undef TEXT
#undef NUMBER
    job->queue_position = sqlite3_column_int64(s, i++);
    job->queue_total = sqlite3_column_int64(s, i++);
}

static void bind_job(sqlite3_stmt *s, const bs_job *job)
{
    int i = 1;
#define TEXT(field)            sqlite3_bind_text(s, i++, job->field, -1, SQLITE_STATIC)
#define NUMBER(field)          sqlite3_bind_int64(s, i++, (sqlite3_int64)job->field)
#define X(kind, column, field) kind(field);
    JOB_COLUMNS(X)
#undef X
#undef TEXT
#undef NUMBER
}

/* One job by a statement that has at most the text parameter `key`. The caller has the connection's turn. */
static bs_status read_one(connection *c, enum statement which, const char *key, bs_job *out, bs_error *err)
{
    sqlite3_stmt *s = use(c, which);
    if (!s || (key && sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) != SQLITE_OK))
        return fail_sqlite(c->db, "be read", err);
    int rc = sqlite3_step(s);
    bs_status status = BS_OK;
    if (rc == SQLITE_ROW)
        read_job(s, out);
    else
        status = rc == SQLITE_DONE ? BS_EOF : fail_sqlite(c->db, "be read", err);
    sqlite3_reset(s);
    return status;
}

static bs_status read_one_in_turn(connection *c, enum statement which, const char *key, bs_job *out, bs_error *err)
{
    pthread_mutex_lock(&c->turn);
    bs_status status = read_one(c, which, key, out, err);
    pthread_mutex_unlock(&c->turn);
    return status;
}

/* Takes the writer's turn and begins a transaction. */
static bs_status begin(sqlite_store *store, bool relaxed, bs_error *err)
{
    connection *c = &store->writer;
    pthread_mutex_lock(&c->turn);
    if (relaxed != store->relaxed) {
        const char *sql = relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL";
        if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
            bs_status status = fail_sqlite(c->db, "be set up", err);
            pthread_mutex_unlock(&c->turn);
            return status;
        }
        store->relaxed = relaxed;
    }
    bs_status status = run(c, use(c, BEGIN), "begin a change", err);
    if (status != BS_OK)
        pthread_mutex_unlock(&c->turn);
    return status;
}

/* Ends the transaction as `status` says (anything but BS_OK takes it back) and gives up the turn. */
static bs_status end(sqlite_store *store, bs_status status, bs_error *err)
{
    connection *c = &store->writer;
    if (status == BS_OK)
        status = run(c, use(c, COMMIT), "keep a change", err);
    if (status != BS_OK && !sqlite3_get_autocommit(c->db))
        run(c, use(c, ROLLBACK), "take back a change", NULL);
    pthread_mutex_unlock(&c->turn);
    return status;
}

/* Runs an UPDATE or DELETE; BS_EOF where it changed no row. */
static bs_status change(sqlite_store *store, sqlite3_stmt *s, bs_error *err)
{
    bs_status status = run(&store->writer, s, "be changed", err);
    return status == BS_OK && sqlite3_changes(store->writer.db) == 0 ? BS_EOF : status;
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

static bs_status count_finished(sqlite_store *store, bs_job_state state, bs_error *err)
{
    sqlite3_stmt *s = use(&store->writer, ADD_TOTAL);
    bind_text(s, 1, bs_job_state_name(state));
    return run(&store->writer, s, "be changed", err);
}

/* -- opening -------------------------------------------------------------------------------------------- */

static void close_connection(connection *c)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(c->statement[i]);
    sqlite3_close(c->db);
    pthread_mutex_destroy(&c->turn);
}

static void sqlite_close(void *state)
{
    sqlite_store *store = state;
    if (!store)
        return;
    close_connection(&store->reader);
    close_connection(&store->writer);
    free(store);
}

/* The cache is small on purpose: the whole database is, and the kernel caches it too. */
static const char connection_sql[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -64;"
                                     "PRAGMA wal_autocheckpoint = 250; PRAGMA journal_size_limit = 1048576;";

static bs_status open_connection(connection *c, const char *path, bs_error *err)
{
    pthread_mutex_init(&c->turn, NULL);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK)
        return bs_fail(err, BS_ERR_IO, "the job store '%s' cannot be opened: %s", path,
                       c->db ? sqlite3_errmsg(c->db) : "no memory");
    sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
    if (sqlite3_exec(c->db, connection_sql, NULL, NULL, NULL) != SQLITE_OK)
        return bs_fail(err, BS_ERR_IO, "the job store '%s' cannot be opened: %s", path, sqlite3_errmsg(c->db));
    return BS_OK;
}

static int read_version(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return version;
}

/* Inside a transaction, so that two processes that start at once make the tables once. */
static bs_status bring_up_to_date(sqlite_store *store, const char *path, bs_error *err)
{
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3 *db = store->writer.db;
    int version = read_version(db);
    if (version < 0 || version > SCHEMA_VERSION)
        status = bs_fail(err, BS_ERR_IO, "the job store '%s' has version %d, this program knows %d", path, version,
                         SCHEMA_VERSION);
    while (status == BS_OK && version < SCHEMA_VERSION) {
        if (sqlite3_exec(db, version ? update_sql[version] : schema_sql, NULL, NULL, NULL) != SQLITE_OK)
            status = fail_sqlite(db, "be set up", err);
        version = version ? version + 1 : SCHEMA_VERSION;
    }
    return end(store, status, err);
}

static bs_status sqlite_open(void **out, const char *path, bs_error *err)
{
    if (!*path || !strcmp(path, ":memory:")) /* two connections would be two databases, gone with the process */
        return bs_fail(err, BS_ERR_USAGE, "DATABASE_URL is 'sqlite:%s', but takes sqlite:PATH", path);
    /* Made here and not by SQLite, so that only the owner can read it: job ids are keys. */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return bs_fail(err, BS_ERR_IO, "the job store '%s' cannot be opened: %s", path, strerror(errno));
    close(fd);

    sqlite_store *store = calloc(1, sizeof(*store));
    if (!store)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the job store");
    bs_status status = open_connection(&store->writer, path, err);
    if (status == BS_OK)
        status = bring_up_to_date(store, path, err);
    if (status == BS_OK)
        status = open_connection(&store->reader, path, err);
    if (status == BS_OK)
        *out = store;
    else
        sqlite_close(store);
    return status;
}

static bs_status sqlite_check(void *state, bs_error *err)
{
    connection *c = &((sqlite_store *)state)->reader;
    pthread_mutex_lock(&c->turn);
    sqlite3_stmt *s = NULL;
    bs_status status = BS_OK;
    const char *finding = NULL;
    if (sqlite3_prepare_v2(c->db, "PRAGMA integrity_check(1)", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW)
        status = fail_sqlite(c->db, "be checked", err);
    else if (strcmp(finding = text_at(s, 0), "ok") != 0) {
        if (!strncmp(finding, "***", 3) && strchr(finding, '\n'))
            finding = strchr(finding, '\n') + 1; /* its first line names the database */
        status = bs_fail(err, BS_ERR_IO,
                         "the job store '%s' is damaged (%.*s); move it away, or put a copy in its place",
                         sqlite3_db_filename(c->db, NULL), (int)strcspn(finding, "\n"), finding);
    }
    sqlite3_finalize(s);
    pthread_mutex_unlock(&c->turn);
    return status;
}

/* -- reading -------------------------------------------------------------------------------------------- */

static bs_status sqlite_find(void *state, const char *idempotency_key, bs_job *out, bs_error *err)
{
    return read_one_in_turn(&((sqlite_store *)state)->reader, FIND, idempotency_key, out, err);
}

static bs_status sqlite_get(void *state, const char *id, bs_job *out, bs_error *err)
{
    return read_one_in_turn(&((sqlite_store *)state)->reader, GET, id, out, err);
}

static bs_status sqlite_next(void *state, bs_job *out, bs_error *err)
{
    return read_one_in_turn(&((sqlite_store *)state)->reader, NEXT, NULL, out, err);
}

static bs_status sqlite_list(void *state, unsigned states, int64_t offset, int64_t limit, bs_store_each each,
                             void *opaque, bs_error *err)
{
    connection *c = &((sqlite_store *)state)->reader;
    pthread_mutex_lock(&c->turn);
    sqlite3_stmt *s = use(c, LIST);
    int rc = SQLITE_ERROR;
    if (s) {
        sqlite3_bind_int64(s, 1, states ? states : (1u << BS_JOB_STATES) - 1);
        sqlite3_bind_int64(s, 2, offset);
        sqlite3_bind_int64(s, 3, limit > 0 ? limit : -1);
        while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
            bs_job job;
            read_job(s, &job);
            if (each(opaque, &job)) {
                rc = SQLITE_DONE;
                break;
            }
        }
    }
    bs_status status = rc == SQLITE_DONE ? BS_OK : fail_sqlite(c->db, "be read", err);
    sqlite3_reset(s);
    pthread_mutex_unlock(&c->turn);
    return status;
}

static int read_counts(connection *c, bs_store_totals *totals)
{
    sqlite3_stmt *s = use(c, COUNTS);
    int rc = SQLITE_ERROR;
    while (s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        sqlite3_int64 job_state = sqlite3_column_int64(s, 0);
        if (job_state >= 0 && job_state < BS_JOB_STATES)
            totals->jobs[job_state] = sqlite3_column_int64(s, 1);
    }
    sqlite3_reset(s);
    return rc;
}

static int read_totals(connection *c, bs_store_totals *totals)
{
    sqlite3_stmt *s = use(c, TOTALS);
    int rc = SQLITE_ERROR;
    while (s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = text_at(s, 0);
        if (!strcmp(name, "mean_duration_us"))
            totals->mean_duration_us = sqlite3_column_int64(s, 1);
        for (int i = 0; i < BS_JOB_STATES; i++)
            if (!strcmp(name, bs_job_state_name((bs_job_state)i)))
                totals->finished_ever[i] = sqlite3_column_int64(s, 1);
    }
    sqlite3_reset(s);
    return rc;
}

static bs_status sqlite_totals(void *state, bs_store_totals *out, bs_error *err)
{
    connection *c = &((sqlite_store *)state)->reader;
    bs_store_totals totals = {0};
    pthread_mutex_lock(&c->turn);
    bs_status status = BS_OK;
    if (read_counts(c, &totals) != SQLITE_DONE || read_totals(c, &totals) != SQLITE_DONE)
        status = fail_sqlite(c->db, "be read", err);
    pthread_mutex_unlock(&c->turn);
    if (status == BS_OK)
        *out = totals;
    return status;
}

/* -- changing ------------------------------------------------------------------------------------------- */

static bs_status insert_job(connection *c, const bs_job *job, const char *idempotency_key, bs_error *err)
{
    sqlite3_stmt *s = use(c, INSERT);
    if (!s)
        return fail_sqlite(c->db, "add a job", err);
    bind_job(s, job);
    if (idempotency_key)
        bind_text(s, sqlite3_bind_parameter_count(s), idempotency_key);
    return run(c, s, "add a job", err);
}

static bs_status sqlite_add(void *state, const bs_job *job, const char *idempotency_key, int64_t max_pending,
                            bs_store_added *added, bs_job *out, bs_error *err)
{
    sqlite_store *store = state;
    connection *c = &store->writer;
    bs_store_totals totals = {0};
    bs_job found;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;

    bs_store_added answer = BS_STORE_ADDED;
    status = idempotency_key ? read_one(c, FIND, idempotency_key, &found, err) : BS_EOF;
    if (status == BS_OK) {
        answer = BS_STORE_ADDED_BEFORE;
    } else if (status == BS_EOF) {
        status = BS_OK;
        if (read_counts(c, &totals) != SQLITE_DONE)
            status = fail_sqlite(c->db, "be read", err);
        else if (totals.jobs[BS_JOB_PENDING] >= max_pending)
            answer = BS_STORE_FULL;
        else if ((status = insert_job(c, job, idempotency_key, err)) == BS_OK)
            status = read_one(c, GET, job->id, &found, err);
    }
    status = end(store, status, err);
    if (status == BS_OK) {
        *added = answer;
        if (answer != BS_STORE_FULL)
            *out = found;
    }
    return status;
}

static bs_status sqlite_claim(void *state, const char *id, const char *worker, int64_t lease_us, bs_job *out,
                              bs_error *err)
{
    sqlite_store *store = state;
    bs_job job;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(&store->writer, CLAIM);
    bind_text(s, 1, id);
    bind_text(s, 2, worker);
    int64_t now = bs_job_now(); /* after the turn has come, which may have taken its time */
    sqlite3_bind_int64(s, 3, now + lease_us);
    sqlite3_bind_int64(s, 4, now);
    status = change(store, s, err);
    if (status == BS_OK)
        status = read_one(&store->writer, GET, id, &job, err);
    status = end(store, status, err);
    if (status == BS_OK)
        *out = job;
    return status;
}

static bs_status sqlite_heartbeat(void *state, const bs_job *job, int64_t lease_us, bool *cancel, bs_error *err)
{
    sqlite_store *store = state;
    bs_status status = begin(store, true, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(&store->writer, HEARTBEAT);
    bind_text(s, 1, job->id);
    bind_text(s, 2, job->worker);
    sqlite3_bind_int64(s, 3, bs_job_now() + lease_us);
    sqlite3_bind_int64(s, 4, job->progress);
    bind_text(s, 5, job->message);
    sqlite3_bind_int64(s, 6, job->current_frame);
    sqlite3_bind_int64(s, 7, job->total_frames);
    status = change(store, s, err);
    bool wish = false;
    if (status == BS_OK) {
        s = use(&store->writer, CANCEL_WISH);
        bind_text(s, 1, job->id);
        if (s && sqlite3_step(s) == SQLITE_ROW)
            wish = sqlite3_column_int(s, 0) != 0;
        else
            status = fail_sqlite(store->writer.db, "be read", err);
        sqlite3_reset(s);
    }
    status = end(store, status, err);
    if (status == BS_OK)
        *cancel = wish;
    return status;
}

static bs_status sqlite_finish(void *state, const bs_job *job, bs_job_state to, bs_error *err)
{
    sqlite_store *store = state;
    int64_t now = bs_job_now();
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(&store->writer, FINISH);
    bind_text(s, 1, job->id);
    bind_text(s, 2, job->worker);
    sqlite3_bind_int64(s, 3, to);
    sqlite3_bind_int64(s, 4, job->progress);
    bind_text(s, 5, job->message);
    sqlite3_bind_int64(s, 6, job->current_frame);
    sqlite3_bind_int64(s, 7, job->total_frames);
    bind_text(s, 8, job->statistics);
    bind_text(s, 9, job->error);
    sqlite3_bind_int64(s, 10, now);
    status = change(store, s, err);
    if (status == BS_OK)
        status = count_finished(store, to, err);
    if (status == BS_OK && to == BS_JOB_COMPLETED && job->started_us > 0 && now > job->started_us) {
        s = use(&store->writer, MEAN);
        sqlite3_bind_int64(s, 1, now - job->started_us);
        status = run(&store->writer, s, "be changed", err);
    }
    return end(store, status, err);
}

/* Inside a transaction. Pending again; or, once too often or with a wish to cancel, at its end. */
static bs_status requeue_or_end(sqlite_store *store, const char *id, const char *worker, bs_store_cause cause,
                                int64_t most, const char *reason, bs_job_state *became, bs_error *err)
{
    connection *c = &store->writer;
    sqlite3_stmt *s = use(c, REQUEUE);
    bind_text(s, 1, id);
    bind_text(s, 2, worker);
    sqlite3_bind_int64(s, 3, cause);
    bind_text(s, 4, reason);
    sqlite3_bind_int64(s, 5, most);
    *became = BS_JOB_PENDING;
    bs_status status = change(store, s, err);
    if (status != BS_EOF)
        return status;

    s = use(c, FAIL);
    bind_text(s, 1, id);
    bind_text(s, 2, worker);
    bind_text(s, 3, reason);
    sqlite3_bind_int64(s, 4, bs_job_now());
    bs_job job;
    if ((status = change(store, s, err)) == BS_OK && (status = read_one(c, GET, id, &job, err)) == BS_OK) {
        *became = job.state;
        status = count_finished(store, job.state, err);
    }
    return status;
}

static bs_status sqlite_requeue(void *state, const char *id, const char *worker, bs_store_cause cause, int64_t most,
                                const char *reason, bs_job_state *became, bs_error *err)
{
    sqlite_store *store = state;
    bs_job_state what = BS_JOB_PENDING;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    status = requeue_or_end(store, id, worker, cause, most, reason, &what, err);
    status = end(store, status, err);
    if (status == BS_OK && became)
        *became = what;
    return status;
}

typedef struct lease {
    char id[BS_JOB_ID_LENGTH + 1], worker[BS_JOB_ID_LENGTH + 1];
    int64_t until_us;
} lease;

/* All leases, in memory of the caller's: the table may not change under a statement that walks it. */
static bs_status read_leases(connection *c, lease **out, size_t *count, bs_error *err)
{
    lease *leases = NULL;
    size_t have = 0;
    int rc = SQLITE_ERROR;
    sqlite3_stmt *s = use(c, PROCESSING);
    while (s && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        lease *more = realloc(leases, (have + 1) * sizeof(*leases));
        if (!more)
            break;
        leases = more;
        lease *l = &leases[have++];
        snprintf(l->id, sizeof(l->id), "%s", text_at(s, 0));
        snprintf(l->worker, sizeof(l->worker), "%s", text_at(s, 1));
        l->until_us = sqlite3_column_int64(s, 2);
    }
    bs_status status = BS_OK;
    if (rc == SQLITE_ROW)
        status = bs_fail(err, BS_ERR_NOMEM, "no memory for the list of running jobs");
    else if (rc != SQLITE_DONE)
        status = fail_sqlite(c->db, "be read", err);
    sqlite3_reset(s);
    if (status != BS_OK) {
        free(leases);
        return status;
    }
    *out = leases;
    *count = have;
    return BS_OK;
}

static bs_status sqlite_reclaim(void *state, bs_store_lost lost, void *opaque, int64_t *count, bs_error *err)
{
    sqlite_store *store = state;
    char reason[96];
    lease *leases = NULL;
    size_t n = 0;
    int64_t reclaimed = 0;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    status = read_leases(&store->writer, &leases, &n, err);
    snprintf(reason, sizeof(reason), "the service was killed %d times while it ran", BS_JOB_MAX_INTERRUPTIONS);
    int64_t now = bs_job_now();
    for (size_t i = 0; i < n && status == BS_OK; i++) {
        bool over = leases[i].until_us <= now;
        if (lost ? !lost(opaque, leases[i].id, leases[i].worker, over) : !over)
            continue;
        bs_job_state became;
        status = requeue_or_end(store, leases[i].id, leases[i].worker, BS_STORE_INTERRUPTION, BS_JOB_MAX_INTERRUPTIONS,
                                reason, &became, err);
        reclaimed++;
    }
    free(leases);
    status = end(store, status, err);
    if (status == BS_OK && count)
        *count = reclaimed;
    return status;
}

static bs_status sqlite_cancel(void *state, const char *id, bs_job *out, bs_error *err)
{
    sqlite_store *store = state;
    connection *c = &store->writer;
    bs_job job;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(c, CANCEL_PENDING);
    bind_text(s, 1, id);
    sqlite3_bind_int64(s, 2, bs_job_now());
    status = change(store, s, err);
    if (status == BS_OK) {
        status = count_finished(store, BS_JOB_CANCELLED, err);
    } else if (status == BS_EOF) {
        s = use(c, CANCEL_RUNNING);
        bind_text(s, 1, id);
        status = run(c, s, "be changed", err);
    }
    if (status == BS_OK)
        status = read_one(c, GET, id, &job, err);
    status = end(store, status, err);
    if (status == BS_OK)
        *out = job;
    return status;
}

static bs_status sqlite_refuse(void *state, const char *id, const char *reason, bs_error *err)
{
    sqlite_store *store = state;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(&store->writer, REFUSE);
    bind_text(s, 1, id);
    bind_text(s, 2, reason);
    sqlite3_bind_int64(s, 3, bs_job_now());
    status = change(store, s, err);
    if (status == BS_OK)
        status = count_finished(store, BS_JOB_FAILED, err);
    return end(store, status, err);
}

static bs_status sqlite_remove(void *state, const char *id, bs_error *err)
{
    sqlite_store *store = state;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(&store->writer, REMOVE);
    bind_text(s, 1, id);
    return end(store, change(store, s, err), err);
}

static bs_status sqlite_keep(void *state, const char *id, bool kept, bs_error *err)
{
    sqlite_store *store = state;
    bs_status status = begin(store, false, err);
    if (status != BS_OK)
        return status;
    sqlite3_stmt *s = use(&store->writer, KEEP);
    bind_text(s, 1, id);
    sqlite3_bind_int64(s, 2, kept);
    return end(store, change(store, s, err), err);
}

const bs_store_ops bs_store_sqlite = {
    .scheme = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .check = sqlite_check,
    .add = sqlite_add,
    .find = sqlite_find,
    .get = sqlite_get,
    .list = sqlite_list,
    .totals = sqlite_totals,
    .next = sqlite_next,
    .claim = sqlite_claim,
    .heartbeat = sqlite_heartbeat,
    .finish = sqlite_finish,
    .requeue = sqlite_requeue,
    .reclaim = sqlite_reclaim,
    .cancel = sqlite_cancel,
    .refuse = sqlite_refuse,
    .remove = sqlite_remove,
    .keep = sqlite_keep,
};
