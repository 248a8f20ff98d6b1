/* output: the files' texts are exactly those of the contract, in every locale, and a full disk is said. */
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include <bodyscript/bodyscript.h>

#include "output/csv.h"
#include "output/json.h"
#include "output/sink.h"

static int temporary_file(void)
{
    char path[] = "/tmp/test_output.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

/* What was written to `fd`, as a text that the caller frees. */
static char *text_of(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    text[size] = '\0';
    return text;
}

static bs_pose_result one_person(void)
{
    bs_pose_result result = {.people = 1};
    bs_person *p = &result.person[0];
    p->status = BS_TRACKED;
    p->presence = 0.75f;
    for (int i = 0; i < BS_LANDMARKS; i++) {
        p->landmark[i] = (bs_landmark){0.5f + (float)i / 1000, -0.25f, -1.5f, 0.99995f, 1};
        p->world[i] = (bs_world_landmark){-0.1f, 0.2f, 1e-9f};
    }
    return result;
}

static void numbers_are_rounded_as_printf_rounds_them(void **state)
{
    bs_sink *sink = malloc(sizeof(*sink));
    int fd = temporary_file();
    char expected[64 * 1000], *end = expected;
    bs_sink_init(sink, fd, "numbers");
    uint32_t bits = 1;
    for (int i = 0; i < 900; i++) {
        float value;
        bits = bits * 1664525u + 1013904223u;
        value = (float)(int32_t)bits / (float)(1u << (i % 31));
        bs_sink_float(sink, value, "nil");
        bs_sink_text(sink, "\n");
        end += sprintf(end, "%.7f\n", (double)value);
    }
    assert_int_equal(bs_sink_flush(sink, NULL), BS_OK);
    char *text = text_of(fd);
    assert_string_equal(text, expected);
    free(text);
    close(fd);
    free(sink);
}

static void odd_numbers_have_a_text_of_their_own(void **state)
{
    bs_sink *sink = malloc(sizeof(*sink));
    int fd = temporary_file();
    bs_sink_init(sink, fd, "numbers");
    bs_sink_float(sink, -0.0f, "nil");
    bs_sink_float(sink, -1e-9f, "nil");
    bs_sink_float(sink, NAN, "nil");
    bs_sink_float(sink, INFINITY, "nil");
    bs_sink_int(sink, INT64_MIN);
    bs_sink_seconds(sink, -1500000);
    bs_sink_seconds(sink, 33367);
    bs_sink_json_string(sink, "a\"b\n\xff\xc3\xa9");
    assert_int_equal(bs_sink_flush(sink, NULL), BS_OK);
    char *text = text_of(fd);
    assert_string_equal(text, "0.00000000.0000000nilnil-9223372036854775808-1.5000000.033367"
                              "\"a\\u0022b\\u000a\xef\xbf\xbd\xc3\xa9\"");
    free(text);
    close(fd);
    free(sink);
}

static char *csv_of(const bs_pose_result *result, int64_t frame, int64_t time_us)
{
    int fd = temporary_file();
    bs_csv_writer *csv;
    assert_int_equal(bs_csv_writer_open(&csv, fd, NULL), BS_OK);
    assert_int_equal(bs_csv_writer_frame(csv, frame, time_us, result, NULL), BS_OK);
    assert_int_equal(bs_csv_writer_finish(csv, NULL), BS_OK);
    bs_csv_writer_close(&csv);
    assert_null(csv);
    char *text = text_of(fd);
    close(fd);
    return text;
}

#define HEADER \
    "frame_id,timestamp,person_id,landmark_id,landmark_name,x,y,z,visibility,presence,world_x,world_y,world_z," \
    "strategy,status\n"

static int lines_of(const char *text)
{
    int lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

static void a_csv_row_has_the_columns_of_the_contract(void **state)
{
    bs_pose_result result = one_person();
    char *text = csv_of(&result, 12, 400400);
    const char *start = HEADER "12,0.400400,0,0,nose,0.5000000,-0.2500000,-1.5000000,0.9999500,1.0000000,-0.1000000,"
                               "0.2000000,0.0000000,original,tracked\n12,0.400400,0,1,left_eye_inner,0.5010000,";
    assert_memory_equal(text, start, strlen(start));
    assert_int_equal(lines_of(text), 1 + 33);
    assert_non_null(strstr(text, "\n12,0.400400,0,32,right_foot_index,0.5320000,"));
    free(text);
}

static void a_frame_without_a_person_has_its_33_rows_too(void **state)
{
    bs_pose_result result = {.people = 0};
    char *text = csv_of(&result, 3, 0);
    assert_int_equal(lines_of(text), 1 + 33);
    assert_non_null(strstr(text, "\n3,0.000000,0,0,nose,,,,,,,,,,missing\n"));
    free(text);
}

static void every_person_has_33_rows(void **state)
{
    bs_pose_result result = one_person();
    result.person[1] = result.person[0];
    result.person[1].id = 7;
    result.people = 2;
    char *text = csv_of(&result, 3, 0);
    assert_int_equal(lines_of(text), 1 + 66);
    assert_non_null(strstr(text, "\n3,0.000000,7,0,nose,"));
    free(text);
}

static char *json_of(int frames)
{
    int fd = temporary_file();
    bs_json_writer *json;
    bs_video_info info = {.width = 640, .height = 360, .frame_rate = 29.97, .duration_us = 11100000};
    bs_process_options options = bs_process_defaults();
    bs_pose_result result = one_person();
    const bs_json_header header = {"a \"clip\".mp4", &info, &options};
    assert_int_equal(bs_json_writer_open(&json, fd, &header, NULL), BS_OK);
    for (int i = 0; i < frames; i++) {
        result.people = i != 1;
        assert_int_equal(bs_json_writer_frame(json, i * 3, i * 100000, &result, NULL), BS_OK);
    }
    assert_int_equal(bs_json_writer_finish(json, NULL), BS_OK);
    bs_json_writer_close(&json);
    char *text = text_of(fd);
    close(fd);
    return text;
}

static void json_is_one_document_with_all_frames(void **state)
{
    char *text = json_of(3);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    assert_string_equal(json_string_value(json_object_get(all, "format")), "bodyscript-pose");
    assert_string_equal(json_string_value(json_object_get(all, "model")), "full");
    assert_int_equal(json_integer_value(json_object_get(all, "interval")), 3);
    assert_string_equal(json_string_value(json_object_get(json_object_get(all, "video"), "name")), "a \"clip\".mp4");
    json_t *frames = json_object_get(all, "frames");
    assert_int_equal(json_array_size(frames), 3);
    assert_int_equal(json_integer_value(json_object_get(all, "frames_analysed")), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(frames, 1), "status")), "missing");
    json_t *person = json_array_get(json_object_get(json_array_get(frames, 2), "people"), 0);
    json_t *landmarks = json_object_get(person, "landmarks");
    assert_int_equal(json_array_size(landmarks), 33);
    assert_int_equal(json_array_size(json_array_get(landmarks, 0)), 5);
    assert_int_equal(json_array_size(json_object_get(person, "world_landmarks")), 33);
    json_decref(all);
    free(text);
}

static void json_without_frames_is_valid(void **state)
{
    char *text = json_of(0);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    assert_int_equal(json_array_size(json_object_get(all, "frames")), 0);
    json_decref(all);
    free(text);
}

static void a_full_disk_is_said(void **state)
{
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    bs_error err = {0};
    bs_csv_writer *csv;
    assert_int_equal(bs_csv_writer_open(&csv, fd, NULL), BS_OK);
    bs_pose_result result = one_person();
    bs_status status = BS_OK;
    for (int i = 0; i < 100 && status == BS_OK; i++)
        status = bs_csv_writer_frame(csv, i, i, &result, &err);
    assert_int_equal(status, BS_ERR_IO);
    assert_string_equal(err.text, "pose_data.csv cannot be written: No space left on device");
    assert_int_equal(bs_csv_writer_finish(csv, &err), BS_ERR_IO);
    bs_csv_writer_close(&csv);
    close(fd);
}

static void metadata_has_statistics_and_a_receipt(void **state)
{
    bs_process_options options = bs_process_defaults();
    bs_summary summary = {.frames_analysed = 10,
                          .average_quality = 0.87654321,
                          .seconds = 1.25,
                          .peak_memory = 50 << 20,
                          .trimmed = true,
                          .original_duration_us = 20000000};
    strcpy(summary.sha256, "abc");
    const bs_metadata_url urls[] = {{"csv", "pose_data.csv"}, {NULL, NULL}};
    const bs_metadata metadata = {"f00", "walk \xff.mp4", 1700000000000000, &options, false, true, &summary, "def",
                                  urls};
    int fd = temporary_file();
    assert_int_equal(bs_metadata_write(fd, &metadata, NULL), BS_OK);
    char *text = text_of(fd);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    json_t *statistics = json_object_get(all, "statistics"), *receipt = json_object_get(all, "receipt");
    assert_string_equal(json_string_value(json_object_get(all, "processed_at")), "2023-11-14T22:13:20Z");
    assert_string_equal(json_string_value(json_object_get(all, "filename")), "walk ?.mp4");
    assert_int_equal(json_integer_value(json_object_get(statistics, "frames_processed")), 10);
    assert_true(json_real_value(json_object_get(statistics, "average_quality")) == 0.8765);
    assert_true(json_real_value(json_object_get(statistics, "peak_memory_mb")) == 50);
    assert_true(json_is_true(json_object_get(statistics, "video_was_trimmed")));
    assert_string_equal(json_string_value(json_object_get(receipt, "input_sha256")), "abc");
    assert_string_equal(json_string_value(json_object_get(receipt, "model_sha256")), "def");
    json_t *used = json_object_get(receipt, "options");
    assert_true(json_is_false(json_object_get(used, "no_video")));
    assert_true(json_is_true(json_object_get(used, "save_frames")));
    assert_string_equal(json_string_value(json_object_get(used, "mode")), "fast");
    assert_int_equal(json_integer_value(json_object_get(used, "interval")), 3);
    json_decref(all);
    free(text);
    close(fd);
}

static void the_locale_changes_nothing(void **state)
{
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        puts("skipped: no locale with a decimal comma is installed");
        skip();
    }
    bs_pose_result result = one_person();
    char *text = csv_of(&result, 12, 400400);
    setlocale(LC_ALL, "C");
    assert_non_null(strstr(text, "12,0.400400,0,0,nose,0.5000000,"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_rounded_as_printf_rounds_them),
        cmocka_unit_test(odd_numbers_have_a_text_of_their_own),
        cmocka_unit_test(a_csv_row_has_the_columns_of_the_contract),
        cmocka_unit_test(a_frame_without_a_person_has_its_33_rows_too),
        cmocka_unit_test(every_person_has_33_rows),
        cmocka_unit_test(json_is_one_document_with_all_frames),
        cmocka_unit_test(json_without_frames_is_valid),
        cmocka_unit_test(a_full_disk_is_said),
        cmocka_unit_test(metadata_has_statistics_and_a_receipt),
        cmocka_unit_test(the_locale_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
