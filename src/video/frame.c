/* Reference counting of frames (see frame.h). */
#include <stdlib.h>

#include <libavutil/frame.h>

#include "frame.h"

bs_video_frame *bs_video_frame_ref(bs_video_frame *frame)
{
    atomic_fetch_add_explicit(&frame->references, 1, memory_order_relaxed);
    return frame;
}

void bs_video_frame_unref(bs_video_frame **frame)
{
    if (!frame || !*frame)
        return;
    bs_video_frame *const f = *frame;
    *frame = NULL;
    if (atomic_fetch_sub_explicit(&f->references, 1, memory_order_acq_rel) != 1)
        return;
    av_frame_free(&f->picture);
    free(f);
}
