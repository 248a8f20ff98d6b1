/* estimate: a job's peak memory from its header. What it is worth against real jobs is measured by
 * tests/e2e/test_estimate.py; here, that it behaves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

#define MB (UINT64_C(1) << 20)

static bs_video_info video(const char *codec, int width, int height)
{
    bs_video_info info = {
        .coded_width = width,
        .coded_height = height,
        .width = width,
        .height = height,
        .sar_num = 1,
        .sar_den = 1,
        .bit_depth = 8,
        .reference_frames = 4,
        .reorder_frames = 2,
        .picture_bytes = (int64_t)((double)width * height * 1.5), /* some sizes here are absurd */
        .frame_rate = 30,
        .duration_us = 10000000,
        .frames = 300,
        .file_size = 4000000,
        .video_streams = 1,
    };
    strcpy(info.codec, codec);
    strcpy(info.pixel_format, "yuv420p");
    return info;
}

static const bs_outputs everything = {.csv_fd = 3, .json_fd = 4, .video_fd = 5, .preview_fd = 6, .thumbnail_fd = 7};

static bs_estimate_parts estimate(const bs_video_info *info, const bs_process_options *options,
                                  const bs_outputs *outputs)
{
    bs_estimate_parts parts;
    bs_error err = {0};
    assert_int_equal(bs_estimate(info, options, outputs, &parts, &err), BS_OK);
    return parts;
}

static void the_total_is_the_sum_of_its_parts(void **state)
{
    bs_video_info info = video("h264", 1280, 720);
    bs_process_options options = bs_process_defaults();
    bs_estimate_parts p = estimate(&info, &options, &everything);
    assert_int_equal(p.total, p.base + p.model + p.demuxer + p.decoder + p.frames + p.convert + p.encoder + p.outputs);
    assert_string_equal(p.lean, "");
}

static void what_nobody_wants_takes_no_memory(void **state)
{
    bs_video_info info = video("h264", 1280, 720);
    bs_process_options options = bs_process_defaults();
    bs_outputs csv = bs_outputs_none();
    csv.csv_fd = 3;
    bs_estimate_parts all = estimate(&info, &options, &everything), some = estimate(&info, &options, &csv);
    assert_int_equal(some.encoder, 0);
    assert_int_equal(some.outputs, 0);
    assert_true(some.total < all.total);
}

static void larger_pictures_and_more_references_need_more(void **state)
{
    bs_process_options options = bs_process_defaults();
    bs_video_info hd = video("h264", 1920, 1080), uhd = video("h264", 3840, 2160), many = hd;
    many.reference_frames = 16;
    uint64_t base = estimate(&hd, &options, &everything).total;
    assert_true(estimate(&uhd, &options, &everything).total > base + 60 * MB);
    assert_true(estimate(&many, &options, &everything).total > base + 30 * MB);
}

static void it_does_not_grow_with_the_length_by_more_than_an_index(void **state)
{
    bs_process_options options = bs_process_defaults();
    bs_video_info brief = video("h264", 1280, 720), hour = brief;
    hour.frames *= 360;
    hour.file_size *= 360;
    hour.duration_us *= 360;
    assert_true(estimate(&hour, &options, &everything).total < estimate(&brief, &options, &everything).total + 12 * MB);
}

static void a_small_limit_turns_to_leaner_settings_and_says_so(void **state)
{
    bs_video_info info = video("h264", 1920, 1080);
    bs_process_options options = bs_process_defaults();
    bs_estimate_parts full = estimate(&info, &options, &everything);
    options.memory_limit = full.total - 1;
    bs_estimate_parts lean = estimate(&info, &options, &everything);
    assert_true(lean.total <= options.memory_limit);
    assert_true(strlen(lean.lean) > 0);
    assert_true(lean.frugal && !full.frugal);
    assert_int_equal(lean.output_width, full.output_width);
}

static void every_megabyte_less_takes_the_next_step_and_the_width_comes_last(void **state)
{
    bs_video_info info = video("h264", 1920, 1080);
    bs_process_options options = bs_process_defaults();
    bs_estimate_parts last = estimate(&info, &options, &everything), now;
    for (options.memory_limit = last.total; bs_estimate(&info, &options, &everything, &now, NULL) == BS_OK;
         options.memory_limit -= MB / 16) {
        assert_true(now.total <= options.memory_limit && now.total <= last.total);
        assert_true(now.encoder_lean >= last.encoder_lean && now.decoder_threads <= last.decoder_threads);
        /* The encoder's rows begin on 64: of widths that take the same, the widest is tried first. */
        assert_in_range(now.output_width, last.output_width - 64, last.output_width);
        if (now.output_width < 720)
            assert_true(now.frugal && now.decoder_threads == 1 && now.encoder_threads == 1 && now.encoder_lean == 3 &&
                        now.no_spare);
        assert_int_equal(last.decoder_pictures - now.decoder_pictures, now.no_spare && !last.no_spare ? 2 : 0);
        last = now;
    }
    assert_in_range(last.output_width, 160, 176);
}

static int keep_nothing(void *opaque, int64_t frame_id, const void *data, size_t size)
{
    return 0;
}

static void a_refusal_says_what_would_fit_and_it_does(void **state)
{
    bs_video_info info = video("h264", 1280, 720);
    bs_process_options options = bs_process_defaults();
    options.memory_limit = 44 * MB;
    bs_estimate_parts parts;
    bs_error err = {0};
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, &err), BS_ERR_LIMIT);
    const char *way = strstr(err.text, "; without overlay and preview (--no-video) it needs ");
    unsigned long long megabytes = 0;
    assert_non_null(way);
    assert_int_equal(sscanf(strstr(way, "needs"), "needs %llu MB", &megabytes), 1);
    assert_in_range(megabytes, 30, 44);
    bs_outputs data = everything;
    data.video_fd = data.preview_fd = -1;
    options.memory_limit = megabytes * MB;
    assert_int_equal(bs_estimate(&info, &options, &data, &parts, &err), BS_OK);
}

/* The number behind `words` in the sentence of a refusal. */
static unsigned long long needed(const bs_error *err, const char *words)
{
    unsigned long long megabytes = 0;
    const char *way = strstr(err->text, words);
    assert_non_null(way);
    assert_int_equal(sscanf(way + strlen(words), " it needs %llu MB", &megabytes), 1);
    return megabytes;
}

static void a_refusal_suggests_what_is_missed_least(void **state)
{
    bs_video_info info = video("h264", 1280, 720);
    bs_process_options options = bs_process_defaults();
    bs_outputs saved = everything;
    bs_estimate_parts parts;
    bs_error err = {0};
    saved.save_frame = keep_nothing;
    options.mode = BS_MODE_QUALITY;
    for (options.memory_limit = 60 * MB; bs_estimate(&info, &options, &saved, &parts, &err) == BS_OK;
         options.memory_limit -= MB / 4)
        ;
    uint64_t megabytes = needed(&err, "; without --save-frames");
    assert_true(megabytes * MB <= options.memory_limit + MB);
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, &err), BS_OK);
    assert_int_equal(megabytes, (parts.total + MB - 1) / MB);

    for (; bs_estimate(&info, &options, &everything, &parts, &err) == BS_OK; options.memory_limit -= MB / 16)
        ;
    megabytes = needed(&err, "; with --model lite");
    options.model = BS_MODEL_LITE;
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, &err), BS_OK);
    assert_int_equal(megabytes, (parts.total + MB - 1) / MB);
}

static void where_nothing_would_do_the_least_is_told(void **state)
{
    bs_video_info info = video("h264", 3840, 2160);
    bs_process_options options = bs_process_defaults();
    bs_outputs data = everything;
    bs_estimate_parts parts;
    bs_error err = {0};
    options.memory_limit = 48 * MB;
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, &err), BS_ERR_LIMIT);
    const uint64_t megabytes = needed(&err, "; even without overlay and preview (--no-video)");
    data.video_fd = data.preview_fd = -1;
    options.memory_limit = megabytes * MB;
    assert_int_equal(bs_estimate(&info, &options, &data, &parts, &err), BS_OK);
    options.memory_limit -= MB;
    assert_int_equal(bs_estimate(&info, &options, &data, &parts, &err), BS_ERR_LIMIT);
}

static void what_cannot_fit_is_refused_with_both_numbers(void **state)
{
    bs_video_info info = video("hevc", 7680, 4320);
    info.reference_frames = 16;
    bs_process_options options = bs_process_defaults();
    options.memory_limit = 256 * MB;
    bs_estimate_parts parts = {0};
    bs_error err = {0};
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, &err), BS_ERR_LIMIT);
    assert_true(parts.total > 256 * MB);
    char need[64];
    snprintf(need, sizeof(need), "needs %llu MB", (unsigned long long)((parts.total + MB - 1) / MB));
    assert_non_null(strstr(err.text, need));
    assert_non_null(strstr(err.text, "there are 256 MB"));
}

static void headers_that_claim_nonsense_do_not_overflow_it(void **state)
{
    bs_process_options options = bs_process_defaults();
    options.memory_limit = 512 * MB;
    bs_video_info info = video("h264", INT32_MAX, INT32_MAX);
    info.picture_bytes = INT64_MAX / 1024;
    info.reference_frames = 16;
    info.frames = INT64_MAX;
    info.file_size = INT64_MAX / 256;
    bs_estimate_parts parts;
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, NULL), BS_ERR_LIMIT);
    info = (bs_video_info){0}; /* and one that claims nothing */
    assert_int_equal(bs_estimate(&info, &options, &everything, &parts, NULL), BS_OK);
}

static void options_that_cannot_be_are_refused_before_they_are_reckoned_with(void **state)
{
    bs_video_info info = video("h264", 1280, 720);
    bs_process_options wrong[8];
    for (int i = 0; i < 8; i++)
        wrong[i] = bs_process_defaults();
    wrong[0].mode = (bs_mode)99;
    wrong[1].mode = (bs_mode)-1;
    wrong[2].model = BS_MODEL_KINDS;
    wrong[3].people = 0;
    wrong[4].threads = -1;
    wrong[5].max_width = -1;
    wrong[6].min_detection_confidence = NAN;
    wrong[7].min_tracking_confidence = 1.5f;
    for (int i = 0; i < 8; i++) {
        bs_estimate_parts parts = {.total = 7};
        assert_int_equal(bs_estimate(&info, &wrong[i], &everything, &parts, NULL), BS_ERR_USAGE);
        assert_int_equal(parts.total, 7);
    }
    assert_int_equal(bs_process_model(&wrong[0]), BS_MODEL_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_total_is_the_sum_of_its_parts),
        cmocka_unit_test(what_nobody_wants_takes_no_memory),
        cmocka_unit_test(larger_pictures_and_more_references_need_more),
        cmocka_unit_test(it_does_not_grow_with_the_length_by_more_than_an_index),
        cmocka_unit_test(a_small_limit_turns_to_leaner_settings_and_says_so),
        cmocka_unit_test(every_megabyte_less_takes_the_next_step_and_the_width_comes_last),
        cmocka_unit_test(a_refusal_says_what_would_fit_and_it_does),
        cmocka_unit_test(a_refusal_suggests_what_is_missed_least),
        cmocka_unit_test(where_nothing_would_do_the_least_is_told),
        cmocka_unit_test(what_cannot_fit_is_refused_with_both_numbers),
        cmocka_unit_test(options_that_cannot_be_are_refused_before_they_are_reckoned_with),
        cmocka_unit_test(headers_that_claim_nonsense_do_not_overflow_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
