/* jobs: states change only as drawn, every change is kept, two processes never run one job, poison ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "service/jobs/store.h"

enum { MINUTE = 60000000 };

typedef struct fixture {
    char dir[64];
    bs_settings settings;
    bs_store *store;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    strcpy(f->dir, "/tmp/bs_jobs_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->settings = (bs_settings){.data_dir = f->dir,
                                .mode = BS_MODE_FAST,
                                .frame_extraction_interval = 3,
                                .max_video_width = 720,
                                .max_video_duration_seconds = 10};
    bs_error err = {0};
    assert_int_equal(bs_store_open(&f->store, &f->settings, &err), BS_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    bs_store_close(&f->store);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static bs_job add(fixture *f, const char *key, int64_t max_pending, bs_store_added expected)
{
    bs_job job, out = {0};
    bs_store_added added;
    bs_error err = {0};
    assert_int_equal(bs_job_init(&job, &f->settings, &err), BS_OK);
    strcpy(job.filename, "walk \"1\".mp4");
    job.file_size = 1234567;
    job.reserved_memory = UINT64_C(5) << 30;
    assert_int_equal(bs_store_add(f->store, &job, key, max_pending, &added, &out, &err), BS_OK);
    assert_int_equal(added, expected);
    return out;
}

static bs_job get(fixture *f, const char *id)
{
    bs_job job;
    assert_int_equal(bs_store_get(f->store, id, &job, NULL), BS_OK);
    return job;
}

static bs_job claim(fixture *f, const char *id, const char *worker, int64_t lease)
{
    bs_job job = {0};
    assert_int_equal(bs_store_claim(f->store, id, worker, lease, &job, NULL), BS_OK);
    return job;
}

static void ids_are_128_random_bits_in_hexadecimal(void **state)
{
    char a[33], b[33];
    assert_int_equal(bs_job_id_new(a, NULL), BS_OK);
    assert_int_equal(bs_job_id_new(b, NULL), BS_OK);
    assert_true(bs_job_id_valid(a) && bs_job_id_valid(b));
    assert_string_not_equal(a, b);
    assert_false(bs_job_id_valid(NULL) || bs_job_id_valid("") || bs_job_id_valid("../../../../etc/passwd"));
    a[5] = 'G';
    assert_false(bs_job_id_valid(a));
    assert_false(bs_job_id_valid("0123456789abcdef0123456789abcdef0"));
}

static void a_job_is_read_as_it_was_added(void **state)
{
    fixture *f = *state;
    bs_job job, out;
    bs_store_added added;
    assert_int_equal(bs_job_init(&job, &f->settings, NULL), BS_OK);
    strcpy(job.filename, "вальс'; DROP TABLE jobs;--.mp4");
    job.file_size = INT64_C(1) << 40;
    memset(job.input_sha256, 'a', 64);
    job.options = (bs_job_options){BS_MODE_SMART, 2, 7, 4, 640, 1500000, true, true, true, true};
    job.photo = true;
    job.reserved_memory = UINT64_C(6) << 30;
    job.memory_limit = 77;
    job.total_frames = 250;
    assert_int_equal(bs_store_add(f->store, &job, NULL, 10, &added, &out, NULL), BS_OK);
    assert_int_equal(out.queue_position, 1);
    assert_int_equal(out.queue_total, 1);
    out.queue_position = out.queue_total = 0;
    assert_string_equal(out.filename, job.filename);
    assert_memory_equal(&out.options, &job.options, sizeof(job.options));
    assert_int_equal(out.file_size, job.file_size);
    assert_string_equal(out.input_sha256, job.input_sha256);
    assert_int_equal(out.reserved_memory, job.reserved_memory);
    assert_int_equal(out.memory_limit, 77);
    assert_int_equal(out.total_frames, 250);
    assert_int_equal(out.created_us, job.created_us);
    assert_true(out.photo);
}

static void a_job_goes_from_pending_to_completed_and_survives_a_restart(void **state)
{
    fixture *f = *state;
    bs_job job = add(f, NULL, 10, BS_STORE_ADDED), next;
    assert_int_equal(bs_store_next(f->store, &next, NULL), BS_OK);
    assert_string_equal(next.id, job.id);
    job = claim(f, job.id, "w1", MINUTE);
    assert_int_equal(job.state, BS_JOB_PROCESSING);
    assert_int_equal(job.attempts, 1);
    assert_int_equal(bs_store_next(f->store, &next, NULL), BS_EOF);

    bool cancel = true;
    job.progress = 40;
    job.current_frame = 4;
    assert_int_equal(bs_store_heartbeat(f->store, &job, MINUTE, &cancel, NULL), BS_OK);
    assert_false(cancel);
    assert_int_equal(get(f, job.id).progress, 40);

    job.progress = 100;
    strcpy(job.statistics, "{\"frames_processed\":10}");
    assert_int_equal(bs_store_finish(f->store, &job, BS_JOB_COMPLETED, NULL), BS_OK);
    assert_int_equal(bs_store_finish(f->store, &job, BS_JOB_FAILED, NULL), BS_EOF);

    bs_store_close(&f->store);
    assert_int_equal(bs_store_open(&f->store, &f->settings, NULL), BS_OK);
    job = get(f, job.id);
    assert_int_equal(job.state, BS_JOB_COMPLETED);
    assert_string_equal(job.statistics, "{\"frames_processed\":10}");
    assert_true(job.completed_us >= job.started_us && job.started_us >= job.created_us);
    assert_string_equal(job.worker, "");
    bs_store_totals totals;
    assert_int_equal(bs_store_totals_get(f->store, &totals, NULL), BS_OK);
    assert_int_equal(totals.jobs[BS_JOB_COMPLETED], 1);
    assert_int_equal(totals.finished_ever[BS_JOB_COMPLETED], 1);
    assert_true(totals.mean_duration_us > 0);
    assert_int_equal(bs_store_check(f->store, NULL), BS_OK);
}

static void one_job_too_many_is_refused_and_nothing_is_added(void **state)
{
    fixture *f = *state;
    add(f, NULL, 2, BS_STORE_ADDED);
    assert_int_equal(add(f, NULL, 2, BS_STORE_ADDED).queue_position, 2);
    add(f, NULL, 2, BS_STORE_FULL);
    bs_store_totals totals;
    assert_int_equal(bs_store_totals_get(f->store, &totals, NULL), BS_OK);
    assert_int_equal(totals.jobs[BS_JOB_PENDING], 2);
}

static void capacity_holds_when_processes_add_at_once(void **state)
{
    fixture *f = *state;
    enum { PROCESSES = 4, EACH = 10, ROOM = 7 };
    bs_store_close(&f->store);
    for (int p = 0; p < PROCESSES; p++) {
        if (fork() == 0) {
            bs_store *store = NULL;
            if (bs_store_open(&store, &f->settings, NULL) != BS_OK)
                _exit(1);
            for (int i = 0; i < EACH; i++) {
                bs_job job, out;
                bs_store_added added;
                if (bs_job_init(&job, &f->settings, NULL) != BS_OK ||
                    bs_store_add(store, &job, NULL, ROOM, &added, &out, NULL) != BS_OK)
                    _exit(2);
            }
            bs_store_close(&store);
            _exit(0);
        }
    }
    int status;
    while (wait(&status) > 0)
        assert_int_equal(status, 0);
    assert_int_equal(bs_store_open(&f->store, &f->settings, NULL), BS_OK);
    bs_store_totals totals;
    assert_int_equal(bs_store_totals_get(f->store, &totals, NULL), BS_OK);
    assert_int_equal(totals.jobs[BS_JOB_PENDING], ROOM);
}

static void a_repeated_upload_is_the_first_job_even_when_the_queue_is_full(void **state)
{
    fixture *f = *state;
    bs_job first = add(f, "key-1", 1, BS_STORE_ADDED), found;
    assert_string_equal(add(f, "key-1", 1, BS_STORE_ADDED_BEFORE).id, first.id);
    add(f, "key-2", 1, BS_STORE_FULL);
    assert_int_equal(bs_store_find(f->store, "key-1", &found, NULL), BS_OK);
    assert_string_equal(found.id, first.id);
    assert_int_equal(bs_store_find(f->store, "key-2", &found, NULL), BS_EOF);
}

static int collect_attempts(void *opaque, const bs_job *job)
{
    ((int *)opaque)[job->attempts]++;
    return 0;
}

static void two_processes_never_claim_the_same_job(void **state)
{
    fixture *f = *state;
    enum { JOBS = 60 };
    for (int i = 0; i < JOBS; i++)
        add(f, NULL, JOBS, BS_STORE_ADDED);
    bs_store_close(&f->store);
    for (int p = 0; p < 2; p++) {
        if (fork() == 0) {
            bs_store *store = NULL;
            char worker[8];
            snprintf(worker, sizeof(worker), "w%d", p);
            int mine = 0;
            bs_job job;
            bs_status rc = bs_store_open(&store, &f->settings, NULL);
            while (rc >= 0 && (rc = bs_store_next(store, &job, NULL)) == BS_OK)
                if ((rc = bs_store_claim(store, job.id, worker, MINUTE, &job, NULL)) == BS_OK)
                    mine++;
            bs_store_close(&store);
            _exit(rc == BS_EOF ? mine : 255);
        }
    }
    int status, claimed = 0;
    while (wait(&status) > 0) {
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 255);
        claimed += WEXITSTATUS(status);
    }
    assert_int_equal(claimed, JOBS);
    assert_int_equal(bs_store_open(&f->store, &f->settings, NULL), BS_OK);
    int attempts[8] = {0};
    assert_int_equal(bs_store_list(f->store, 1u << BS_JOB_PROCESSING, 0, 0, collect_attempts, attempts, NULL), BS_OK);
    assert_int_equal(attempts[1], JOBS);
}

static bool worker_is_gone(void *opaque, const char *id, const char *worker, bool over)
{
    return !strcmp(worker, opaque);
}

static bool lease_is_over(void *opaque, const char *id, const char *worker, bool over)
{
    return over && strcmp(id, opaque) != 0;
}

static void a_job_whose_lease_is_over_is_taken_up_again(void **state)
{
    fixture *f = *state;
    bs_job late = add(f, NULL, 10, BS_STORE_ADDED), alive = add(f, NULL, 10, BS_STORE_ADDED);
    late = claim(f, late.id, "w1", -1);
    alive = claim(f, alive.id, "w2", MINUTE);
    int64_t count = 0;
    assert_int_equal(bs_store_reclaim(f->store, NULL, NULL, &count, NULL), BS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(get(f, late.id).state, BS_JOB_PENDING);
    assert_int_equal(get(f, alive.id).state, BS_JOB_PROCESSING);

    /* What the first worker still says is not heard any more. */
    bool cancel;
    assert_int_equal(bs_store_heartbeat(f->store, &late, MINUTE, &cancel, NULL), BS_EOF);
    claim(f, late.id, "w3", MINUTE);
    assert_int_equal(bs_store_finish(f->store, &late, BS_JOB_COMPLETED, NULL), BS_EOF);
    assert_int_equal(get(f, late.id).state, BS_JOB_PROCESSING);
}

static void jobs_of_a_dead_worker_are_taken_up_at_once(void **state)
{
    fixture *f = *state;
    bs_job job = add(f, NULL, 10, BS_STORE_ADDED);
    claim(f, job.id, "gone", MINUTE);
    assert_int_equal(bs_store_reclaim(f->store, worker_is_gone, "gone", NULL, NULL), BS_OK);
    assert_int_equal(get(f, job.id).state, BS_JOB_PENDING);
}

static void a_job_that_its_worker_knows_to_run_stays_when_its_lease_is_over(void **state)
{
    fixture *f = *state;
    bs_job slept = add(f, NULL, 10, BS_STORE_ADDED), late = add(f, NULL, 10, BS_STORE_ADDED),
           alive = add(f, NULL, 10, BS_STORE_ADDED);
    slept = claim(f, slept.id, "w", -1);
    claim(f, late.id, "w", -1);
    claim(f, alive.id, "w", MINUTE);
    int64_t count = 0;
    bool cancel;
    assert_int_equal(bs_store_reclaim(f->store, lease_is_over, slept.id, &count, NULL), BS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(get(f, late.id).state, BS_JOB_PENDING);
    assert_int_equal(get(f, alive.id).state, BS_JOB_PROCESSING);
    assert_int_equal(bs_store_heartbeat(f->store, &slept, MINUTE, &cancel, NULL), BS_OK);
}

static void a_poison_job_fails_after_the_last_attempt_and_says_so(void **state)
{
    fixture *f = *state;
    bs_job job = add(f, NULL, 10, BS_STORE_ADDED);
    bs_job_state became;
    for (int i = 0; i < 3; i++) {
        claim(f, job.id, "w", MINUTE);
        assert_int_equal(
            bs_store_requeue(f->store, job.id, "w", BS_STORE_ATTEMPT, 3, "its process died", &became, NULL), BS_OK);
        assert_int_equal(became, i < 2 ? BS_JOB_PENDING : BS_JOB_FAILED);
    }
    job = get(f, job.id);
    assert_int_equal(job.attempts, 3);
    assert_string_equal(job.error, "its process died");
    assert_true(job.completed_us > 0);
}

static void a_servers_death_is_no_attempt_but_one_that_is_there_each_time_ends(void **state)
{
    fixture *f = *state;
    bs_job job = add(f, NULL, 10, BS_STORE_ADDED);
    for (int i = 1; i < BS_JOB_MAX_INTERRUPTIONS; i++) {
        claim(f, job.id, "gone", MINUTE);
        assert_int_equal(bs_store_reclaim(f->store, worker_is_gone, "gone", NULL, NULL), BS_OK);
        bs_job now = get(f, job.id);
        assert_int_equal(now.state, BS_JOB_PENDING);
        assert_int_equal(now.attempts, 0);
        assert_int_equal(now.interruptions, i);
    }
    /* Its own attempts are still all there. */
    bs_job_state became;
    claim(f, job.id, "w", MINUTE);
    assert_int_equal(bs_store_requeue(f->store, job.id, "w", BS_STORE_ATTEMPT, 2, "died", &became, NULL), BS_OK);
    assert_int_equal(became, BS_JOB_PENDING);

    claim(f, job.id, "gone", MINUTE);
    assert_int_equal(bs_store_reclaim(f->store, worker_is_gone, "gone", NULL, NULL), BS_OK);
    job = get(f, job.id);
    assert_int_equal(job.state, BS_JOB_FAILED);
    assert_string_equal(job.error, "the service was killed 10 times while it ran");
}

static void a_store_of_the_version_before_is_brought_up_to_date(void **state)
{
    fixture *f = *state;
    bs_job job = add(f, NULL, 10, BS_STORE_ADDED);
    claim(f, job.id, "gone", MINUTE);
    bs_store_close(&f->store);
    sqlite3 *db;
    char path[sizeof(f->dir) + 16];
    snprintf(path, sizeof(path), "%s/jobs.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "ALTER TABLE jobs DROP COLUMN interruptions; ALTER TABLE jobs DROP COLUMN input_sha256;"
                     "PRAGMA user_version = 1",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(bs_store_open(&f->store, &f->settings, NULL), BS_OK);
    assert_int_equal(bs_store_reclaim(f->store, worker_is_gone, "gone", NULL, NULL), BS_OK);
    assert_int_equal(get(f, job.id).interruptions, 1);
    assert_string_equal(get(f, job.id).input_sha256, "");
}

static void being_sent_back_is_no_attempt_and_keeps_the_place_in_the_queue(void **state)
{
    fixture *f = *state;
    bs_job first = add(f, NULL, 10, BS_STORE_ADDED), next;
    add(f, NULL, 10, BS_STORE_ADDED);
    for (int i = 0; i < 5; i++) {
        claim(f, first.id, "w", MINUTE);
        assert_int_equal(bs_store_requeue(f->store, first.id, "w", BS_STORE_SENT_BACK, 3, "Waiting", NULL, NULL),
                         BS_OK);
    }
    assert_int_equal(get(f, first.id).attempts, 0);
    assert_int_equal(bs_store_next(f->store, &next, NULL), BS_OK);
    assert_string_equal(next.id, first.id);
}

static void cancelling_ends_a_pending_job_and_asks_a_running_one(void **state)
{
    fixture *f = *state;
    bs_job pending = add(f, NULL, 10, BS_STORE_ADDED), running = add(f, NULL, 10, BS_STORE_ADDED), out;
    running = claim(f, running.id, "w", MINUTE);
    assert_int_equal(bs_store_cancel(f->store, pending.id, &out, NULL), BS_OK);
    assert_int_equal(out.state, BS_JOB_CANCELLED);
    assert_int_equal(bs_store_claim(f->store, pending.id, "w", MINUTE, &out, NULL), BS_EOF);
    assert_int_equal(bs_store_cancel(f->store, running.id, &out, NULL), BS_OK);
    assert_int_equal(out.state, BS_JOB_PROCESSING);
    assert_true(out.cancel_requested);
    bool cancel = false;
    assert_int_equal(bs_store_heartbeat(f->store, &running, MINUTE, &cancel, NULL), BS_OK);
    assert_true(cancel);

    /* Its worker dies before it could stop: it does not come back. */
    bs_job_state became;
    assert_int_equal(bs_store_requeue(f->store, running.id, "w", BS_STORE_ATTEMPT, 3, "died", &became, NULL), BS_OK);
    assert_int_equal(became, BS_JOB_CANCELLED);
    assert_int_equal(bs_store_cancel(f->store, running.id, &out, NULL), BS_OK);
    assert_int_equal(out.state, BS_JOB_CANCELLED);
    assert_int_equal(bs_store_cancel(f->store, "0123456789abcdef0123456789abcdef", &out, NULL), BS_EOF);
}

static void a_job_that_has_ended_changes_no_more(void **state)
{
    fixture *f = *state;
    for (bs_job_state final = BS_JOB_COMPLETED; final < BS_JOB_STATES; final++) {
        bs_job job = add(f, NULL, 10, BS_STORE_ADDED), out;
        bool cancel;
        job = claim(f, job.id, "w", -1);
        assert_int_equal(bs_store_finish(f->store, &job, final, NULL), BS_OK);
        for (int to = BS_JOB_COMPLETED; to < BS_JOB_STATES; to++)
            assert_int_equal(bs_store_finish(f->store, &job, (bs_job_state)to, NULL), BS_EOF);
        assert_int_equal(bs_store_claim(f->store, job.id, "w", MINUTE, &out, NULL), BS_EOF);
        assert_int_equal(bs_store_requeue(f->store, job.id, "w", BS_STORE_ATTEMPT, 3, "Waiting", NULL, NULL), BS_EOF);
        assert_int_equal(bs_store_heartbeat(f->store, &job, MINUTE, &cancel, NULL), BS_EOF);
        assert_int_equal(bs_store_refuse(f->store, job.id, "no room", NULL), BS_EOF);
        assert_int_equal(bs_store_reclaim(f->store, worker_is_gone, "w", NULL, NULL), BS_OK);
        assert_int_equal(bs_store_cancel(f->store, job.id, &out, NULL), BS_OK);
        assert_int_equal(out.state, final);
    }
}

static void a_running_job_is_not_forgotten(void **state)
{
    fixture *f = *state;
    bs_job job = add(f, NULL, 10, BS_STORE_ADDED);
    job = claim(f, job.id, "w", MINUTE);
    assert_int_equal(bs_store_remove(f->store, job.id, NULL), BS_EOF);
    assert_int_equal(bs_store_finish(f->store, &job, BS_JOB_CANCELLED, NULL), BS_OK);
    assert_int_equal(bs_store_remove(f->store, job.id, NULL), BS_OK);
    assert_int_equal(bs_store_get(f->store, job.id, &job, NULL), BS_EOF);
}

/* A process adds jobs, tells each id once it was answered, and is killed in the middle of it: every id told is there,
 * and the database is whole. */
static void what_was_answered_survives_being_killed(void **state)
{
    fixture *f = *state;
    for (int round = 0; round < 5; round++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        if (child == 0) {
            bs_store *store = NULL;
            close(told[0]);
            bs_status rc = bs_store_open(&store, &f->settings, NULL);
            while (rc == BS_OK) {
                bs_job job, out;
                bs_store_added added;
                rc = bs_job_init(&job, &f->settings, NULL);
                if (rc == BS_OK)
                    rc = bs_store_add(store, &job, NULL, 1000000, &added, &out, NULL);
                if (rc == BS_OK && write(told[1], out.id, 32) != 32)
                    break;
            }
            _exit(1);
        }
        close(told[1]);
        char ids[2000][33];
        int count = 0;
        while (count < 20 + round * 7 && read(told[0], ids[count], 32) == 32)
            ids[count++][32] = '\0';
        kill(child, SIGKILL);
        while (count < 2000 && read(told[0], ids[count], 32) == 32)
            ids[count++][32] = '\0';
        waitpid(child, NULL, 0);
        close(told[0]);
        assert_true(count >= 20);
        for (int i = 0; i < count; i++)
            assert_int_equal(get(f, ids[i]).state, BS_JOB_PENDING);
    }
    assert_int_equal(bs_store_check(f->store, NULL), BS_OK);
}

static int count_one(void *opaque, const bs_job *job)
{
    ++*(int *)opaque;
    return 0;
}

static void lists_are_newest_first_and_bounded(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 5; i++)
        add(f, NULL, 10, BS_STORE_ADDED);
    int count = 0;
    assert_int_equal(bs_store_list(f->store, 0, 1, 3, count_one, &count, NULL), BS_OK);
    assert_int_equal(count, 3);
    count = 0;
    assert_int_equal(bs_store_list(f->store, 1u << BS_JOB_FAILED, 0, 0, count_one, &count, NULL), BS_OK);
    assert_int_equal(count, 0);
}

static void a_file_that_is_no_database_is_refused_with_a_sentence(void **state)
{
    fixture *f = *state;
    char path[128], url[160];
    snprintf(path, sizeof(path), "%s/text.db", f->dir);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", file);
    fclose(file);
    snprintf(url, sizeof(url), "sqlite:%s", path);
    f->settings.database_url = url;
    bs_store *store = NULL;
    bs_error err = {0};
    assert_int_equal(bs_store_open(&store, &f->settings, &err), BS_ERR_IO);
    assert_non_null(strstr(err.text, "not a database"));
    f->settings.database_url = "mysql://host";
    assert_int_equal(bs_store_open(&store, &f->settings, &err), BS_ERR_USAGE);
    assert_non_null(strstr(err.text, "DATABASE_URL"));
    f->settings.database_url = "postgresql://user:secret@host/db";
    assert_int_equal(bs_store_open(&store, &f->settings, &err), BS_ERR_USAGE);
    assert_null(strstr(err.text, "secret"));
    f->settings.database_url = NULL;
    f->settings.queue_url = "redis://:secret@host";
    assert_int_equal(bs_store_open(&store, &f->settings, &err), BS_ERR_USAGE);
    assert_non_null(strstr(err.text, "QUEUE_URL"));
    assert_null(strstr(err.text, "secret"));
    assert_null(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_128_random_bits_in_hexadecimal),
        TEST(a_job_is_read_as_it_was_added),
        TEST(a_job_goes_from_pending_to_completed_and_survives_a_restart),
        TEST(one_job_too_many_is_refused_and_nothing_is_added),
        TEST(capacity_holds_when_processes_add_at_once),
        TEST(a_repeated_upload_is_the_first_job_even_when_the_queue_is_full),
        TEST(two_processes_never_claim_the_same_job),
        TEST(a_job_whose_lease_is_over_is_taken_up_again),
        TEST(jobs_of_a_dead_worker_are_taken_up_at_once),
        TEST(a_job_that_its_worker_knows_to_run_stays_when_its_lease_is_over),
        TEST(a_poison_job_fails_after_the_last_attempt_and_says_so),
        TEST(a_servers_death_is_no_attempt_but_one_that_is_there_each_time_ends),
        TEST(a_store_of_the_version_before_is_brought_up_to_date),
        TEST(being_sent_back_is_no_attempt_and_keeps_the_place_in_the_queue),
        TEST(cancelling_ends_a_pending_job_and_asks_a_running_one),
        TEST(a_job_that_has_ended_changes_no_more),
        TEST(a_running_job_is_not_forgotten),
        TEST(what_was_answered_survives_being_killed),
        TEST(lists_are_newest_first_and_bounded),
        TEST(a_file_that_is_no_database_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
