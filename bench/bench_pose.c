/* bench_pose: milliseconds of one tracked frame of the pose engine, alone: no decoding, no drawing.
 *
 *     ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 - | bench_pose MODEL ISA THREADS WIDTH HEIGHT rgb24|yuv420p
 *
 * Reads all frames first (a bench may hold them, the product never does), then times every bs_pose_process. The clock
 * between frames is that of a 30-frames-a-second video, as MediaPipe's Pose.process() assumes. One line of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bodyscript/bodyscript.h>

/* On one thread its own processor time: what others do on this machine is not in it. */
static double now(int threads)
{
    struct timespec t;
    clock_gettime(threads > 1 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int die(const char *what)
{
    fprintf(stderr, "bench_pose: %s\n", what);
    return 1;
}

/* Everything on standard input; NULL where memory ends. */
static unsigned char *read_all(size_t *size)
{
    size_t capacity = 1 << 24, used = 0, n;
    unsigned char *data = malloc(capacity);
    while (data && (n = fread(data + used, 1, capacity - used, stdin)) > 0) {
        used += n;
        if (used == capacity) {
            unsigned char *larger = realloc(data, capacity *= 2);
            if (!larger)
                free(data);
            data = larger;
        }
    }
    *size = used;
    return data;
}

static bs_image yuv420p(const unsigned char *p, int width, int height)
{
    int cw = (width + 1) / 2, ch = (height + 1) / 2;
    const unsigned char *u = p + (size_t)width * height, *v = u + (size_t)cw * ch;
    return (bs_image){.width = width,
                      .height = height,
                      .data = {p, u, v},
                      .stride = {width, cw, cw},
                      .model = BS_COLOR_YUV,
                      .component = {{0, 1, 0, 0, 8}, {1, 1, 0, 0, 8}, {2, 1, 0, 0, 8}},
                      .chroma_shift_x = 1,
                      .chroma_shift_y = 1};
}

/* Times every frame, the first included, on which the detector runs; prints the line. */
static bs_status time_frames(bs_pose *pose, const unsigned char *data, size_t frames, size_t frame_size, int width,
                             int height, bool yuv, int threads, bs_error *err)
{
    size_t found = 0, detector = 0;
    static bs_pose_result result;
    printf("{\"ms\": [");
    for (size_t i = 0; i < frames; i++) {
        const unsigned char *p = data + i * frame_size;
        bs_image image = yuv ? yuv420p(p, width, height) : bs_image_rgb24(p, width, height, (ptrdiff_t)width * 3);
        double start = now(threads);
        bs_status status = bs_pose_process(pose, &image, (int64_t)(i + 1) * 33333, &result, err);
        if (status != BS_OK)
            return status;
        printf("%s%.4f", i ? ", " : "", (now(threads) - start) * 1e3);
        found += result.people > 0;
        detector += result.detector_ran;
    }
    printf("], \"frames\": %zu, \"found\": %zu, \"detector\": %zu, \"isa\": \"%s\", \"memory\": %zu}\n", frames, found,
           detector, bs_pose_isa(pose), bs_pose_memory(pose));
    return BS_OK;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return die("usage: bench_pose lite|full|heavy ISA|- THREADS WIDTH HEIGHT rgb24|yuv420p < frames");
    int kind = 0, width = atoi(argv[4]), height = atoi(argv[5]);
    while (kind < BS_MODEL_KINDS && strcmp(argv[1], bs_model_name(kind)) != 0)
        kind++;
    if (kind == BS_MODEL_KINDS || width < 1 || height < 1 || width > 16384 || height > 16384)
        return die("no such model or size");
    bool yuv = !strcmp(argv[6], "yuv420p");
    size_t chroma = (size_t)((width + 1) / 2) * ((height + 1) / 2), area = (size_t)width * height, size;
    size_t frame_size = yuv ? area + 2 * chroma : area * 3;
    unsigned char *data = read_all(&size);
    bs_models *models = NULL;
    bs_pose *pose = NULL;
    bs_error err = {0};
    bs_pose_options options = bs_pose_defaults();
    options.model_complexity = kind;
    options.threads = atoi(argv[3]);
    options.isa = strcmp(argv[2], "-") ? argv[2] : NULL;
    bs_status status = data ? BS_OK : bs_fail(&err, BS_ERR_NOMEM, "not enough memory for the frames");
    if (status == BS_OK)
        status = bs_models_open(&models, NULL, BS_MODEL_BIT(kind), &err);
    if (status == BS_OK)
        status = bs_pose_open(&pose, models, &options, &err);
    if (status == BS_OK)
        status = time_frames(pose, data, size / frame_size, frame_size, width, height, yuv, options.threads, &err);
    if (status != BS_OK)
        die(err.text);
    bs_pose_close(&pose);
    bs_models_close(&models);
    free(data);
    return bs_exit_code(status);
}
