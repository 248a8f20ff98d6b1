/* Source frames into the forms that others want: as they lie, as exact RGB, or as a canvas to draw on.
 *
 * A bs_video_scaler keeps swscale's tables and its buffers from frame to frame, and adapts by itself when
 * the frames change their size or format. Owner: the caller. Errors: BS_ERR_NOMEM, and BS_ERR_FAILED where libswscale
 * or an encoder refuses. Threads: one thread at a time per scaler. */
#ifndef BS_VIDEO_SCALE_H
#define BS_VIDEO_SCALE_H

#include <bodyscript/image.h>
#include <bodyscript/video.h>

#include "frame.h"

typedef struct bs_video_scaler bs_video_scaler;

bs_status bs_video_scaler_open(bs_video_scaler **out, bs_error *err);
void bs_video_scaler_close(bs_video_scaler **scaler);

/* Describes the frame's planes where they lie (nothing is copied), with its orientation. What a bs_image
 * cannot say (palettes, Bayer, floating point, packed bits) or the pose engine should not see (pixels that
 * are not square) is converted first, into a buffer of the scaler's. Valid until the scaler's next call
 * of this function, and as long as the frame. */
bs_status bs_video_frame_image(bs_video_scaler *scaler, const bs_video_frame *frame, bs_image *out, bs_error *err);

/* The exact path: the frame turned upright and then converted to RGB24 by swscale with
 * bicubic+accurate_rnd+full_chroma_int, byte for byte what `ffmpeg -sws_flags …` gives. Valid until the
 * scaler's next call of this function. */
bs_status bs_video_frame_rgb(bs_video_scaler *scaler, const bs_video_frame *frame, bs_image *out, bs_error *err);

/* The size of the canvas for a displayed size: at most max_width wide (0: no bound), neither side longer than the
 * encoder takes, aspect kept, even, never larger than the picture (but for the rounding to even), at least 2 × 2. */
void bs_canvas_size(int width, int height, int max_width, int *canvas_width, int *canvas_height);

/* The same without the rounding to even: JPEG has pictures of any size. */
void bs_photo_canvas_size(int width, int height, int max_width, int *canvas_width, int *canvas_height);

/* As bs_canvas_size, with neither side longer than `max_side`. */
void bs_canvas_size_within(int width, int height, int max_side, int *canvas_width, int *canvas_height);

/* A new canvas of width × height with the frame on it, upright. A frame of another shape (streams may change
 * their size midway) is fitted in and centred on black: canvas fractions are then not the frame's; draw.h takes
 * care of it. index, time and damage are the frame's. The caller unrefs it. */
bs_status bs_video_frame_canvas(bs_video_scaler *scaler, const bs_video_frame *frame, int width, int height,
                                bs_video_frame **out, bs_error *err);

/* Encoded pictures in memory. `frame` is a source or a canvas frame; JPEG: quality 1–100; at most max_width
 * wide (0: as the frame). *data belongs to the scaler, valid until its next call of this function. */
typedef enum bs_still_format { BS_STILL_JPEG = 0, BS_STILL_PNG } bs_still_format;
bs_status bs_video_frame_encode(bs_video_scaler *scaler, const bs_video_frame *frame, bs_still_format format,
                                int quality, int max_width, const void **data, size_t *size, bs_error *err);

#endif
