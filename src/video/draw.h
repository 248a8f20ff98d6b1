/* The skeleton over the picture: antialiased lines and joints, straight on the planes of a canvas.
 *
 * The person's left and right sides are told apart by colour, the middle is light; lines are as thick as the
 * picture is large; what the model can hardly see fades out. Threads: any, on different canvases. */
#ifndef BS_VIDEO_DRAW_H
#define BS_VIDEO_DRAW_H

#include <bodyscript/pose.h>

#include "frame.h"

/* `landmark`: x, y as fractions of the displayed source picture, which may lie outside of it. `person`: which of
 * several people (0: the first), told apart by their shade. `opacity` 0–1 fades the whole skeleton. */
void bs_draw_skeleton(bs_video_frame *canvas, const bs_landmark landmark[BS_LANDMARKS], int person, float opacity);

#endif
