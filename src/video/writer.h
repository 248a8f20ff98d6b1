/* H.264 in MP4 out, with the input's sound: for output.mp4 and preview.mp4.
 *
 *     bs_video_writer_open(&writer, &options, &err);
 *     for each frame: bs_video_writer_write(writer, canvas, &err);
 *     bs_video_writer_finish(writer, true, &err);
 *     bs_video_writer_close(&writer);
 *
 * `moov` comes first, every frame keeps its own time, and nothing is kept that grows with the length but a few
 * bytes per sample. Written with pwrite/pread from the descriptor's current position on; nothing is opened.
 * Owner: descriptor and sound stay the caller's, and outlive the writer. Threads: one at a time per writer;
 * libx264 makes its own. */
#ifndef BS_VIDEO_WRITER_H
#define BS_VIDEO_WRITER_H

#include <bodyscript/video.h>

#include "frame.h"
#include "reader.h"

typedef struct bs_video_writer bs_video_writer;

typedef struct bs_video_writer_options {
    int fd;                    /* regular file, readable and writable */
    int width, height;         /* of the canvases; even */
    const bs_video_info *info; /* of the input: rate and colours */
    bs_sound *sound;           /* NULL: silent. Only one writer can take a reader's sound */
    int threads;               /* of the encoder; 0: 1 */
    int crf;                   /* libx264's constant quality; 0: 23 */
    /* 0–3: how much memory to save by looking less far ahead (docs/memory.md). At 720 × 406 26, 20, 13 and 8 MB; 3
     * takes about 40 % more bytes at the same quality. */
    int lean;
} bs_video_writer_options;

bs_status bs_video_writer_open(bs_video_writer **out, const bs_video_writer_options *options, bs_error *err);
void bs_video_writer_close(bs_video_writer **writer);

/* Starts the encoder for canvases like this one, which takes some milliseconds; else the first write does. */
bs_status bs_video_writer_start(bs_video_writer *writer, const bs_video_frame *canvas, bs_error *err);

/* The frame's time_us must ascend. The canvas is only read. */
bs_status bs_video_writer_write(bs_video_writer *writer, const bs_video_frame *canvas, bs_error *err);

/* Drains the encoder and writes the index. The last frame is shown as long as the one before it; sound that goes on
 * longer is written to its end where `all_sound` is set, else it ends with the frame. */
bs_status bs_video_writer_finish(bs_video_writer *writer, bool all_sound, bs_error *err);

/* Why the sound is not in the output, as a sentence for a person; NULL where it is, or there was none. */
const char *bs_video_writer_sound_note(const bs_video_writer *writer);

#endif
