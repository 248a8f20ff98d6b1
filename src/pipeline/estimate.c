/* The peak memory of a job, known from the video's header (see bodyscript/pipeline.h; docs/memory.md has the
 * measurements behind every number here).
 *
 * Nearly all of it is pictures: those that the decoder keeps to predict from, those on their way through the
 * pipeline (plan.h says how many), and those that the encoder looks ahead at. The rest is small or fixed: program
 * and libraries, the engine's arena, tables. A term is the most that its part was seen to take, so that the sum is
 * never below the peak; parts do not all peak at once, so that it is not far above it either.
 *
 * "Memory" is what is resident: anonymous pages, and those of files (code, weights) that a job keeps touching. Pages
 * that were only touched while the program was loaded are given back first (bs_memory_settle). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <bodyscript/pipeline.h>

#include "pipeline/estimate.h"
#include "pipeline/plan.h"
#include "video/reader.h"
#include "video/scale.h"

enum {
    KB = 1024,
    MB = 1024 * 1024,
    DEFAULT_THREADS = 2,
};

/* -- what a decoder keeps ------------------------------------------------------------------------------- */

enum decoder_traits {
    BY_REFERENCES = 1,   /* it is known how many pictures: reference_frames, and the current one */
    BY_REORDER = 2,      /* one picture less where nothing is reordered (no B pictures) */
    ALONE = 4,           /* does not decode several frames at once, whatever threads it is given */
    INTRA = 8,           /* packets are all of about one size */
    ONE_THREAD = 16,     /* is given no more: with several, libavcodec decodes some blocks wrongly, or nothing after the
                          * stream's headers are said anew (chained Ogg files); or of damaged streams takes much more
                          * memory, and gives other pictures each time (H.264 that is not of key frames alone) */
    IN_ROOTS = 32,       /* of N threads several share a frame: √N frames are decoded at once */
    OWN_TABLES = 64,     /* each thread has some of its own, however small the picture is */
    LOOKED_AHEAD = 128,  /* where frames are left out, packets are looked at before they are decoded */
    BY_SAMPLES = 256,    /* context is of each component's samples: measured at 4:2:0, 1.5 of them per pixel */
    BY_BYTES = 512,      /* … of each component's bytes: measured at 4:2:0 of 8 bits */
    IN_PACKET = 1024,    /* the picture is its packet, of which the demuxer's part has two where their size is known */
    ONE_TO_HD = 2048,    /* … is given one thread up to 1080p */
    SLICE_TABLES = 4096, /* each thread has some of its own, though all decode one frame */
};

/* Bytes = pictures × (picture + side × pixels) + context × pixels + fixed, and for a second frame thread, and each
 * later one, thread_pictures × (picture + side × pixels) + thread × pixels + fixed. Fitted to libavcodec 59 (Debian
 * 12), 240p to 4K, 8 and 10 bits: the two depths tell pictures and the rest apart. */
typedef struct decoder_model {
    const char *codec;
    int traits;
    float pictures; /* kept, the current one included, where the header does not tell */
    float side;     /* bytes per pixel beside each picture: motion vectors, block types */
    float context;  /* bytes per pixel once: line buffers, coefficients, tables */
    float thread_pictures, thread;
    float later_pictures, later; /* of a third thread and each one more; 0: as the second */
    int made_up; /* more pictures, of damaged streams, for references that are missing: one for every second at most.
                  * The reader lets them take no more (most_pictures) */
} decoder_model;

static const decoder_model decoder_models[] = {
    {"h264", BY_REFERENCES | OWN_TABLES | LOOKED_AHEAD | ONE_THREAD, 5, 0.57f, 0.77f, 1, 1.1f, 1, 1.5f, 2},
    {"hevc", BY_REFERENCES | OWN_TABLES | LOOKED_AHEAD | ONE_TO_HD, 7, 0.87f, 0.75f, 1, 1.5f, 0, 0, 1},
    {"av1", IN_ROOTS, 9.2f, 0, 1.8f, 5.5f, 3.7f}, /* dav1d; eight references */
    {"vp9", BY_REFERENCES | ALONE, 7, 0.30f, 0.40f, 0, 0},
    {"vp8", 0, 4, 0.05f, 0.10f, 1, 0.2f},
    {"mpeg1video", BY_REORDER | ALONE | SLICE_TABLES, 3, 0.30f, 0.40f, 0, 0},
    {"mpeg2video", BY_REORDER | ALONE | SLICE_TABLES, 3, 0.30f, 0.40f, 0, 0},
    {"mpeg4", BY_REORDER | ONE_THREAD, 4, 0.15f, 0.60f, 0, 0},
    {"flv1", ALONE, 2, 0, 1.7f, 0, 0},
    {"wmv1", ALONE, 2, 0, 1.7f, 0, 0},
    {"wmv2", ALONE, 2, 0, 1.7f, 0, 0},
    {"msmpeg4v2", ALONE, 2, 0, 1.9f, 0, 0},
    {"msmpeg4v3", ALONE, 2, 0, 1.9f, 0, 0},
    {"h261", ALONE, 2, 0, 2.5f, 0, 0},
    {"h263", ALONE, 2, 0, 3.0f, 0, 0},
    {"rv20", BY_REORDER | ALONE, 3, 0, 2.8f, 0, 0},
    {"theora", ONE_THREAD, 4, 0, 2.8f, 0, 0},
    {"snow", ALONE, 5, 0, 11.0f, 0, 0},
    {"svq1", ALONE, 2, 0, 0.4f, 0, 0},
    {"jpeg2000", INTRA | BY_SAMPLES, 1, 0, 9.6f, 1, 9.6f},
    /* VC-2, without prediction between pictures; where it is damaged some wait for their turn. */
    {"dirac", INTRA | ALONE | BY_BYTES, 2, 0, 3.6f, 0, 0},
    {"cfhd", INTRA, 1, 0, 11.5f, 1, 13.8f},
    {"prores", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"dnxhd", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"png", INTRA, 2, 0, 0.3f, 1, 0.3f},
    {"apng", 0, 2, 0, 0.1f, 1, 0.3f},
    {"huffyuv", INTRA | OWN_TABLES, 1, 0, 1.7f, 1, 5.0f},
    {"ffvhuff", INTRA | OWN_TABLES, 1, 0, 1.7f, 1, 5.0f},
    {"utvideo", INTRA, 1, 0, 0.3f, 1, 1.2f},
    {"ffv1", INTRA | ALONE, 2, 0, 0.3f, 0, 0},
    {"mjpeg", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"dvvideo", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"rawvideo", INTRA | ALONE | IN_PACKET, 1, 0, 0, 0, 0},
    {"webp", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"qtrle", ALONE, 1, 0, 0.1f, 0, 0},
    {"gif", ALONE, 1, 0, 0.1f, 0, 0},
    {"msvideo1", ALONE, 1, 0, 0.1f, 0, 0},
    {"cinepak", ALONE, 1, 0, 0.2f, 0, 0},
    {"rpza", ALONE, 1, 0, 0.1f, 0, 0},
    {"smc", ALONE, 1, 0, 0.1f, 0, 0},
    {"flashsv", ALONE, 1, 0, 0.3f, 0, 0},
    {"flashsv2", ALONE, 1, 0, 3.2f, 0, 0},
    {"zmbv", ALONE, 1, 0, 13.0f, 0, 0},
    {"zlib", INTRA, 1, 0, 3.0f, 1, 3.0f},
    {"v210", INTRA, 1, 0, 0.1f, 1, 0.1f},
    {"v410", INTRA, 1, 0, 0.1f, 1, 0.1f},
    {"magicyuv", INTRA, 1, 0, 0.2f, 1, 0.2f},
    {"hap", INTRA, 1, 0, 0.6f, 1, 0.6f},
    {"exr", INTRA, 1, 0, 0.4f, 1, 0.6f},
    {"tiff", INTRA, 1, 0, 0.4f, 1, 0.4f},
    {"jpegls", INTRA | ALONE, 1, 0, 1.5f, 0, 0},
    {"asv1", INTRA | ALONE, 1, 0, 0.2f, 0, 0},
    {"asv2", INTRA | ALONE, 1, 0, 0.2f, 0, 0},
    {"speedhq", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"r210", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"dpx", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"sgi", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
    {"targa", INTRA | ALONE, 1, 0, 0.1f, 0, 0},
};

/* Codecs that were not measured: like the older ones, which predict from one or two pictures. */
static const decoder_model other_decoder = {"", BY_REORDER | OWN_TABLES, 4, 0, 1.8f, 1, 1.8f};

static const decoder_model *model_of(const char *codec)
{
    for (size_t i = 0; i < sizeof(decoder_models) / sizeof(*decoder_models); i++)
        if (strcmp(decoder_models[i].codec, codec) == 0)
            return &decoder_models[i];
    return &other_decoder;
}

enum {
    DECODER_FIXED = 900 * KB, /* tables of coefficients and codes, parser, packets of small pictures */
    DECODER_THREAD = 4 * MB,  /* of the second frame thread: its heap and stack, and what real clips took beyond the
                               * synthetic ones of the fit (up to 3.4 MB at 1080p) */
    LEAST_THREAD = 1 * MB,    /* … of small pictures without prediction */
    LATER_THREAD = 400 * KB,  /* of each one more */
    LATER_TABLES = 800 * KB,  /* … and its tables */
};

/* Blocks of 16 × 16, as most decoders count; a row of them more for what lies around the picture. Rows have a least
 * length, which counts in pictures like 16 × 16,000. */
static uint64_t coded_pixels(const bs_video_info *info)
{
    enum { LEAST_ROW = 128 };
    const uint64_t most = 1 << 16; /* no decoder takes more; keeps the sums in range, whatever a header claims */
    uint64_t width = info->coded_width > 0 ? (uint64_t)info->coded_width : 0;
    uint64_t height = info->coded_height > 0 ? (uint64_t)info->coded_height : 0;
    width = ((width < most ? width : most) + 63) / 64 * 64;
    width = width < LEAST_ROW ? LEAST_ROW : width;
    height = ((height < most ? height : most) + 31) / 32 * 32;
    return width * (height + 16);
}

/* One decoded picture. Where the format is unknown until the first one comes: three components of two bytes. */
static uint64_t picture_bytes(const bs_video_info *info)
{
    const uint64_t most = coded_pixels(info) * 16;
    if (info->picture_bytes > 0)
        return (uint64_t)info->picture_bytes < most ? (uint64_t)info->picture_bytes : most;
    return coded_pixels(info) * 6;
}

/* More frames than this the video does not have: a clip of few never fills what could hold many. */
static float most_frames(const bs_video_info *info)
{
    enum { MANY = 100 };
    if (info->photo)
        return 1;
    return info->counted_frames > 0 ? (float)info->counted_frames : MANY;
}

static float at_most(float value, float most)
{
    return value < most ? value : most;
}

static float pictures_kept(const bs_video_info *info, const decoder_model *model)
{
    if (info->intra)
        return 1 + (float)(strcmp(model->codec, "h264") ? info->reorder_frames : 1); /* H.264: to conceal damage with */
    if ((model->traits & BY_REFERENCES) && info->reference_frames > 0) {
        const int references = info->reference_frames > info->reorder_frames ? info->reference_frames
                                                                             : info->reorder_frames;
        return (float)(references + 1);
    }
    if ((model->traits & IN_PACKET) && info->frames > 0)
        return 0;
    return model->pictures - ((model->traits & BY_REORDER) && info->reorder_frames == 0 ? 1.0f : 0.0f);
}

/* Bytes of context where the components have other sizes than in 4:2:0 of 8 bits, as a share of it. */
static double more_samples(const bs_video_info *info, const decoder_model *model)
{
    if (!(model->traits & (BY_SAMPLES | BY_BYTES)))
        return 1;
    const double bytes = info->bit_depth > 8 && model->traits & BY_SAMPLES ? 2 : 1;
    return (double)picture_bytes(info) / ((double)coded_pixels(info) * bytes * 1.5);
}

/* Where the headers of frames are damaged, libavcodec makes up pictures for the references that they name
 * (h264_field_start in h264_slice.c, generate_missing_ref in hevc_refs.c). */
static float pictures_made_up(const bs_video_info *info, const decoder_model *model, bool spare)
{
    const int pairs = info->reference_frames / 2;
    return info->intra || !spare ? 0 : (float)(pairs < model->made_up ? pairs : model->made_up);
}

/* That the reader lets the decoder hold: what is reckoned with. 0: where no damage makes it take more. */
static int most_pictures(const bs_video_info *info, int threads, bool spare)
{
    const decoder_model *model = model_of(info->codec);
    const bool known = model->made_up && info->reference_frames > 0 && !info->intra;
    return known ? (int)(pictures_kept(info, model) + pictures_made_up(info, model, spare)) + threads - 1 : 0;
}

static uint64_t file_bytes(const bs_video_info *info)
{
    return info->file_size > 0 ? (uint64_t)info->file_size : 0;
}

/* As many as the header says, but for those that are claimed and cannot be there. */
static uint64_t likely_frames(const bs_video_info *info)
{
    enum { UNKNOWN_FRAMES = 3000, LEAST_PACKET = 16 /* with what the container says of it */ };
    const uint64_t frames = info->frames > 0 ? (uint64_t)info->frames : UNKNOWN_FRAMES;
    const uint64_t most = file_bytes(info) / LEAST_PACKET + 1;
    return frames < most ? frames : most;
}

/* The largest packet; hardly more than the picture itself. Where no index tells it, against the mean one: a key frame,
 * unless all pictures stand alone. */
static uint64_t largest_packet(const bs_video_info *info)
{
    const uint64_t most = picture_bytes(info) / 5 * 6, mean = file_bytes(info) / likely_frames(info);
    uint64_t bytes = model_of(info->codec)->traits & INTRA ? mean + mean / 3 : mean * 6;
    if (info->largest_packet > 0)
        bytes = (uint64_t)info->largest_packet;
    return bytes < most ? bytes : most;
}

static uint64_t decoder_bytes(const bs_video_info *info, int threads, bool spare)
{
    const decoder_model *model = model_of(info->codec);
    const double pixels = (double)coded_pixels(info), most = (double)most_frames(info);
    const double tables = model->traits & SLICE_TABLES ? (threads - 1) * (double)LATER_TABLES : 0;
    if (model->traits & ALONE)
        threads = 1;
    /* Frames that are decoded at once beside the first: the second one, and later ones. */
    double at_once = model->traits & IN_ROOTS ? ceil(sqrt(threads)) : threads;
    at_once = at_once < most ? at_once : most;
    const double second = at_once > 1 ? 1 : 0, later = at_once > 2 ? at_once - 2 : 0;
    const double later_pictures = (double)(model->later_pictures > 0 ? model->later_pictures : model->thread_pictures);
    const double later_context = (double)(model->later > 0 ? model->later : model->thread);
    const double kept = (double)(pictures_kept(info, model) + pictures_made_up(info, model, spare));
    double pictures = kept + second * (double)model->thread_pictures + later * later_pictures;
    if (model->traits & INTRA) /* all threads decode on while the one that was given waits for its pose */
        pictures += second;
    pictures = pictures < most ? pictures : most;
    double bytes = pictures * ((double)picture_bytes(info) + pixels * (double)model->side) +
                   pixels * more_samples(info, model) *
                       ((double)model->context + second * (double)model->thread + later * later_context);
    if (model->traits & INTRA) /* those that wait for each later thread, which the demuxer's part does not have */
        bytes += later * 2 * (double)largest_packet(info);
    if (threads > 1) {
        const double least = LEAST_THREAD + pixels * 1.5;
        const bool small = model->traits & INTRA && least < DECODER_THREAD;
        bytes += (small ? least : DECODER_THREAD) + (threads - 2) * (double)LATER_THREAD;
    }
    if (model->traits & OWN_TABLES)
        bytes += later * LATER_TABLES;
    return (uint64_t)(bytes + tables) + DECODER_FIXED;
}

/* -- what an encoder keeps ------------------------------------------------------------------------------- */

/* libx264 as writer.c sets it, counted as it allocates (common/frame.c, common/macroblock.c; sizes and numbers of
 * frames were compared with a trace of what it allocates). A source frame is the picture and four shifted copies of
 * half its size, with what is known of each macroblock; a reference is the picture and its three half-pixel planes,
 * with motion vectors. Rows have a margin of 96 bytes and begin on 64, and are never a multiple of 1024 long, or 2048
 * of those of half size: that is what counts in narrow pictures. A margin above and below is of a reference alone (a
 * source frame has the address space, but nothing is written there). */
static uint64_t encoder_row(uint64_t width, uint64_t not_of)
{
    enum { MARGINS = 96, ALIGNED = 64 };
    const uint64_t row = (width + MARGINS + ALIGNED - 1) / ALIGNED * ALIGNED;
    return row % not_of ? row : row + ALIGNED;
}

static uint64_t encoder_bytes(int width, int height, int threads, int lean, float frames)
{
    /* Frames that are held: those looked ahead at, B pictures put aside, the one in each thread. */
    static const struct {
        uint8_t sources, references; /* and one more of each for each thread */
        uint8_t b_frames;            /* in a row, at most */
    } models[] = {{12, 4, 3}, {7, 4, 3}, {4, 2, 1}, {2, 1, 0}};
    /* FIXED: tables of motion costs; what was coded, in the smallest buffers for it. THREAD: its heap and stack. Of
     * each macroblock: CACHE of the picture that a thread codes, CODED at most of a row of it. */
    enum {
        FIXED = 1500 * KB,
        THREAD = 300 * KB,
        CACHE = 200,
        CODED = 2500,
        VERTICAL = 64,
        SOURCE = 16,
        REFERENCE = 74
    };
    const uint64_t w = (uint64_t)((width + 15) / 16 * 16), h = (uint64_t)((height + 15) / 16 * 16);
    const uint64_t b = models[lean].b_frames, blocks = w * h / 256, row = encoder_row(w, 1024);
    /* Vectors with their costs for each distance and direction, and the costs of a block between any two pictures. */
    const uint64_t guesses = 8 * (b + 1) * (b ? 2 : 1) + (b + 2) * (b + 3) + SOURCE;
    const uint64_t source = row * h * 3 / 2 + 4 * encoder_row(w / 2, 2048) * (h / 2 + VERTICAL) + blocks * guesses +
                            h / 16 * (b + 2) * (b + 2) * sizeof(int);
    const uint64_t reference = row * (h + VERTICAL) * 9 / 2 + blocks * (REFERENCE + (b ? 68 : 0));
    const float sources = at_most((float)(models[lean].sources + threads), frames);
    const float references = at_most((float)(models[lean].references + threads), frames);
    return FIXED + (uint64_t)(threads - 1) * THREAD + (uint64_t)threads * (blocks * CACHE + w / 16 * CODED) +
           source * (uint64_t)sources + reference * (uint64_t)references;
}

/* -- the other parts ---------------------------------------------------------------------------------------- */

/* Arena, plan and crops of the engine, and the weights that a job reads. Checked against bs_pose_memory by a test. */
static uint64_t model_bytes(bs_model_kind kind, bool frugal, uint64_t *weights)
{
    enum { FRUGAL_WEIGHTS_KB = 2 * 1024 }; /* those of a step or two, and what the kernel maps around them */
    static const struct {
        uint32_t arena_kb, weights_kb;
    } sizes[BS_MODEL_KINDS] = {[BS_MODEL_LITE] = {5900, 2760 + 2900},
                               [BS_MODEL_FULL] = {5100, 6290 + 2900},
                               [BS_MODEL_HEAVY] = {6000, 27060 + 2900}};
    *weights = (uint64_t)(frugal ? FRUGAL_WEIGHTS_KB : sizes[kind].weights_kb) * KB;
    return (uint64_t)sizes[kind].arena_kb * KB + *weights;
}

/* The demuxer's index, and the packets under way: a packet of a codec without prediction is nearly a picture. */
static uint64_t demuxer_bytes(const bs_video_info *info, bool leaves_out)
{
    enum { BASE = 1 * MB, TRANSPORT = 2 * MB, INDEX_ENTRY = 48 };
    const uint64_t frames = likely_frames(info), mean = file_bytes(info) / frames;
    const uint64_t packets = frames * (info->audio_streams > 0 ? 2 : 1);
    if (info->photo) /* one packet */
        return BASE + (info->packet_bytes > 0 ? (uint64_t)info->packet_bytes : file_bytes(info));
    const uint64_t most_ahead = leaves_out && model_of(info->codec)->traits & LOOKED_AHEAD ? BS_READER_AHEAD : 0;
    const uint64_t ahead = frames < most_ahead ? frames : most_ahead, most = picture_bytes(info) / 5 * 6 * ahead;
    uint64_t largest_ahead = mean * ahead;
    if (info->largest_packet > 0)
        largest_ahead = ahead ? (uint64_t)info->largest_packets : 0;
    /* What a transport stream holds is learnt from packets, some of which are decoded for it. */
    return BASE + (strcmp(info->container, "mpegts") ? 0 : TRANSPORT) + packets * INDEX_ENTRY +
           largest_packet(info) * 2 + (largest_ahead < most ? largest_ahead : most);
}

/* -- the sum --------------------------------------------------------------------------------------------- */

/* What may be turned down, from the most generous to the leanest. */
typedef struct leanness {
    bool frugal; /* short queues, weights dropped once they were used */
    int decoder_threads, encoder_threads, encoder_lean;
    bool no_spare; /* no room for pictures that the decoder makes up */
    int max_width; /* of the overlay; 0: as the options say */
} leanness;

static uint64_t canvas_bytes(int width, int height)
{
    const uint64_t luma = ((uint64_t)width + 63) / 64 * 64, chroma = ((uint64_t)width / 2 + 63) / 64 * 64;
    return (luma + chroma) * ((uint64_t)height + 1);
}

static bool makes_video(const bs_video_info *info, const bs_outputs *outputs)
{
    return !info->photo && (outputs->video_fd >= 0 || outputs->preview_fd >= 0);
}

/* swscale's rows and tables, and whole pictures where one must be converted as a whole: the exact path, photos,
 * saved frames, shapes that are not square. */
static uint64_t convert_bytes(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs)
{
    enum { TABLES = 1 * MB };
    uint64_t displayed = (uint64_t)(info->width > 0 ? info->width : 0) *
                         (uint64_t)(info->height > 0 ? info->height : 0);
    uint64_t bytes = TABLES + (uint64_t)(info->width > 0 ? info->width : 0) * 300;
    if (options->exact || info->photo)
        bytes += displayed * 3 + (info->orientation != BS_ORIENT_NORMAL ? picture_bytes(info) : 0);
    else if (info->sar_num != info->sar_den)
        bytes += displayed * 3;
    if (outputs->save_frame)
        bytes += displayed * (options->png ? 6 : 7); /* JPEG: its encoder keeps three pictures of its own */
    return bytes;
}

/* A decoder of sound and an encoder of AAC (src/video/recode.c), where the overlay cannot have the sound as it is: 2.1
 * to 2.4 MB were measured. */
static uint64_t recoder_bytes(const bs_video_info *info, const bs_outputs *outputs)
{
    static const char *const copied[] = {"", "aac", "mp3", "opus", "flac"};
    for (size_t i = 0; i < sizeof(copied) / sizeof(*copied); i++)
        if (strcmp(info->audio_codec, copied[i]) == 0)
            return 0;
    return outputs->video_fd >= 0 ? 5 * MB / 2 : 0;
}

/* The parts and their sum, for the settings and the overlay's size that `out` has. */
static void add_up(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                   bs_estimate_parts *out)
{
    /* CODE: of BASE, pages of program and libraries. */
    enum { BASE = 17 * MB, BASE_NO_VIDEO = 12 * MB, BASE_PHOTO = 25 * MB / 2, CODE = 10 * MB, LEAST = 27 * MB };
    int interval = bs_process_interval(options);
    bool video = makes_video(info, outputs);
    bs_estimate_parts parts = {.frugal = out->frugal,
                               .pose_queue = out->pose_queue,
                               .no_spare = out->no_spare,
                               .decoder_threads = out->decoder_threads,
                               .encoder_threads = out->encoder_threads,
                               .encoder_lean = out->encoder_lean,
                               .output_width = out->output_width,
                               .output_height = out->output_height};
    parts.base = info->photo ? BASE_PHOTO : video ? BASE : BASE_NO_VIDEO;
    uint64_t weights;
    parts.model = model_bytes(bs_process_model(options), parts.frugal, &weights);
    parts.shared = CODE + weights;
    parts.demuxer = demuxer_bytes(info, !video && interval > 1);
    parts.decoder = decoder_bytes(info, parts.decoder_threads, !parts.no_spare);
    parts.decoder_pictures = most_pictures(info, parts.decoder_threads, !parts.no_spare);
    float waiting = at_most((float)(bs_plan_source_frames(parts.pose_queue) - 1), most_frames(info) - 1);
    parts.frames = picture_bytes(info) * (uint64_t)waiting;
    parts.convert = convert_bytes(info, options, outputs);
    uint64_t canvas = canvas_bytes(parts.output_width, parts.output_height);
    if (video) {
        float canvases = at_most((float)bs_plan_canvas_frames(interval, parts.frugal), most_frames(info));
        parts.outputs = canvas * (uint64_t)canvases + 1 * MB + recoder_bytes(info, outputs);
        if (outputs->video_fd >= 0)
            parts.encoder += encoder_bytes(parts.output_width, parts.output_height, parts.encoder_threads,
                                           parts.encoder_lean, most_frames(info));
        if (outputs->preview_fd >= 0) {
            int width, height;
            bs_canvas_size_within(parts.output_width, parts.output_height, BS_PLAN_PREVIEW_SIDE, &width, &height);
            parts.encoder += encoder_bytes(width, height, 1, bs_plan_preview_lean(parts.encoder_lean),
                                           most_frames(info));
        }
    } else if (info->photo) {
        parts.outputs = canvas * 9 / 2; /* three pictures, and the largest file that one makes */
    }
    parts.total = parts.base + parts.model + parts.demuxer + parts.decoder + parts.frames + parts.convert +
                  parts.encoder + parts.outputs;
    if (parts.total < LEAST)
        parts.total = LEAST; /* what loading the program takes at its start */
    *out = parts;
}

/* Pictures that all stand alone take all about the same time: none has to wait. */
static int pose_queue(const bs_video_info *info, bool frugal)
{
    return bs_plan_pose_queue(frugal || model_of(info->codec)->traits & INTRA, picture_bytes(info));
}

static void add_up_lean(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                        const leanness *lean, bs_estimate_parts *out)
{
    bs_estimate_parts parts = {.frugal = lean->frugal,
                               .pose_queue = pose_queue(info, lean->frugal),
                               .no_spare = lean->no_spare,
                               .decoder_threads = lean->decoder_threads,
                               .encoder_threads = lean->encoder_threads,
                               .encoder_lean = lean->encoder_lean};
    (info->photo ? bs_photo_canvas_size : bs_canvas_size)(info->width, info->height,
                                                          lean->max_width > 0 ? lean->max_width : options->max_width,
                                                          &parts.output_width, &parts.output_height);
    add_up(info, options, outputs, &parts);
    *out = parts;
}

static int wanted_threads(const bs_video_info *info, const bs_process_options *options)
{
    return info->photo ? 1 : options->threads > 0 ? options->threads : DEFAULT_THREADS;
}

/* Where fields are pictures of their own, several threads of libavcodec take a frame's second one for damaged; of
 * interlaced MPEG-4, which no header tells, they get some blocks of B pictures wrong. Those of H.264 conceal damage
 * with what another has decoded by then, and each has a pool of motion vectors that grows with every picture made up,
 * as those of HEVC have: there it is worth it for large pictures alone, up to 1080p two are no faster. */
static int decoder_threads(const bs_video_info *info, const bs_process_options *options)
{
    enum { HD = 1920 * 1088 };
    const int traits = model_of(info->codec)->traits;
    const bool hd = (int64_t)info->coded_width * info->coded_height <= HD;
    const bool one = info->field_pictures || (traits & ONE_THREAD && !info->intra) || (traits & ONE_TO_HD && hd);
    return one ? 1 : wanted_threads(info, options);
}

/* What was turned down, in words. */
static void say_leanness(const leanness *lean, const bs_video_info *info, const bs_process_options *options,
                         const bs_outputs *outputs, bs_estimate_parts *parts)
{
    static const char *const look[] = {"", ", which looks less far ahead", ", which hardly looks ahead",
                                       ", which does not look ahead"};
    const bool video = makes_video(info, outputs);
    int n = snprintf(parts->lean, sizeof(parts->lean),
                     "to fit into %" PRIu64 " MB: short queues, weights read anew for each picture",
                     options->memory_limit / MB);
    if (lean->decoder_threads < decoder_threads(info, options))
        n += snprintf(parts->lean + n, sizeof(parts->lean) - (size_t)n, ", one thread for decoding");
    if (video && lean->encoder_lean)
        n += snprintf(parts->lean + n, sizeof(parts->lean) - (size_t)n, ", one for the encoder%s",
                      look[lean->encoder_lean]);
    if (lean->no_spare && pictures_made_up(info, model_of(info->codec), true) > 0)
        n += snprintf(parts->lean + n, sizeof(parts->lean) - (size_t)n, ", no pictures to spare for damaged frames");
    if (lean->max_width)
        snprintf(parts->lean + n, sizeof(parts->lean) - (size_t)n, ", an overlay %d pixels wide", parts->output_width);
}

/* The most generous settings that the limit allows, or the leanest ones: false. */
static bool fit(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                bs_estimate_parts *parts)
{
    enum { WIDTH_STEP = 16, LEAST_WIDTH = 160 };
    const int threads = wanted_threads(info, options), decoding = decoder_threads(info, options);
    const leanness steps[] = {
        {.frugal = false, decoding, threads, 0},
        {.frugal = true, decoding, threads, 0},
        {.frugal = true, decoding, 1, 1},
        {.frugal = true, 1, 1, 1},
        {.frugal = true, 1, 1, 2},
        {.frugal = true, 1, 1, 3},
        {.frugal = true, 1, 1, 3, .no_spare = true},
    };
    leanness lean = {0};
    bool fits = false;
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps) && !fits; i++) {
        lean = steps[i];
        add_up_lean(info, options, outputs, &lean, parts);
        fits = options->memory_limit == 0 || parts->total <= options->memory_limit;
    }
    for (int width = parts->output_width - WIDTH_STEP; width >= LEAST_WIDTH && !fits; width -= WIDTH_STEP) {
        lean.max_width = width;
        add_up_lean(info, options, outputs, &lean, parts);
        fits = parts->total <= options->memory_limit;
    }
    if (lean.frugal)
        say_leanness(&lean, info, options, outputs, parts);
    return fits;
}

/* What a job can do without, in the order in which it is missed. */
enum { SAVED_FRAMES = 1, EXACT = 2, LARGER_MODEL = 4, VIDEO = 8 };

static int luxuries(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs)
{
    return (outputs->save_frame ? SAVED_FRAMES : 0) | (options->exact && !info->photo ? EXACT : 0) |
           (bs_process_model(options) != BS_MODEL_LITE ? LARGER_MODEL : 0) | (makes_video(info, outputs) ? VIDEO : 0);
}

static bool fits_without(int what, const bs_video_info *info, const bs_process_options *options,
                         const bs_outputs *outputs, uint64_t *needs)
{
    bs_process_options less = *options;
    bs_outputs fewer = *outputs;
    bs_estimate_parts parts;
    if (what & SAVED_FRAMES)
        fewer.save_frame = NULL;
    if (what & EXACT)
        less.exact = false;
    if (what & LARGER_MODEL)
        less.model = BS_MODEL_LITE;
    if (what & VIDEO)
        fewer.video_fd = fewer.preview_fd = -1;
    const bool fits = fit(info, &less, &fewer, &parts);
    *needs = parts.total;
    return fits;
}

static void list_luxuries(int what, char *out, size_t capacity)
{
    static const struct {
        int what;
        const char *words;
    } all[] = {
        {LARGER_MODEL, "with --model lite"},
        {VIDEO, "without overlay and preview (--no-video)"},
        {SAVED_FRAMES, "without --save-frames"},
        {EXACT, "without --exact"},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        if (!(what & all[i].what))
            continue;
        what &= ~all[i].what;
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", !used ? "" : what ? ", " : " and ", all[i].words);
    }
}

/* What would do on the same video in the same memory; where nothing would, what comes nearest. "" where nothing helps.
 */
static void say_way_out(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                        uint64_t total, char *out, size_t capacity)
{
    static const int tries[] = {SAVED_FRAMES, EXACT, LARGER_MODEL, VIDEO, LARGER_MODEL | VIDEO, ~0};
    const int asked = luxuries(info, options, outputs);
    uint64_t needs, least = total - total / 20; /* what saves less is no way */
    bool fits = false;
    char list[128];
    *out = '\0';
    for (size_t i = 0; i < sizeof(tries) / sizeof(*tries) && !fits; i++) {
        const int what = tries[i] & asked;
        if (!what)
            continue;
        fits = fits_without(what, info, options, outputs, &needs);
        if (!fits && needs >= least)
            continue;
        least = needs - needs / 20;
        list_luxuries(what, list, sizeof(list));
        snprintf(out, capacity, "; %s%s it needs %" PRIu64 " MB", fits ? "" : "even ", list, (needs + MB - 1) / MB);
    }
}

bs_status bs_estimate(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                      bs_estimate_parts *out, bs_error *err)
{
    char way_out[192];
    const bs_status status = bs_process_options_check(options, err);
    if (status != BS_OK)
        return status;
    if (fit(info, options, outputs, out))
        return BS_OK;
    say_way_out(info, options, outputs, out->total, way_out, sizeof(way_out));
    return bs_fail(err, BS_ERR_LIMIT, "the job needs %" PRIu64 " MB of memory, there are %" PRIu64 " MB%s",
                   (out->total + MB - 1) / MB, options->memory_limit / MB, way_out);
}

bs_status bs_estimate_larger(const bs_video_info *info, const bs_process_options *options, const bs_outputs *outputs,
                             bs_estimate_parts *plan, bs_error *err)
{
    bs_estimate_parts parts = *plan;
    add_up(info, options, outputs, &parts);
    if (options->memory_limit > 0 && parts.total > options->memory_limit)
        return bs_fail(err, BS_ERR_LIMIT, "the job needs %" PRIu64 " MB of memory, there are %" PRIu64 " MB",
                       (parts.total + MB - 1) / MB, options->memory_limit / MB);
    if (parts.total > plan->total)
        plan->total = parts.total;
    return BS_OK;
}
