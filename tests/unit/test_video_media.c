/* video: real clips and photos of shared/ beside the project, held against ffmpeg's own RGB (golden/frames.csv). */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#include "video/reader.h"
#include "video/scale.h"

#define SHARED BS_SOURCE_DIR "/../shared/"

enum { FRAMES = 12 }; /* of each clip: every kind of picture is among them */

static const char *const folders[] = {"videos", "threed_pose2sim", "derived", "stills_coco", "stills_other"};

static uint32_t crc32_of(uint32_t crc, const uint8_t *data, size_t size)
{
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256 && !table[255]; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        table[i] = value;
    }
    crc = ~crc;
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    return ~crc;
}

static uint32_t crc32_of_rgb(bs_video_scaler *scaler, const bs_video_frame *frame)
{
    bs_error err = {0};
    bs_image rgb;
    assert_int_equal(bs_video_frame_rgb(scaler, frame, &rgb, &err), BS_OK);
    uint32_t crc = 0;
    for (int y = 0; y < rgb.height; y++)
        crc = crc32_of(crc, rgb.data[0] + y * rgb.stride[0], (size_t)rgb.width * 3);
    return crc;
}

static bool find(const char *name, char *path, size_t size)
{
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        snprintf(path, size, SHARED "media/%s/%s", folders[i], name);
        if (!access(path, R_OK))
            return true;
    }
    return false;
}

static bs_video_reader *open_clip(const char *path, int only_every)
{
    bs_error err = {0};
    bs_video_reader *reader;
    const bs_video_reader_options options = {.threads = 2, .only_every = only_every};
    if (bs_video_reader_open(&reader, &(bs_input){.path = path, .fd = -1}, &options, &err))
        fail_msg("%s", err.text);
    return reader;
}

static void check_against(const char *golden, const char *path, bs_video_scaler *scaler)
{
    char line[1024];
    FILE *const lines = fopen(golden, "r");
    assert_non_null(lines);
    assert_non_null(fgets(line, sizeof(line), lines));
    bs_video_reader *reader = open_clip(path, 0);
    bs_error err = {0};
    for (int i = 0; i < FRAMES && fgets(line, sizeof(line), lines); i++) {
        long frame_id, time_us;
        int width, height;
        unsigned crc;
        assert_int_equal(sscanf(line, "%ld,%ld,%d,%d,%x", &frame_id, &time_us, &width, &height, &crc), 5);
        bs_video_frame *frame;
        assert_int_equal(bs_video_reader_read(reader, &frame, &err), BS_OK);
        assert_int_equal(frame->index, frame_id);
        assert_int_equal(frame->time_us, time_us);
        assert_int_equal(frame->width, width);
        assert_int_equal(frame->height, height);
        assert_int_equal(crc32_of_rgb(scaler, frame), crc);
        bs_video_frame_unref(&frame);
    }
    bs_video_reader_close(&reader);
    fclose(lines);
}

static void check_folder(const char *folder)
{
    char where[512], golden[1024], path[1024];
    snprintf(where, sizeof(where), SHARED "golden/%s", folder);
    DIR *const dir = opendir(where);
    assert_non_null(dir);
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    int checked = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *const end = strstr(entry->d_name, ".full.frames.csv");
        if (!end)
            continue;
        snprintf(golden, sizeof(golden), "%s/%s", where, entry->d_name);
        *end = '\0';
        if (find(entry->d_name, path, sizeof(path))) {
            check_against(golden, path, scaler);
            checked++;
        }
    }
    assert_true(checked > 5);
    bs_video_scaler_close(&scaler);
    closedir(dir);
}

static void clips_give_the_pixels_and_times_that_mediapipe_was_given(void **state)
{
    check_folder("tracked");
}

static void photos_give_the_pixels_that_mediapipe_was_given(void **state)
{
    check_folder("stills");
}

static int frames_left_out(const char *name)
{
    char path[1024];
    assert_true(find(name, path, sizeof(path)));
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    bs_video_reader *all = open_clip(path, 0), *some = open_clip(path, 3);
    bs_video_frame *a, *b;
    int left_out = 0;
    while (bs_video_reader_read(all, &a, &err) == BS_OK) {
        assert_int_equal(bs_video_reader_read(some, &b, &err), BS_OK);
        assert_int_equal(a->index, b->index);
        assert_int_equal(a->time_us, b->time_us);
        assert_false(b->skipped && b->index % 3 == 0);
        left_out += b->skipped;
        if (b->index % 3 == 0 && b->index < 40)
            assert_int_equal(crc32_of_rgb(scaler, a), crc32_of_rgb(scaler, b));
        bs_video_frame_unref(&a);
        bs_video_frame_unref(&b);
    }
    assert_int_equal(bs_video_reader_read(some, &b, &err), BS_EOF);
    bs_video_reader_close(&all);
    bs_video_reader_close(&some);
    bs_video_scaler_close(&scaler);
    return left_out;
}

static void frames_that_nobody_needs_are_left_out_and_no_other_changes(void **state)
{
    assert_true(frames_left_out("pexels_yoga_360sq.mp4") > 30);
    assert_true(frames_left_out("walkers_hevc_hvc1_480p.mp4") > 30);
    assert_true(frames_left_out("basketball_mjpeg.avi") > 60);
    assert_true(frames_left_out("basketball_editlist_copycut.mp4") > 20);
    assert_int_equal(frames_left_out("basketball_vp9.webm"), 0);
}

typedef struct expectation {
    const char *name;
    int frames, width, height, orientation;
} expectation;

static void derived_clips_have_their_frames_and_shapes(void **state)
{
    static const expectation table[] = {
        {"basketball_editlist_copycut.mp4", 92, 640, 360, BS_ORIENT_NORMAL},
        {"basketball_rot180.mp4", 120, 640, 360, BS_ORIENT_ROTATE_180},
        {"balancing_cam03_rot90.mov", 100, 544, 960, BS_ORIENT_ROTATE_270},
        {"balancing_cam03_rot270.mov", 100, 544, 960, BS_ORIENT_ROTATE_90},
        {"basketball_anamorphic_sar4x3.mp4", 120, 640, 360, BS_ORIENT_NORMAL},
        {"basketball_vfr.mp4", 235, 640, 360, BS_ORIENT_NORMAL},
        {"basketball_start5s.mkv", 122, 640, 360, BS_ORIENT_NORMAL},
        {"walkers_av1_480p.mkv", 120, 854, 480, BS_ORIENT_NORMAL},
        {"basketball.gif", 40, 320, 180, BS_ORIENT_NORMAL},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        char path[1024];
        assert_true(find(table[i].name, path, sizeof(path)));
        bs_video_reader *reader = open_clip(path, 0);
        const bs_video_info *const info = bs_video_reader_info(reader);
        assert_int_equal(info->width, table[i].width);
        assert_int_equal(info->height, table[i].height);
        assert_int_equal(info->orientation, table[i].orientation);
        bs_error err = {0};
        bs_video_frame *frame;
        int64_t frames = 0, last = -1;
        for (; bs_video_reader_read(reader, &frame, &err) == BS_OK; frames++) {
            assert_true(frame->time_us > last);
            last = frame->time_us;
            bs_video_frame_unref(&frame);
        }
        assert_int_equal(frames, table[i].frames);
        assert_int_equal(bs_video_reader_report_now(reader).times_repaired, 0);
        bs_video_reader_close(&reader);
    }
}

int main(void)
{
    if (access(SHARED "golden/tracked", R_OK) || access(SHARED "media/derived", R_OK)) {
        printf("skipped: shared/ beside the project, with its media and golden data, is not there\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clips_give_the_pixels_and_times_that_mediapipe_was_given),
        cmocka_unit_test(photos_give_the_pixels_that_mediapipe_was_given),
        cmocka_unit_test(frames_that_nobody_needs_are_left_out_and_no_other_changes),
        cmocka_unit_test(derived_clips_have_their_frames_and_shapes),
    };
    return cmocka_run_group_tests_name("video_media", tests, NULL, NULL);
}
