/* Video and photo files in: container, decoder, and time stamps that can be trusted.
 *
 *     bs_video_reader *reader;
 *     bs_video_reader_open(&reader, &input, &options, &err);
 *     while ((status = bs_video_reader_read(reader, &frame, &err)) == BS_OK) {
 *         use(frame);
 *         bs_video_frame_unref(&frame);
 *     }                                       // BS_EOF: the regular end, also of a damaged file
 *     bs_video_reader_close(&reader);
 *
 * The input is read through one descriptor with pread and nothing else is ever opened: no other file, no
 * playlist, no network, whatever the media file says. Sizes that its headers claim are checked before
 * memory is spent on them.
 * Memory: what the decoder needs; of the demuxer's index libavformat keeps about 24 bytes per packet.
 * Threads: a reader is used by one thread at a time; its bs_sound by one other at the same time. */
#ifndef BS_VIDEO_READER_H
#define BS_VIDEO_READER_H

#include <bodyscript/video.h>

#include "frame.h"

typedef struct bs_video_reader bs_video_reader;

/* The compressed sound of the input, as packets on their way from the reader to a writer. A bounded queue
 * with a lock of its own; it lives as long as its reader. */
typedef struct bs_sound bs_sound;

enum { BS_READER_AHEAD = 20 }; /* packets of H.264 and HEVC that are looked at ahead, where frames can be left out */

typedef struct bs_video_reader_options {
    int threads;        /* of the decoder; 0: 1 */
    bool frame_threads; /* let threads work on several frames at once (more memory, more speed) where slices cannot be
                           split; of info.field_pictures sound ones then count as damaged */
    int most_pictures;  /* the decoder makes up none for references that a damaged stream lacks while it holds so many,
                           those apart that were given: the frame is lost then. 0: any number */
    bool sound;         /* keep the packets of the best audio stream for a writer */
    int only_every;     /* 0 or 1: every frame. N: only frames whose index is a multiple of N are needed; the reader
                           gives the others as `skipped` where the codec lets it leave them out. Those that are
                           given with a picture are the same, to the bit, as without skipping */
    int64_t max_pixels; /* of one coded picture; 0: 8192 × 8192, of a photo 16000 × 16000. More is refused:
                           BS_ERR_LIMIT */
    /* Asked when a picture of a video takes more memory than all before it, and than the header said: before that
     * memory is taken, where the decoder lets us. Anything but BS_OK ends the reading with that error. NULL: nobody is
     * asked. Threads: the reader's or one of the decoder's, never two at once. */
    bs_status (*larger)(void *opaque, int coded_width, int coded_height, int64_t picture_bytes, bs_error *err);
    /* Asked for every megabyte that is read: demuxers and parsers gather what belongs together, however long that is.
     * Anything but BS_OK ends the reading with that error. NULL: nobody is asked. Threads: the reader's. */
    bs_status (*grown)(void *opaque, bs_error *err);
    void *opaque;
} bs_video_reader_options;

typedef struct bs_video_reader_report {
    int64_t frames;         /* given so far, skipped ones included */
    int64_t frames_damaged; /* given with errors in them, or lost: packets that gave no picture */
    bool truncated;         /* the file ended before its header said, or in the middle of a packet */
    int64_t times_repaired; /* missing, repeated, backward or absurd time stamps */
    int64_t size_changes;   /* the stream changed its picture size or format */
} bs_video_reader_report;

/* Decodes the first picture, so that the info is what the pictures say, too.
 * BS_ERR_INPUT: not a video or photo, no video stream, damaged beyond reading; BS_ERR_LIMIT: claims too much. */
bs_status bs_video_reader_open(bs_video_reader **out, const bs_input *input, const bs_video_reader_options *options,
                               bs_error *err);

/* The same in two steps, for options that depend on what the file is: the first reads the header, as bs_probe does, the
 * second opens the decoder; frames can be read after it. A reader that could not be started is closed. */
bs_status bs_video_reader_open_input(bs_video_reader **out, const bs_input *input, int64_t max_pixels, bs_error *err);
bs_status bs_video_reader_start(bs_video_reader *reader, const bs_video_reader_options *options, bs_error *err);
void bs_video_reader_close(bs_video_reader **reader);

/* Valid as long as the reader. */
const bs_video_info *bs_video_reader_info(const bs_video_reader *reader);
bs_video_reader_report bs_video_reader_report_now(const bs_video_reader *reader);

/* The next frame in order of presentation; the caller unrefs it. BS_EOF at the end. */
bs_status bs_video_reader_read(bs_video_reader *reader, bs_video_frame **out, bs_error *err);

/* Ends a read that goes on in another thread, which then fails with BS_ERR_CANCELLED, as do all later ones. NULL is
 * allowed. */
void bs_video_reader_stop(bs_video_reader *reader);

/* NULL where sound was not asked for or the input has none. */
bs_sound *bs_video_reader_sound(bs_video_reader *reader);

#endif
