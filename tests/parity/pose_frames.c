/* pose_frames: raw frames on standard input through the pose engine, rows of pose_data.csv on standard output.
 *
 *     pose_frames --model full --size 640x360 --times FILE [options] < frames > rows
 *
 *   --format NAME     rgb24 (default) or the FFmpeg name of a layout in `formats` below
 *   --matrix NAME     bt601 (default), bt709, bt2020: of YUV;  --full-range: it is 0-255
 *   --times FILE      one time in microseconds a line, for each frame; without: static mode
 *   --no-smoothing, --people N, --mode NAME, --isa NAME, --masks PREFIX (PREFIX.NNNN.pgm, 0-255)
 *   --stages FILE     a line a frame: people, detector ran, score, regions, mean visibility, milliseconds
 *
 * Numbers are written with all their digits (%.9g): the comparison is with MediaPipe's last one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bodyscript/pose.h>

static const struct {
    const char *name;
    bs_color_model model;
    int shift_x, shift_y;
    struct {
        int step, down; /* bytes per sample of luma (or chroma) columns, and which shift applies */
    } plane[3];
    bs_component component[3];
} formats[] = {
    {"rgb24", BS_COLOR_RGB, 0, 0, {{3, 0}}, {{0, 3, 0, 0, 8}, {0, 3, 1, 0, 8}, {0, 3, 2, 0, 8}}},
    {"gray", BS_COLOR_GRAY, 0, 0, {{1, 0}}, {{0, 1, 0, 0, 8}}},
    {"yuv420p", BS_COLOR_YUV, 1, 1, {{1, 0}, {1, 1}, {1, 1}}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}},
    {"yuv422p", BS_COLOR_YUV, 1, 0, {{1, 0}, {1, 1}, {1, 1}}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}},
    {"yuv444p", BS_COLOR_YUV, 0, 0, {{1, 0}, {1, 1}, {1, 1}}, {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}}},
    {"nv12", BS_COLOR_YUV, 1, 1, {{1, 0}, {2, 1}}, {{0, 1, 0, 0, 8}, {1, 2, 0, 0, 8}, {1, 2, 1, 0, 8}}},
    {"yuv420p10le",
     BS_COLOR_YUV,
     1,
     1,
     {{2, 0}, {2, 1}, {2, 1}},
     {{0, 2, 0, 0, 10}, {1, 2, 0, 0, 10}, {2, 2, 0, 0, 10}}},
    {"p010le", BS_COLOR_YUV, 1, 1, {{2, 0}, {4, 1}}, {{0, 2, 0, 6, 10}, {1, 4, 0, 6, 10}, {1, 4, 2, 6, 10}}},
};
enum { FORMATS = sizeof(formats) / sizeof(formats[0]) };

typedef struct arguments {
    const char *model, *format, *times, *stages, *masks, *matrix;
    bool full_range;
    int width, height;
    bs_pose_options options;
} arguments;

static void die(const char *what)
{
    fprintf(stderr, "pose_frames: %s\n", what);
    exit(2);
}

/* The index of `name` among what `name_of` gives for 0 … count - 1. */
static int index_of(const char *name, const char *(*name_of)(unsigned), int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(name, name_of((unsigned)i)))
            return i;
    die("an unknown name");
    return 0;
}

static const char *model_of(unsigned i)
{
    return bs_model_name((bs_model_kind)i);
}

static const char *mode_of(unsigned i)
{
    return bs_mode_name((bs_mode)i);
}

static const char *format_of(unsigned i)
{
    return formats[i].name;
}

static const char *matrix_of(unsigned i)
{
    static const char *const names[] = {"bt601", "bt709", "bt2020"};
    return names[i];
}

static arguments parse(int argc, char **argv)
{
    arguments a = {.model = "full", .format = "rgb24", .matrix = "bt601", .options = bs_pose_defaults()};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (!strcmp(name, "--full-range")) {
            a.full_range = true;
            continue;
        }
        if (!strcmp(name, "--no-smoothing")) {
            a.options.smooth_landmarks = false;
            continue;
        }
        if (++i == argc)
            die("a value is missing");
        const char *value = argv[i];
        if (!strcmp(name, "--model"))
            a.options.model_complexity = index_of(value, model_of, BS_MODEL_KINDS);
        else if (!strcmp(name, "--mode"))
            a.options.mode = (bs_mode)index_of(value, mode_of, 4);
        else if (!strcmp(name, "--size"))
            sscanf(value, "%dx%d", &a.width, &a.height);
        else if (!strcmp(name, "--format"))
            a.format = value;
        else if (!strcmp(name, "--matrix"))
            a.matrix = value;
        else if (!strcmp(name, "--times"))
            a.times = value;
        else if (!strcmp(name, "--stages"))
            a.stages = value;
        else if (!strcmp(name, "--masks"))
            a.masks = value;
        else if (!strcmp(name, "--people"))
            a.options.num_people = atoi(value);
        else if (!strcmp(name, "--isa"))
            a.options.isa = value;
        else
            die("an unknown option");
    }
    a.options.static_image_mode = !a.times;
    a.options.enable_segmentation = a.masks != NULL;
    if (a.width < 1 || a.height < 1)
        die("--size WxH is missing");
    return a;
}

/* Describes one frame of the format whose planes follow each other at `pixels`. Returns its bytes. */
static size_t describe(const arguments *a, const uint8_t *pixels, bs_image *image)
{
    const int f = index_of(a->format, format_of, FORMATS);
    size_t at = 0;
    *image = (bs_image){.width = a->width,
                        .height = a->height,
                        .model = formats[f].model,
                        .chroma_shift_x = (uint8_t)formats[f].shift_x,
                        .chroma_shift_y = (uint8_t)formats[f].shift_y,
                        .full_range = a->full_range || formats[f].model != BS_COLOR_YUV,
                        .matrix = (bs_color_matrix)index_of(a->matrix, matrix_of, 3)};
    memcpy(image->component, formats[f].component, sizeof(image->component));
    for (int p = 0; p < 3 && formats[f].plane[p].step; p++) {
        const int sx = formats[f].plane[p].down ? formats[f].shift_x : 0;
        const int sy = formats[f].plane[p].down ? formats[f].shift_y : 0;
        const int columns = (a->width + (1 << sx) - 1) >> sx, rows = (a->height + (1 << sy) - 1) >> sy;
        image->data[p] = pixels ? pixels + at : NULL;
        image->stride[p] = (ptrdiff_t)columns * formats[f].plane[p].step;
        at += (size_t)image->stride[p] * (size_t)rows;
    }
    return at;
}

static void write_rows(int frame, int64_t time_us, const bs_pose_result *r)
{
    for (int p = 0; p < (r->people ? r->people : 1); p++) {
        for (int k = 0; k < BS_LANDMARKS; k++) {
            printf("%d,%.6f,%d,%d,%s,", frame, (double)time_us * 1e-6, r->people ? r->person[p].id : 0, k,
                   bs_landmark_name(k));
            if (r->people) {
                const bs_landmark *l = &r->person[p].landmark[k];
                const bs_world_landmark *w = &r->person[p].world[k];
                printf("%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%s,%s\n", l->x, l->y, l->z, l->visibility, l->presence,
                       w->x, w->y, w->z, bs_strategy_name(r->person[p].strategy),
                       bs_person_status_name(r->person[p].status));
            } else {
                printf(",,,,,,,,original,missing\n");
            }
        }
    }
}

static void write_stages(FILE *file, int frame, const bs_pose_result *r, double ms)
{
    const bs_person *p = &r->person[0];
    double visibility = 0;
    for (int k = 0; k < BS_LANDMARKS; k++)
        visibility += p->landmark[k].visibility / BS_LANDMARKS;
    fprintf(file, "%d,%d,%d,%.3f", frame, r->people, r->detector_ran, ms);
    if (r->people)
        fprintf(file, ",%s,%.4f,%.4f,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g",
                bs_strategy_name(p->strategy), visibility, p->presence, p->detection_score, p->roi.x_center,
                p->roi.y_center, p->roi.width, p->roi.height, p->roi.rotation, p->next_roi.x_center,
                p->next_roi.y_center, p->next_roi.width, p->next_roi.height, p->next_roi.rotation);
    fputc('\n', file);
}

static void write_mask(const char *prefix, int frame, const float *mask, int width, int height)
{
    char path[4096];
    if (!mask)
        return;
    snprintf(path, sizeof(path), "%s.%04d.pgm", prefix, frame);
    FILE *file = fopen(path, "wb");
    if (!file)
        die("cannot write a mask");
    fprintf(file, "P5 %d %d 255\n", width, height);
    for (int i = 0; i < width * height; i++)
        fputc((int)fmin(fmax(rint(mask[i] * 255.0f), 0), 255), file);
    fclose(file);
}

static double milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int main(int argc, char **argv)
{
    const arguments a = parse(argc, argv);
    bs_error err = {0};
    bs_models *models = NULL;
    bs_pose *pose = NULL;
    FILE *times = a.times ? fopen(a.times, "r") : NULL, *stages = a.stages ? fopen(a.stages, "w") : NULL;
    bs_image image;
    const size_t size = describe(&a, NULL, &image);
    uint8_t *pixels = malloc(size);
    static bs_pose_result result;
    int status = 1;
    if (!pixels || (a.times && !times) || (a.stages && !stages))
        die("cannot open a file, or no memory");
    if (bs_models_open(&models, NULL, BS_MODEL_BIT(a.options.model_complexity), &err) < 0 ||
        bs_pose_open(&pose, models, &a.options, &err) < 0)
        goto out;
    fprintf(stderr, "isa %s memory %zu\n", bs_pose_isa(pose), bs_pose_memory(pose));
    printf("frame_id,timestamp,person_id,landmark_id,landmark_name,x,y,z,visibility,presence,world_x,world_y,world_z,"
           "strategy,status\n");
    for (int frame = 0; fread(pixels, 1, size, stdin) == size; frame++) {
        long long time_us = 0;
        if (times && fscanf(times, "%lld", &time_us) != 1)
            die("more frames than times");
        describe(&a, pixels, &image);
        const double start = milliseconds();
        if (bs_pose_process(pose, &image, time_us, &result, &err) < 0)
            goto out;
        const double ms = milliseconds() - start;
        write_rows(frame, time_us, &result);
        if (stages)
            write_stages(stages, frame, &result, ms);
        if (a.masks)
            write_mask(a.masks, frame, bs_pose_segmentation_mask(pose), a.width, a.height);
    }
    status = 0;
out:
    if (status)
        fprintf(stderr, "pose_frames: %s\n", err.text);
    bs_pose_close(&pose);
    bs_models_close(&models);
    free(pixels);
    if (times)
        fclose(times);
    if (stages)
        fclose(stages);
    return status;
}
