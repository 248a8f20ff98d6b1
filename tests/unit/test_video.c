/* video: clocks, turning, drawing, writing and reading back, and what is refused. Media of its own making. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <libavutil/intreadwrite.h>

#include <bodyscript/bodyscript.h>

#include "video/av.h"
#include "video/clock.h"
#include "video/draw.h"
#include "video/mp4.h"
#include "video/reader.h"
#include "video/scale.h"
#include "video/sound.h"
#include "video/writer.h"

/* -- clock -------------------------------------------------------------------------------------------- */

static void check_clock(const int64_t *raw, const int64_t *expected, int count, int64_t repaired)
{
    bs_clock clock;
    bs_clock_init(&clock, 40000, INT64_C(3600000000));
    for (int i = 0; i < count; i++)
        assert_int_equal(bs_clock_next(&clock, raw[i]), expected[i]);
    assert_int_equal(clock.repaired, repaired);
}
#define CHECK_CLOCK(repaired, ...) \
    do { \
        const int64_t both[][2] = {__VA_ARGS__}; \
        const int count = (int)(sizeof(both) / sizeof(both[0])); \
        int64_t raw[32], expected[32]; \
        for (int i = 0; i < count; i++) \
            raw[i] = both[i][0], expected[i] = both[i][1]; \
        check_clock(raw, expected, count, repaired); \
    } while (0)

static void times_that_are_sane_pass_to_the_microsecond(void **state)
{
    CHECK_CLOCK(0, {5000000, 0}, {5033367, 33367}, {5066733, 66733}, {9000001, 4000001}, {9000002, 4000002});
}

static void a_missing_time_is_one_step_on(void **state)
{
    CHECK_CLOCK(1, {0, 0}, {BS_NO_TIME, 40000}, {80000, 80000});
    CHECK_CLOCK(2, {BS_NO_TIME, 0}, {BS_NO_TIME, 40000});
    CHECK_CLOCK(2, {BS_NO_TIME, 0}, {BS_NO_TIME, 40000}, {0, 80000}, {41000, 121000});
}

static void repeated_and_backward_times_move_no_other_frame(void **state)
{
    CHECK_CLOCK(1, {0, 0}, {40000, 40000}, {40000, 60000}, {80000, 80000});
    CHECK_CLOCK(1, {0, 0}, {40000, 40000}, {20000, 60000}, {80000, 80000});
}

static void one_absurd_time_is_one_bad_stamp(void **state)
{
    const int64_t year = INT64_C(31536000000000);
    CHECK_CLOCK(1, {0, 0}, {40000, 40000}, {year, 80000}, {120000, 120000}, {160000, 160000});
    CHECK_CLOCK(1, {0, 0}, {40000, 40000}, {INT64_MAX, 80000}, {120000, 120000});
    CHECK_CLOCK(1, {0, 0}, {INT64_MIN + 1, 40000}, {80000, 80000});
}

static void a_new_timeline_goes_on_where_the_old_one_ended(void **state)
{
    CHECK_CLOCK(1, {90000000, 0}, {90040000, 40000}, {0, 80000}, {40000, 120000}, {80000, 160000});
}

static void any_times_come_out_ascending(void **state)
{
    uint64_t seed = 1;
    for (int round = 0; round < 200; round++) {
        bs_clock clock;
        bs_clock_init(&clock, round % 3 ? 33367 : 0, 10000000);
        int64_t last = -1;
        for (int i = 0; i < 500; i++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            const int64_t raw = (int64_t)seed >> (seed >> 58);
            const int64_t time = bs_clock_next(&clock, seed >> 33 & 7 ? raw : BS_NO_TIME);
            assert_true(time > last);
            last = time;
        }
    }
}

/* -- pictures ------------------------------------------------------------------------------------------ */

/* A grey frame with a bright square near its stored top left, and a red one near its top right. */
static bs_video_frame *make_frame(enum AVPixelFormat format, int width, int height, int64_t time_us)
{
    bs_video_frame *const frame = calloc(1, sizeof(*frame));
    AVFrame *const picture = av_frame_alloc();
    assert_true(frame && picture);
    picture->format = format;
    picture->width = frame->width = width;
    picture->height = frame->height = height;
    assert_true(av_frame_get_buffer(picture, 0) >= 0);
    const int chroma_height = AV_CEIL_RSHIFT(height, 1);
    for (int y = 0; y < height; y++)
        memset(picture->data[0] + y * picture->linesize[0], 60, (size_t)width);
    for (int p = 1; p < 3; p++)
        memset(picture->data[p], 128, (size_t)picture->linesize[p] * (size_t)chroma_height);
    for (int y = height / 8; y < height / 4; y++)
        memset(picture->data[0] + y * picture->linesize[0] + width / 8, 235, (size_t)width / 8);
    for (int y = height / 16; y < height / 8; y++)
        memset(picture->data[2] + y * picture->linesize[2] + width * 3 / 8, 240, (size_t)width / 16);
    frame->time_us = time_us;
    frame->picture = picture;
    frame->references = 1;
    return frame;
}

static void turn_frame(bs_video_frame *frame, bs_orientation orientation)
{
    bs_frame_set_orientation(frame->picture, orientation);
    bs_displayed_size(frame->picture->width, frame->picture->height, frame->picture->sample_aspect_ratio, orientation,
                      &frame->width, &frame->height);
}

/* Where the stored point (fractions) is displayed, by the definition in image.h. */
static void displayed(bs_orientation orientation, double x, double y, double *u, double *v)
{
    const double at[8][2] = {{x, y}, {1 - x, y}, {1 - x, 1 - y}, {x, 1 - y},
                             {y, x}, {1 - y, x}, {1 - y, 1 - x}, {y, 1 - x}};
    *u = at[orientation][0];
    *v = at[orientation][1];
}

static const uint8_t *rgb_at(const bs_image *rgb, double u, double v)
{
    return rgb->data[0] + (ptrdiff_t)(v * rgb->height) * rgb->stride[0] + (ptrdiff_t)(u * rgb->width) * 3;
}

static void every_orientation_comes_out_upright(void **state)
{
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    for (int o = 0; o < 8; o++) {
        bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 320, 160, 0), *canvas;
        turn_frame(frame, (bs_orientation)o);
        double white_u, white_v, red_u, red_v;
        displayed((bs_orientation)o, 0.1875, 0.1875, &white_u, &white_v);
        displayed((bs_orientation)o, 0.8125, 0.1875, &red_u, &red_v);

        bs_image rgb;
        assert_int_equal(bs_video_frame_rgb(scaler, frame, &rgb, &err), BS_OK);
        assert_int_equal(rgb.width, o < 4 ? 320 : 160);
        assert_true(rgb_at(&rgb, white_u, white_v)[1] > 240);
        assert_true(rgb_at(&rgb, red_u, red_v)[0] > rgb_at(&rgb, red_u, red_v)[1] + 100);

        const int width = o < 4 ? 160 : 80, height = o < 4 ? 80 : 160;
        assert_int_equal(bs_video_frame_canvas(scaler, frame, width, height, &canvas, &err), BS_OK);
        bs_image image;
        assert_int_equal(bs_video_frame_image(scaler, canvas, &image, &err), BS_OK);
        assert_int_equal(image.orientation, BS_ORIENT_NORMAL);
        assert_true(image.data[0][(int)(white_v * height) * image.stride[0] + (int)(white_u * width)] > 225);
        assert_true(image.data[2][(int)(red_v * height / 2) * image.stride[2] + (int)(red_u * width / 2)] > 225);
        bs_video_frame_unref(&canvas);
        bs_video_frame_unref(&frame);
    }
    bs_video_scaler_close(&scaler);
}

static void display_matrices_are_the_orientations_they_do(void **state)
{
    const int32_t one = 0x10000;
    const int32_t abcd[8][4] = {{one, 0, 0, one}, {-one, 0, 0, one}, {-one, 0, 0, -one}, {one, 0, 0, -one},
                                {0, one, one, 0}, {0, one, -one, 0}, {0, -one, -one, 0}, {0, -one, one, 0}};
    for (int o = 0; o < 8; o++) {
        const int32_t matrix[9] = {abcd[o][0], abcd[o][1], 0, abcd[o][2], abcd[o][3], 0, 0, 0, 1 << 30};
        assert_int_equal(bs_orientation_of_matrix(matrix), o);
    }
}

static void pixels_that_are_not_square_become_so(void **state)
{
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 240, 180, 0);
    frame->picture->sample_aspect_ratio = (AVRational){4, 3};
    turn_frame(frame, BS_ORIENT_ROTATE_90);
    assert_int_equal(frame->width, 180);
    assert_int_equal(frame->height, 320);
    bs_image image;
    assert_int_equal(bs_video_frame_image(scaler, frame, &image, &err), BS_OK);
    assert_int_equal(bs_image_displayed_width(&image), 180);
    assert_int_equal(bs_image_displayed_height(&image), 320);
    assert_int_equal(bs_video_frame_rgb(scaler, frame, &image, &err), BS_OK);
    assert_int_equal(image.width, 180);
    assert_int_equal(image.height, 320);
    bs_video_frame_unref(&frame);
    bs_video_scaler_close(&scaler);
}

/* Every pixel format that libav has: described where it lies, or converted. */
static void every_pixel_format_gives_an_image(void **state)
{
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    int described = 0, converted = 0;
    const AVPixFmtDescriptor *desc = NULL;
    while ((desc = av_pix_fmt_desc_next(desc))) {
        const enum AVPixelFormat format = av_pix_fmt_desc_get_id(desc);
        bs_video_frame frame = {.width = 64, .height = 48, .picture = av_frame_alloc()};
        frame.picture->format = format;
        frame.picture->width = 64;
        frame.picture->height = 48;
        bs_image image;
        if (!(desc->flags & AV_PIX_FMT_FLAG_HWACCEL) && av_frame_get_buffer(frame.picture, 0) >= 0) {
            for (int p = 0; p < 4 && frame.picture->buf[p]; p++)
                memset(frame.picture->buf[p]->data, 0, frame.picture->buf[p]->size);
            if (bs_describe(frame.picture, &image))
                described++;
            else if (bs_video_frame_image(scaler, &frame, &image, &err) == BS_OK)
                converted++;
            else
                print_message("no reading of %s: %s\n", desc->name, err.text);
        }
        av_frame_free(&frame.picture);
    }
    assert_true(described > 120);
    assert_true(converted > 30);
    bs_video_scaler_close(&scaler);
}

static void a_canvas_is_even_and_never_wider_than_asked(void **state)
{
    static const struct {
        void (*size)(int, int, int, int *, int *);
        int width, height, most, expected[2];
    } cases[] = {
        {bs_canvas_size, 1920, 1080, 720, {720, 404}},      {bs_canvas_size, 427, 241, 720, {426, 240}},
        {bs_canvas_size, 1080, 1920, 0, {1080, 1920}},      {bs_canvas_size, 1, 1, 720, {2, 2}},
        {bs_canvas_size, 64, 20000, 720, {52, 16384}},      {bs_canvas_size, 20000, 40, 0, {16384, 32}},
        {bs_canvas_size_within, 360, 640, 320, {180, 320}}, {bs_canvas_size_within, 720, 404, 320, {320, 180}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int size[2];
        cases[i].size(cases[i].width, cases[i].height, cases[i].most, &size[0], &size[1]);
        assert_memory_equal(size, cases[i].expected, sizeof(size));
    }
}

static void a_frame_of_another_shape_is_fitted_and_the_skeleton_with_it(void **state)
{
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 100, 200, 0), *canvas;
    assert_int_equal(bs_video_frame_canvas(scaler, frame, 400, 200, &canvas, &err), BS_OK);
    bs_image image;
    assert_int_equal(bs_video_frame_image(scaler, canvas, &image, &err), BS_OK);
    assert_int_equal(image.data[0][100 * image.stride[0] + 20], 16);  /* a black bar */
    assert_int_equal(image.data[0][100 * image.stride[0] + 200], 60); /* the picture */
    bs_landmark landmark[BS_LANDMARKS] = {0};
    for (int i = 0; i < BS_LANDMARKS; i++)
        landmark[i] = (bs_landmark){.x = 0, .y = 0.5f, .visibility = 1};
    landmark[BS_LEFT_ANKLE].x = 1;
    bs_draw_skeleton(canvas, landmark, 0, 1);
    assert_int_equal(image.data[0][100 * image.stride[0] + 20], 16);      /* the bars stay black */
    assert_int_not_equal(image.data[0][100 * image.stride[0] + 150], 60); /* the picture's left edge has the joints */
    bs_video_frame_unref(&canvas);
    bs_video_frame_unref(&frame);
    bs_video_scaler_close(&scaler);
}

/* -- drawing ------------------------------------------------------------------------------------------- */

static void left_and_right_have_their_own_colours_and_the_unseen_fades(void **state)
{
    bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 320, 320, 0);
    const AVFrame *const p = frame->picture;
    bs_landmark landmark[BS_LANDMARKS] = {0};
    landmark[BS_LEFT_HIP] = (bs_landmark){.x = 0.75f, .y = 0.5f, .visibility = 1};
    landmark[BS_LEFT_KNEE] = (bs_landmark){.x = 0.75f, .y = 0.75f, .visibility = 1};
    landmark[BS_RIGHT_HIP] = (bs_landmark){.x = 0.25f, .y = 0.5f, .visibility = 1};
    landmark[BS_RIGHT_KNEE] = (bs_landmark){.x = 0.25f, .y = 0.75f, .visibility = 1};
    landmark[BS_RIGHT_ANKLE] = (bs_landmark){.x = 0.25f, .y = 0.95f, .visibility = 0.05f};
    landmark[BS_NOSE] = (bs_landmark){.x = NAN, .y = INFINITY, .visibility = 1};
    landmark[BS_LEFT_EAR] = (bs_landmark){.x = 1e30f, .y = -1e30f, .visibility = 1};
    landmark[BS_RIGHT_EAR] = (bs_landmark){.x = -7, .y = 7, .visibility = 1};
    bs_draw_skeleton(frame, landmark, 0, 1);
    const uint8_t left_cr = p->data[2][100 * p->linesize[2] + 120], right_cr = p->data[2][100 * p->linesize[2] + 40];
    assert_true(left_cr > 150);
    assert_true(right_cr < 110);
    assert_int_equal(p->data[0][275 * p->linesize[0] + 80], 60); /* towards an ankle that nobody can see */
    bs_video_frame_unref(&frame);
}

/* -- writing and reading back ---------------------------------------------------------------------------- */

static int memory_file(void)
{
    const int fd = memfd_create("bs-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int write_clip(const int64_t *times, int count)
{
    bs_error err = {0};
    const int fd = memory_file();
    const bs_video_info info = {.frame_rate = 25, .coded_height = 160};
    const bs_video_writer_options options = {.fd = fd, .width = 320, .height = 160, .info = &info};
    bs_video_writer *writer;
    assert_int_equal(bs_video_writer_open(&writer, &options, &err), BS_OK);
    for (int i = 0; i < count; i++) {
        bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 320, 160, times[i]);
        assert_int_equal(bs_video_writer_write(writer, frame, &err), BS_OK);
        bs_video_frame_unref(&frame);
    }
    assert_int_equal(bs_video_writer_finish(writer, true, &err), BS_OK);
    bs_video_writer_close(&writer);
    return fd;
}

static void a_written_video_has_its_index_first_and_its_own_times(void **state)
{
    int64_t times[90];
    for (int i = 0; i < 90; i++) /* uneven, with a gap of two seconds */
        times[i] = i * 33367 + (i % 7) * 1000 + (i > 60 ? 2000000 : 0);
    const int fd = write_clip(times, 90);

    uint8_t head[64];
    assert_int_equal(pread(fd, head, sizeof(head), 0), sizeof(head));
    assert_memory_equal(head + 4, "ftyp", 4);
    assert_memory_equal(head + AV_RB32(head) + 4, "moov", 4);

    bs_error err = {0};
    bs_video_reader *reader;
    const bs_video_reader_options options = {0};
    assert_int_equal(bs_video_reader_open(&reader, &(bs_input){.fd = fd, .name = "clip"}, &options, &err), BS_OK);
    const bs_video_info *const info = bs_video_reader_info(reader);
    assert_int_equal(info->frames, 90);
    assert_int_equal(info->start_us, 0);
    assert_true(llabs(info->duration_us - (times[89] + times[89] - times[88])) < 50);
    bs_video_frame *frame;
    int count = 0;
    while (bs_video_reader_read(reader, &frame, &err) == BS_OK) {
        assert_int_equal(frame->index, count);
        assert_true(llabs(frame->time_us - times[count]) <= 12); /* 1/90,000 s */
        assert_false(frame->damaged);
        bs_video_frame_unref(&frame);
        count++;
    }
    assert_int_equal(count, 90);
    assert_false(bs_video_reader_report_now(reader).truncated);
    bs_video_reader_close(&reader);
    close(fd);
}

/* AVI and Matroska may keep 64 KB of anything with MP3, which MP4 has no place for. */
static void what_a_container_keeps_with_mp3_stays_there(void **state)
{
    enum { LARGE = 60000 };
    bs_error err = {0};
    bs_mp4 *mp4;
    const int fd = memory_file();
    AVCodecParameters *sound = avcodec_parameters_alloc();
    assert_non_null(sound);
    sound->codec_type = AVMEDIA_TYPE_AUDIO;
    sound->codec_id = AV_CODEC_ID_MP3;
    sound->sample_rate = 44100;
    sound->extradata = av_mallocz(LARGE + AV_INPUT_BUFFER_PADDING_SIZE);
    sound->extradata_size = LARGE;
    assert_non_null(sound->extradata);
    memset(sound->extradata, 'A', LARGE);
    assert_int_equal(bs_mp4_open(&mp4, fd, &err), BS_OK);
    assert_int_equal(bs_mp4_set_sound(mp4, sound, &err), BS_OK);
    assert_int_equal(bs_mp4_write_sound(mp4, (const uint8_t *)"sound", 5, 0, &err), BS_OK);
    assert_int_equal(bs_mp4_finish(mp4, 0, 1152, &err), BS_OK);
    assert_true(lseek(fd, 0, SEEK_END) < 1000);
    bs_mp4_close(&mp4);
    avcodec_parameters_free(&sound);
    close(fd);
}

static int64_t time_of_sound(int64_t stamp, int64_t origin_us)
{
    bs_error err = {0};
    bs_sound *sound;
    AVCodecParameters *parameters = avcodec_parameters_alloc();
    AVPacket *packet = av_packet_alloc();
    assert_true(parameters && packet);
    assert_int_equal(bs_sound_open(&sound, parameters, (AVRational){1, 1000}, &err), BS_OK);
    bs_sound_set_origin(sound, origin_us, 0);
    packet->pts = stamp;
    assert_int_equal(bs_sound_push(sound, packet, &err), BS_OK);
    bs_sound_packet *item = bs_sound_take(sound, 0);
    assert_non_null(item);
    const int64_t time_us = item->time_us;
    bs_sound_packet_free(item);
    bs_sound_close(&sound);
    av_packet_free(&packet);
    avcodec_parameters_free(&parameters);
    return time_us;
}

static void a_stamp_of_sound_beyond_reason_is_none(void **state)
{
    assert_int_equal(time_of_sound(5040, 5000000), 40000);
    assert_int_equal(time_of_sound(4960, 5000000), -40000);
    assert_int_equal(time_of_sound(AV_NOPTS_VALUE, 5000000), BS_NO_TIME);
    assert_int_equal(time_of_sound(INT64_MAX - 1, 5000000), BS_NO_TIME); /* no int64_t of microseconds */
    assert_int_equal(time_of_sound(-INT64_MAX / 1000, INT64_MAX), BS_NO_TIME);
    assert_int_equal(time_of_sound(INT64_MAX / 2000, 0), BS_NO_TIME);
}

/* The second packet's time is reckoned from where the first one ends. */
static void sound_may_claim_to_last_for_ever(void **state)
{
    const int64_t durations[] = {INT64_MAX, INT64_MIN + 1, INT64_MAX / 2000, 20};
    AVCodecParameters *parameters = avcodec_parameters_alloc();
    AVPacket *packet = av_packet_alloc();
    assert_true(parameters && packet);
    for (size_t i = 0; i < sizeof(durations) / sizeof(*durations); i++) {
        bs_error err = {0};
        bs_sound *sound;
        assert_int_equal(bs_sound_open(&sound, parameters, (AVRational){1, 1000}, &err), BS_OK);
        bs_sound_set_origin(sound, 0, 0);
        for (int k = 0; k < 2; k++) {
            packet->pts = k * 20;
            packet->duration = durations[i];
            assert_int_equal(bs_sound_push(sound, packet, &err), BS_OK);
        }
        for (int k = 0; k < 2; k++) {
            bs_sound_packet *item = bs_sound_take(sound, 0);
            assert_non_null(item);
            assert_int_equal(item->time_us, k * 20000);
            bs_sound_packet_free(item);
        }
        bs_sound_close(&sound);
    }
    av_packet_free(&packet);
    avcodec_parameters_free(&parameters);
}

static void a_single_frame_is_a_video_too(void **state)
{
    const int64_t time = 0;
    const int fd = write_clip(&time, 1);
    bs_error err = {0};
    bs_video_info info;
    assert_int_equal(bs_probe(&(bs_input){.fd = fd}, &info, &err), BS_OK);
    assert_int_equal(info.frames, 1);
    assert_int_equal(info.width, 320);
    close(fd);
}

static void a_video_that_was_cut_off_gives_what_it_has_and_says_so(void **state)
{
    int64_t times[90];
    for (int i = 0; i < 90; i++)
        times[i] = i * 40000;
    const int fd = write_clip(times, 90);
    assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 300), 0);
    bs_error err = {0};
    bs_video_reader *reader;
    bs_video_frame *frame;
    assert_int_equal(
        bs_video_reader_open(&reader, &(bs_input){.fd = fd}, &(bs_video_reader_options){.threads = 2}, &err), BS_OK);
    while (bs_video_reader_read(reader, &frame, &err) == BS_OK)
        bs_video_frame_unref(&frame);
    const bs_video_reader_report report = bs_video_reader_report_now(reader);
    assert_true(report.truncated);
    assert_true(report.frames > 0 && report.frames < 91);
    bs_video_reader_close(&reader);
    close(fd);
}

static void check_still(bs_still_format format, const char *container)
{
    bs_error err = {0};
    bs_video_scaler *scaler;
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 322, 162, 0), *back;
    const void *data;
    size_t size;
    assert_int_equal(bs_video_frame_encode(scaler, frame, format, 90, 0, &data, &size, &err), BS_OK);
    const int fd = memory_file();
    assert_int_equal(write(fd, data, size), size);

    bs_video_reader *reader;
    assert_int_equal(bs_video_reader_open(&reader, &(bs_input){.fd = fd}, &(bs_video_reader_options){0}, &err), BS_OK);
    assert_true(bs_video_reader_info(reader)->photo);
    assert_string_equal(bs_video_reader_info(reader)->container, container);
    assert_int_equal(bs_video_reader_info(reader)->width, 322);
    assert_int_equal(bs_video_reader_read(reader, &back, &err), BS_OK);
    bs_image rgb;
    assert_int_equal(bs_video_frame_rgb(scaler, back, &rgb, &err), BS_OK);
    assert_true(rgb_at(&rgb, 0.1875, 0.1875)[1] > 235);
    assert_true(rgb_at(&rgb, 0.5, 0.7)[1] < 70);
    bs_video_frame_unref(&back);
    assert_int_equal(bs_video_reader_read(reader, &back, &err), BS_EOF);
    bs_video_reader_close(&reader);
    bs_video_frame_unref(&frame);
    bs_video_scaler_close(&scaler);
    close(fd);
}

/* A marker may have any number of 0xff in front of it. */
static void a_jpeg_s_fill_bytes_are_not_part_of_the_picture(void **state)
{
    enum { FILL = 5000 };
    bs_error err = {0};
    bs_video_scaler *scaler;
    const void *data;
    size_t size;
    uint8_t fill[FILL];
    memset(fill, 0xff, sizeof(fill));
    assert_int_equal(bs_video_scaler_open(&scaler, &err), BS_OK);
    bs_video_frame *frame = make_frame(AV_PIX_FMT_YUV420P, 64, 48, 0);
    assert_int_equal(bs_video_frame_encode(scaler, frame, BS_STILL_JPEG, 90, 0, &data, &size, &err), BS_OK);
    const int plain = memory_file(), filled = memory_file();
    assert_int_equal(write(plain, data, size), size);
    assert_int_equal(write(filled, data, 2), 2);
    assert_int_equal(write(filled, fill, FILL), FILL);
    assert_int_equal(write(filled, (const uint8_t *)data + 2, size - 2), size - 2);
    bs_photo_header header;
    assert_true(bs_photo_header_read(filled, (int64_t)size + FILL, &header));
    assert_int_equal(header.width, 64);
    assert_int_equal(bs_photo_bytes(filled, (int64_t)size + FILL), bs_photo_bytes(plain, (int64_t)size));
    close(plain);
    close(filled);
    bs_video_frame_unref(&frame);
    bs_video_scaler_close(&scaler);
}

static void stills_are_photos_that_can_be_read_again(void **state)
{
    check_still(BS_STILL_JPEG, "jpeg");
    check_still(BS_STILL_PNG, "png");
}

/* -- refusals -------------------------------------------------------------------------------------------- */

static bs_status probe_bytes(const void *data, size_t size, bs_error *err)
{
    const int fd = memory_file();
    assert_int_equal(write(fd, data, size), size);
    bs_video_info info;
    const bs_status status = bs_probe(&(bs_input){.fd = fd, .name = "upload"}, &info, err);
    close(fd);
    return status;
}

static void what_is_no_video_is_said_to_be_none(void **state)
{
    bs_error err = {0};
    bs_video_info info;
    assert_int_equal(bs_probe(&(bs_input){.path = "/nowhere/at/all.mp4", .fd = -1}, &info, &err), BS_ERR_INPUT);
    assert_int_equal(bs_probe(&(bs_input){.path = "/", .fd = -1}, &info, &err), BS_ERR_INPUT);
    assert_int_equal(bs_probe(&(bs_input){.path = "/dev/zero", .fd = -1}, &info, &err), BS_ERR_INPUT);
    assert_int_equal(probe_bytes("", 0, &err), BS_ERR_INPUT);
    assert_string_equal(err.text, "'upload' is empty");
    assert_int_equal(probe_bytes("hello, this is text\n", 20, &err), BS_ERR_INPUT);
}

static void nothing_that_points_elsewhere_is_followed(void **state)
{
    static const char *const pointers[] = {
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><Period/></MPD>",
        "<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"file:///etc/passwd\"/></svg>",
    };
    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
        bs_error err = {0};
        assert_int_equal(probe_bytes(pointers[i], strlen(pointers[i]), &err), BS_ERR_INPUT);
    }
}

static void claims_are_refused_before_memory_is_spent(void **state)
{
    bs_error err = {0};
    const uint8_t png[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02";
    assert_int_equal(probe_bytes(png, sizeof(png), &err), BS_ERR_LIMIT);
    assert_non_null(strstr(err.text, "60000 × 60000"));
    const uint8_t thin[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\xea\x60\x08\x02";
    assert_int_equal(probe_bytes(thin, sizeof(thin), &err), BS_ERR_LIMIT);
    assert_non_null(strstr(err.text, "1 × 60000 pixels; a side has at most 32767"));
    const uint8_t jpeg[32] = "\xff\xd8\xff\xc0\0\x11\x08\xea\x60\xea\x60\x03\x01\x22\0\x02\x11\x01\x03\x11\x01";
    assert_int_equal(probe_bytes(jpeg, sizeof(jpeg), &err), BS_ERR_LIMIT);
    const uint8_t mp4[40] = "\0\0\0\x10"
                            "ftypisom\0\0\2\0"
                            "\x7f\0\0\0"
                            "moov";
    assert_int_equal(probe_bytes(mp4, sizeof(mp4), &err), BS_ERR_LIMIT);
    assert_non_null(strstr(err.text, "header"));
}

static void closers_take_null_and_closed_things(void **state)
{
    bs_video_reader *reader = NULL;
    bs_video_writer *writer = NULL;
    bs_video_scaler *scaler = NULL;
    bs_video_frame *frame = NULL;
    bs_video_reader_close(&reader);
    bs_video_reader_close(NULL);
    bs_video_writer_close(&writer);
    bs_video_scaler_close(&scaler);
    bs_video_frame_unref(&frame);
    bs_video_frame_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_that_are_sane_pass_to_the_microsecond),
        cmocka_unit_test(a_missing_time_is_one_step_on),
        cmocka_unit_test(repeated_and_backward_times_move_no_other_frame),
        cmocka_unit_test(one_absurd_time_is_one_bad_stamp),
        cmocka_unit_test(a_new_timeline_goes_on_where_the_old_one_ended),
        cmocka_unit_test(any_times_come_out_ascending),
        cmocka_unit_test(every_orientation_comes_out_upright),
        cmocka_unit_test(display_matrices_are_the_orientations_they_do),
        cmocka_unit_test(pixels_that_are_not_square_become_so),
        cmocka_unit_test(every_pixel_format_gives_an_image),
        cmocka_unit_test(a_canvas_is_even_and_never_wider_than_asked),
        cmocka_unit_test(a_frame_of_another_shape_is_fitted_and_the_skeleton_with_it),
        cmocka_unit_test(left_and_right_have_their_own_colours_and_the_unseen_fades),
        cmocka_unit_test(a_written_video_has_its_index_first_and_its_own_times),
        cmocka_unit_test(what_a_container_keeps_with_mp3_stays_there),
        cmocka_unit_test(a_stamp_of_sound_beyond_reason_is_none),
        cmocka_unit_test(sound_may_claim_to_last_for_ever),
        cmocka_unit_test(a_single_frame_is_a_video_too),
        cmocka_unit_test(a_video_that_was_cut_off_gives_what_it_has_and_says_so),
        cmocka_unit_test(stills_are_photos_that_can_be_read_again),
        cmocka_unit_test(a_jpeg_s_fill_bytes_are_not_part_of_the_picture),
        cmocka_unit_test(what_is_no_video_is_said_to_be_none),
        cmocka_unit_test(nothing_that_points_elsewhere_is_followed),
        cmocka_unit_test(claims_are_refused_before_memory_is_spent),
        cmocka_unit_test(closers_take_null_and_closed_things),
    };
    return cmocka_run_group_tests_name("video", tests, NULL, NULL);
}
