/* What a video or photo is, known from its header, and the memory that a job on it needs.
 *
 * Owner: all structs are plain data of the caller. Units: bytes, microseconds, pixels.
 * Threads: every call may be made from any thread. */
#ifndef BODYSCRIPT_VIDEO_H
#define BODYSCRIPT_VIDEO_H

#include <bodyscript/image.h>
#include <bodyscript/pose.h>
#include <bodyscript/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An input: a path, or an open descriptor of a regular file (fd >= 0; `name` then only serves messages).
 * The descriptor stays the caller's. */
typedef struct bs_input {
    const char *path;
    int fd;           /* -1: open `path` */
    const char *name; /* for messages; NULL: path */
} bs_input;

typedef struct bs_video_info {
    char container[32], codec[32], profile[32], pixel_format[32]; /* FFmpeg's names */
    bool photo;                                                   /* a single picture: JPEG, PNG, WebP */
    int coded_width, coded_height;                                /* as stored */
    int width, height;                                            /* as displayed: turned, square pixels */
    bs_orientation orientation;
    int sar_num, sar_den; /* sample aspect ratio of the stored picture; 1:1 where unknown */
    int bit_depth;
    bool full_range, hdr, interlaced;
    bool intra;          /* H.264 and HEVC of key frames alone */
    bool field_pictures; /* H.264 whose pictures may be single fields */
    bs_color_matrix matrix;
    int level, reference_frames; /* from the codec's header; 0 where unknown */
    int reorder_frames;          /* pictures that a decoder holds back to put them into order */
    int64_t picture_bytes;       /* of one decoded picture with its padding; 0 where the format is unknown */
    double frame_rate;           /* average; 0 where unknown */
    int64_t duration_us;         /* 0 where unknown */
    int64_t frames;              /* as the header or the duration tells; 0 where unknown */
    int counted_frames;          /* packets of a short video, below 100; 0: not counted */
    int64_t start_us;            /* presentation time of the first frame */
    int64_t file_size;
    int64_t packet_bytes;                    /* of a photo: what its decoder is given of the file; 0 for videos */
    int64_t largest_packet, largest_packets; /* bytes of the largest packet, and of the largest 20 in a row, where the
                                                container has an index of all; else 0 */
    int video_streams, audio_streams;
    char audio_codec[32]; /* "" where there is no sound */
} bs_video_info;

/* Reads the header (and as little more as that takes). BS_ERR_INPUT with a sentence where it is no usable
 * video or photo. Decodes at most what the demuxer needs to know the format. */
bs_status bs_probe(const bs_input *input, bs_video_info *out, bs_error *err);

#ifdef __cplusplus
}
#endif
#endif
