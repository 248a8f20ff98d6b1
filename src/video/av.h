/* What the files of src/video share: libav's log and errors in the project's terms, and an opened input.
 * Inner header: libav types are welcome here. */
#ifndef BS_VIDEO_AV_H
#define BS_VIDEO_AV_H

#include <stdatomic.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/pixdesc.h>

#include <bodyscript/video.h>

/* -- log and errors (av.c) ------------------------------------------------------------------------ */

/* Sends libav's messages to bs_log (debug), from the first call on. Every open function calls it. */
void bs_av_log_setup(void);

/* Fills `err` with the sentence and, where libav said something on this thread since bs_av_forget_error(),
 * its last error; else with what `code` (an AVERROR) means. Out of memory becomes BS_ERR_NOMEM. */
bs_status bs_av_fail(bs_error *err, bs_status status, int code, const char *format, ...) BS_PRINTF(4, 5);
void bs_av_forget_error(void);

/* -- an opened input (input.c) --------------------------------------------------------------------- */

enum {
    BS_MAX_STREAMS = 128,                /* of one file */
    BS_MAX_HIDDEN = 64,                  /* parts of a file that the demuxer is kept from */
    BS_MAX_HEADER_BYTES = 64 << 20,      /* read at most to know what a file is */
    BS_MAX_VIDEO_PIXELS = 8192 * 8192,   /* of one coded picture of a video, unless options say otherwise */
    BS_MAX_SIDE = 32767,                 /* pixels, stored and shown */
    BS_MAX_PHOTO_PIXELS = 16000 * 16000, /* libav itself ends at 16,384 × 16,384 */
};

/* Bytes that are read in place of the file's own. */
typedef struct bs_av_hidden {
    int64_t at;
    int size;
    uint8_t bytes[12];
} bs_av_hidden;

typedef struct bs_av_input {
    char name[256]; /* for messages */
    int fd;         /* owned where own_fd */
    bool own_fd;
    int64_t size, position; /* of the file; where the next read begins */
    int64_t budget;      /* bytes that may still be read until the header or the next packet is found; < 0: no bound */
    atomic_bool stopped; /* by another thread, or by `grown`: nothing more is read */
    bs_status (*grown)(void *opaque, bs_error *err); /* asked for every megabyte that is read; NULL: nobody is */
    void *opaque;
    int64_t unasked;  /* bytes read since */
    int64_t until_us; /* of this thread's CPU time: so long headers are read; 0: no bound, or it was reached */
    bool slow;        /* it was */
    bs_error error;   /* what it said */
    bs_av_hidden hidden[BS_MAX_HIDDEN];
    int hidden_count;
    int read_error; /* errno of a failed read, 0 */
    AVIOContext *io;
    AVFormatContext *format; /* NULL for a photo */
    int video, audio;        /* chosen streams, -1: none */
    bs_video_info info;
    enum AVCodecID photo_codec;
} bs_av_input;

/* Opens, checks what the headers claim, chooses streams (all others are discarded) and fills info. The struct
 * must stay where it is until it is closed: the AVIOContext points to it. */
bs_status bs_av_input_open(bs_av_input *in, const bs_input *input, int64_t max_pixels, bs_error *err);
void bs_av_input_close(bs_av_input *in);

/* BS_ERR_LIMIT where a side of what is shown is too long: pixels that are not square make it up to four times as long.
 */
bs_status bs_av_check_shown(const bs_av_input *in, int width, int height, bs_error *err);

/* A stream without a container is all packets, and a parser gathers until one ends; a container may hold other things
 * in between. */
bool bs_av_input_is_raw(const bs_av_input *in);

/* A photo as one packet: what its decoder needs of the file. */
bs_status bs_av_input_read_all(bs_av_input *in, AVPacket *packet, bs_error *err);

/* -- few bytes of a file at a time (window.c) ------------------------------------------------------- */

/* `size` bytes from `at` on; false where there are fewer, and where the file cannot be read. */
bool bs_read_at(int fd, int64_t at, void *out, size_t size);

/* The same through a small window, for whoever goes along a file: one system call for 4 KB. A read is of 16 bytes at
 * most. */
typedef struct bs_window {
    int fd;
    int64_t from, filled;
    uint8_t bytes[4096];
} bs_window;

bool bs_window_read(bs_window *window, int64_t at, void *out, size_t size);

/* Whether the code of four letters is among those that stand one behind the other in `types`. */
bool bs_is_one_of(const uint8_t type[4], const char *types);

/* -- what headers claim (claims.c) ------------------------------------------------------------------ */

/* Refuses what the header of an ISO or Matroska file claims beyond reason (BS_ERR_LIMIT), and fills in->hidden with
 * what is long and not needed. */
bs_status bs_av_check_claims(bs_av_input *in, bs_error *err);

/* `bytes` were read from the file at `from`: what is to be hidden in them is. */
void bs_av_apply_hidden(const bs_av_input *in, int64_t from, uint8_t *bytes, int64_t size);

/* -- what pictures are (pixels.c) ------------------------------------------------------------------- */

/* The displayed shape of width × height stored pixels. Sample aspect ratios beyond 1:4 and 4:1 are taken for 1:1. */
void bs_displayed_size(int width, int height, AVRational sar, bs_orientation orientation, int *displayed_width,
                       int *displayed_height);
AVRational bs_sane_sar(AVRational sar);

bs_orientation bs_orientation_of_matrix(const int32_t matrix[9]);
bs_color_matrix bs_matrix_of(enum AVColorSpace space);
bool bs_is_full_range(enum AVPixelFormat format, enum AVColorRange range);

/* Memory of one decoded picture: decoders round it up to whole blocks, of 64 × 64 pixels at most, and libavcodec to
 * rows of 64 bytes of the narrowest component (update_frame_pool in get_buffer.c). 0 where the format is unknown. */
int64_t bs_picture_bytes(enum AVPixelFormat format, int width, int height);

/* The orientation that a decoded frame carries is kept in AVFrame.opaque, by these. */
void bs_frame_set_orientation(AVFrame *frame, bs_orientation orientation);
bs_orientation bs_frame_orientation(const AVFrame *frame);

/* Fills `out` from the frame; false where a bs_image cannot describe its pixel format. */
bool bs_describe(const AVFrame *frame, bs_image *out);

/* Whether bs_turn_planes() can turn the format: every component in a plane of its own, and rows like columns. */
bool bs_format_turns(enum AVPixelFormat format, bs_orientation orientation);
/* Turns all planes of `from` into `to`, which has its format and the turned size, and buffers of its own. */
void bs_turn_planes(const AVFrame *from, AVFrame *to, bs_orientation orientation);
/* The same for RGB24, whose one plane holds whole pixels. */
void bs_turn_rgb24(const AVFrame *from, AVFrame *to, bs_orientation orientation);

/* -- photos (photo.c) --------------------------------------------------------------------------------- */

typedef struct bs_photo_header {
    enum AVCodecID codec;
    const char *container;
    int width, height, bit_depth;
    enum AVPixelFormat format; /* what libavcodec will give; a good guess */
    int exif_orientation;      /* 1–8 */
    bool animated;             /* several pictures, which make a video */
    int scans;                 /* of a JPEG: how often its decoder goes through the picture */
} bs_photo_header;

/* Reads the header of a JPEG, PNG or WebP file. False where it is none, or damaged. */
bool bs_photo_header_read(int fd, int64_t size, bs_photo_header *out);

/* A photo's file is parts: chunks of PNG and WebP, segments of JPEG, whose last one is the pixels. Kept are those that
 * make the picture; texts and profiles, which may unpack to gigabytes, and what comes after the picture are not. Of a
 * damaged file the rest is one part that is kept. */
typedef struct bs_photo_part {
    int64_t at, size; /* size 0: there are no more */
    bool kept, last;  /* last: what follows is not the picture's */
    uint8_t kind;     /* the file's first byte */
} bs_photo_part;

bs_photo_part bs_photo_first_part(bs_window *window, int64_t size);
bs_photo_part bs_photo_next_part(bs_window *window, int64_t size, bs_photo_part part);

int64_t bs_photo_bytes(int fd, int64_t size); /* of all kept parts */

/* The name of a kind of picture that cannot be read, by the file's first bytes; NULL where it is none. */
const char *bs_photo_kind(int fd);

/* Where the JPEG picture that begins at `from` is over, behind its end marker; -1: the file ends before that. Others
 * follow in trailers and lie in thumbnails: those are stepped over with the segment that holds them. Source: ITU-T
 * T.81, annex B. */
int64_t bs_jpeg_end(int fd, int64_t from, int64_t size);

/* -- parameter sets of H.264 and HEVC (parameter_sets.c) --------------------------------------------- */

/* What a sequence parameter set says. */
typedef struct bs_sequence {
    int references;  /* pictures that a decoder must hold (H.264: max_num_ref_frames; HEVC: max_dec_pic_buffering) */
    int layers;      /* temporal ones, of HEVC */
    bool fields;     /* of H.264: a picture may be one field of a frame */
    int number_bits; /* of H.264: of the number that stands before a slice says whether it is of a field */
    bool planes;     /* of H.264: each slice is of one colour, and says of which before that */
    bool order_told; /* it says how many pictures are held back to be put into order */
    bool intra;      /* no picture refers to another: of H.264 it says so, of HEVC its profile does */
} bs_sequence;

/* Of one NAL unit, which begins with its header. */
void bs_sequence_read(const uint8_t *nal, size_t size, bool hevc, bs_sequence *out);

/* Whether a slice of H.264, a NAL unit of kind 1, 2 or 5, is of one field of a frame. */
bool bs_slice_is_field(const uint8_t *nal, size_t size, const bs_sequence *sequence);

/* Of the first set in the stream's header; false, and zeros, where there is none. */
bool bs_sequence_first(const AVCodecParameters *parameters, bs_sequence *out);

/* How many pictures a VP9 stream has a decoder keep, which no header tells: what its frames say of the eight slots is
 * followed. Begins as zeros. */
typedef struct bs_vp9_slots {
    int slot[8]; /* number of the frame in it, from 1 on */
    int frames, most;
} bs_vp9_slots;

void bs_vp9_packet(bs_vp9_slots *slots, const uint8_t *data, size_t size);

/* -- cut files (cut.c) --------------------------------------------------------------------------------- */

/* Whether a file is shorter than it says of itself, or its last packet is: MP4, MOV, Matroska, WebM, AVI, ASF, FLV,
 * transport and program streams, Ogg, GIF, JPEG, motion JPEG, DV, YUV4MPEG2, MXF, GXF, RoQ, AMV, Dirac. */
bool bs_file_is_cut(int fd, int64_t size);

#endif
