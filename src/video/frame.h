/* A picture of a video on its way through the pipeline.
 *
 * Owner: references are counted; whoever holds one may hand it to another thread. The last unref frees.
 * Two kinds share the type: *source* frames as the reader gives them (any pixel format, stored
 * orientation, perhaps not square pixels), read-only, since the decoder may still predict from them; and
 * *canvas* frames as scale.h makes them (8-bit planar YUV 4:2:0, upright, square pixels, limited range),
 * which their holder may draw on.
 * Units: pixels; microseconds. Threads: counting is atomic; the fields are not written after the frame
 * has been handed out. */
#ifndef BS_VIDEO_FRAME_H
#define BS_VIDEO_FRAME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct AVFrame;

typedef struct bs_video_frame {
    int64_t index;     /* of the video's frames as presented, from 0; skipped ones counted */
    int64_t time_us;   /* presentation time from the first frame's, strictly ascending: clock.h */
    bool skipped;      /* not decoded, since nobody asked for it (reader options): there is no picture */
    bool damaged;      /* decoded with errors: parts of the picture are guessed */
    int width, height; /* as displayed: turned, square pixels */

    struct AVFrame *picture; /* for src/video only; NULL when skipped */
    atomic_int references;   /* likewise */
} bs_video_frame;

bs_video_frame *bs_video_frame_ref(bs_video_frame *frame);
void bs_video_frame_unref(bs_video_frame **frame); /* NULL and pointers to NULL are fine */

#endif
