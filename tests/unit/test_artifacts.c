/* artifacts: a file is whole or not there, room is set aside and given back, names from outside are no paths. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "service/artifacts/artifacts.h"

#define ID "0123456789abcdef0123456789abcdef"
#define MB 1048576ull

typedef struct place {
    char folder[64];
    bs_artifacts *artifacts;
} place;

static int open_place(void **state)
{
    place *p = calloc(1, sizeof(*p));
    strcpy(p->folder, "/tmp/bs-artifacts-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    assert_int_equal(bs_artifacts_open(&p->artifacts, NULL, p->folder, 4 * MB, NULL), BS_OK);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    place *p = *state;
    char command[128];
    bs_artifacts_close(&p->artifacts);
    snprintf(command, sizeof(command), "rm -rf '%s'", p->folder);
    assert_int_equal(system(command), 0);
    free(p);
    return 0;
}

static bool exists(const place *p, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/jobs/%s", p->folder, name);
    return !access(path, F_OK);
}

static void an_upload_becomes_the_input_of_its_job(void **state)
{
    place *p = *state;
    bs_incoming in = {0};
    bs_artifacts_usage usage;
    char text[8] = "";
    int fd;
    assert_int_equal(bs_artifacts_receive(p->artifacts, MB, &in, NULL), BS_OK);
    bs_artifacts_read_usage(p->artifacts, &usage);
    assert_int_equal(usage.reserved, MB);
    assert_int_equal(write(in.fd, "bytes", 5), 5);
    assert_false(exists(p, ID "/input"));
    assert_int_equal(bs_artifacts_accept(p->artifacts, &in, ID, NULL), BS_OK);
    assert_true(exists(p, ID "/input"));
    bool arriving = false;
    assert_true(bs_artifacts_has_input(p->artifacts, ID, &arriving));
    assert_true(arriving); /* nobody takes it for a folder without a job */
    assert_int_equal(bs_artifacts_remove_but_input(p->artifacts, ID, NULL), BS_AGAIN);
    bs_artifacts_discard(p->artifacts, &in);
    assert_true(bs_artifacts_has_input(p->artifacts, ID, &arriving));
    assert_false(arriving);
    assert_true(exists(p, ID "/input"));
    bs_artifacts_read_usage(p->artifacts, &usage);
    assert_int_equal(usage.reserved, 0);
    assert_true(usage.files >= 5 && usage.files < 65536); /* blocks beyond the end were given back */
    assert_int_equal(bs_artifacts_open_input(p->artifacts, ID, &fd, NULL), BS_OK);
    assert_int_equal(read(fd, text, sizeof(text)), 5);
    assert_string_equal(text, "bytes");
    close(fd);
    bs_artifacts_remove_input(p->artifacts, ID);
    assert_int_equal(bs_artifacts_open_input(p->artifacts, ID, &fd, NULL), BS_EOF);
}

static void room_that_is_taken_is_refused_with_the_numbers(void **state)
{
    place *p = *state;
    bs_incoming a = {0}, b = {0};
    bs_error err = {0};
    assert_int_equal(bs_artifacts_receive(p->artifacts, 3 * MB, &a, &err), BS_OK);
    assert_int_equal(bs_artifacts_receive(p->artifacts, 2 * MB, &b, &err), BS_ERR_LIMIT);
    assert_non_null(strstr(err.text, "2.0 MB"));
    bs_artifacts_discard(p->artifacts, &a);
    assert_int_equal(bs_artifacts_receive(p->artifacts, 2 * MB, &b, &err), BS_OK);
    bs_artifacts_discard(p->artifacts, &b);
    assert_int_equal(bs_artifacts_receive(p->artifacts, UINT64_MAX, &b, &err), BS_ERR_LIMIT);
}

static void a_storage_folder_that_was_removed_is_told(void **state)
{
    place *p = *state;
    char command[128];
    bs_error err = {0};
    assert_int_equal(bs_artifacts_check(p->artifacts, &err), BS_OK);
    snprintf(command, sizeof(command), "rm -rf '%s/jobs'", p->folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(bs_artifacts_check(p->artifacts, &err), BS_ERR_IO);
    assert_string_equal(err.text, "The storage folder was removed: start the server again");
}

static void a_result_is_seen_only_when_whole(void **state)
{
    place *p = *state;
    bs_artifact file;
    int fd;
    assert_int_equal(bs_artifacts_create(p->artifacts, ID, "pose_data.csv", &fd, NULL), BS_OK);
    assert_int_equal(write(fd, "half", 4), 4);
    assert_int_equal(bs_artifacts_read(p->artifacts, ID, "pose_data.csv", &file, NULL), BS_EOF);
    assert_int_equal(bs_artifacts_commit(p->artifacts, ID, "pose_data.csv", fd, NULL), BS_OK);
    close(fd);
    assert_int_equal(bs_artifacts_read(p->artifacts, ID, "pose_data.csv", &file, NULL), BS_OK);
    assert_int_equal(file.size, 4);
    char first[40];
    strcpy(first, file.etag);
    close(file.fd);

    assert_int_equal(bs_artifacts_create(p->artifacts, ID, "pose_data.csv", &fd, NULL), BS_OK);
    assert_int_equal(write(fd, "other", 5), 5);
    assert_int_equal(bs_artifacts_commit(p->artifacts, ID, "pose_data.csv", fd, NULL), BS_OK);
    close(fd);
    assert_int_equal(bs_artifacts_read(p->artifacts, ID, "pose_data.csv", &file, NULL), BS_OK);
    assert_string_not_equal(first, file.etag);
    close(file.fd);

    assert_int_equal(bs_artifacts_create(p->artifacts, ID, "output.mp4", &fd, NULL), BS_OK);
    close(fd);
    bs_artifacts_abandon(p->artifacts, ID, NULL);
    assert_false(exists(p, ID "/.output.mp4.part"));
    assert_true(exists(p, ID "/pose_data.csv"));
    assert_int_equal(bs_artifacts_remove(p->artifacts, ID, NULL), BS_OK);
    assert_false(exists(p, ID));
    assert_int_equal(bs_artifacts_remove(p->artifacts, ID, NULL), BS_OK);
}

static void names_from_outside_are_no_paths(void **state)
{
    place *p = *state;
    bs_artifact file;
    int fd;
    static const char *const ids[] = {"..",
                                      "",
                                      "../../etc",
                                      "0123456789ABCDEF0123456789abcdef",
                                      ID "0",
                                      ".incoming",
                                      "0123456789abcdef0123456789abcde/"};
    static const char *const names[] = {"input",
                                        "..",
                                        "../x",
                                        "",
                                        "output.mp4/",
                                        ".output.mp4.part",
                                        "frame_.jpg",
                                        "frame_000001.jpg/..",
                                        "frame_00000a.jpg",
                                        "frame_000001.gif",
                                        "passwd"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        assert_int_equal(bs_artifacts_read(p->artifacts, ids[i], "output.mp4", &file, NULL), BS_ERR_INPUT);
        assert_int_equal(bs_artifacts_create(p->artifacts, ids[i], "output.mp4", &fd, NULL), BS_ERR_INPUT);
        assert_int_equal(bs_artifacts_remove(p->artifacts, ids[i], NULL), BS_ERR_INPUT);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(bs_artifacts_read(p->artifacts, ID, names[i], &file, NULL), BS_ERR_INPUT);
    assert_true(bs_artifact_name_valid("frame_000012.jpg"));
    assert_true(bs_artifact_name_valid("metadata.json"));
}

static void a_link_in_a_job_folder_is_not_followed(void **state)
{
    place *p = *state;
    bs_artifact file;
    char path[256];
    snprintf(path, sizeof(path), "%s/jobs/" ID, p->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    strcat(path, "/output.mp4");
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(bs_artifacts_read(p->artifacts, ID, "output.mp4", &file, NULL), BS_ERR_IO);
}

static void an_abandoned_upload_is_swept_and_a_live_one_is_not(void **state)
{
    place *p = *state;
    bs_incoming in = {0};
    char path[256];
    assert_int_equal(bs_artifacts_receive(p->artifacts, 1000, &in, NULL), BS_OK);
    snprintf(path, sizeof(path), "%s/jobs/.incoming/dead.part", p->folder);
    FILE *dead = fopen(path, "w");
    assert_non_null(dead);
    fclose(dead);
    assert_int_equal(bs_artifacts_sweep_incoming(p->artifacts, 3600), 0);
    assert_int_equal(bs_artifacts_sweep_incoming(p->artifacts, 0), 1);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(bs_artifacts_accept(p->artifacts, &in, ID, NULL), BS_OK);
    bs_artifacts_discard(p->artifacts, &in);
}

/* Folders without a job, as the worker's sweep sees them: here no store knows any job. */
typedef struct sweeper {
    bs_artifacts *artifacts;
    atomic_bool over;
} sweeper;

static int sweep_folder(void *opaque, const char *id)
{
    bs_artifacts *a = opaque;
    bool arriving, input = bs_artifacts_has_input(a, id, &arriving);
    if (!arriving)
        input ? bs_artifacts_remove(a, id, NULL) : bs_artifacts_remove_but_input(a, id, NULL);
    return 0;
}

static void *sweep(void *opaque)
{
    sweeper *s = opaque;
    while (!atomic_load(&s->over))
        bs_artifacts_jobs(s->artifacts, sweep_folder, s->artifacts, NULL);
    return NULL;
}

static void an_upload_that_comes_while_folders_are_swept_stays(void **state)
{
    place *p = *state;
    sweeper s = {.artifacts = p->artifacts};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, sweep, &s), 0);
    int accepted = 0, lost = 0;
    for (int i = 0; i < 500; i++) {
        bs_incoming in = {0};
        char id[BS_JOB_ID_LENGTH + 1];
        int fd;
        assert_int_equal(bs_job_id_new(id, NULL), BS_OK);
        assert_int_equal(bs_artifacts_receive(p->artifacts, 100, &in, NULL), BS_OK);
        if (bs_artifacts_accept(p->artifacts, &in, id, NULL) == BS_OK) {
            accepted++;
            sched_yield();
            if (bs_artifacts_open_input(p->artifacts, id, &fd, NULL) == BS_OK)
                close(fd);
            else
                lost++;
        }
        bs_artifacts_discard(p->artifacts, &in);
    }
    atomic_store(&s.over, true);
    pthread_join(thread, NULL);
    assert_int_equal(accepted, 500);
    assert_int_equal(lost, 0);
}

static void results_are_to_be_had_at_this_server_or_where_the_setting_says(void **state)
{
    char url[BS_ARTIFACT_URL_MAX];
    bs_artifact_url(url, sizeof(url), NULL, ID, "pose_data.csv");
    assert_string_equal(url, "/api/serve/" ID "/pose_data.csv");
    bs_artifact_url(url, sizeof(url), "https://cdn.example/x//", ID, "pose_data.csv");
    assert_string_equal(url, "https://cdn.example/x/" ID "/pose_data.csv");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_upload_becomes_the_input_of_its_job, open_place, close_place),
        cmocka_unit_test_setup_teardown(room_that_is_taken_is_refused_with_the_numbers, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_storage_folder_that_was_removed_is_told, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_result_is_seen_only_when_whole, open_place, close_place),
        cmocka_unit_test_setup_teardown(names_from_outside_are_no_paths, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_link_in_a_job_folder_is_not_followed, open_place, close_place),
        cmocka_unit_test_setup_teardown(an_upload_that_comes_while_folders_are_swept_stays, open_place, close_place),
        cmocka_unit_test(results_are_to_be_had_at_this_server_or_where_the_setting_says),
        cmocka_unit_test_setup_teardown(an_abandoned_upload_is_swept_and_a_live_one_is_not, open_place, close_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
