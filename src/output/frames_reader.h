/* Reads pose_data.json frame by frame: the text of one frame is held at a time, and of the document only what stands
 * around its frames.
 *
 * Owner: the descriptor stays the caller's. Threads: one at a time per reader. */
#ifndef BS_OUTPUT_FRAMES_READER_H
#define BS_OUTPUT_FRAMES_READER_H

#include <stdint.h>
#include <sys/types.h>

#include <bodyscript/status.h>

enum {
    BS_FRAME_TEXT_MAX = 1 << 20,   /* bytes of one frame: 16 people need a tenth of it */
    BS_HEADER_TEXT_MAX = 64 * 1024 /* bytes around the frames */
};

typedef struct bs_frames_reader {
    int fd;
    off_t offset;
    char buffer[65536];
    size_t used, at;
    char *frame;  /* text of the last frame, NUL-terminated */
    char *header; /* text around the frames, which are [] in it: valid JSON when the end was reached */
    size_t frame_size, header_size;
    int depth; /* of brackets that are open, outside of frames */
    int state; /* before the frames, in them or behind them: frames_reader.c */
} bs_frames_reader;

bs_status bs_frames_reader_open(bs_frames_reader **out, int fd, bs_error *err);
void bs_frames_reader_close(bs_frames_reader **reader);

/* The next frame in `frame`. BS_EOF at the document's end; BS_ERR_INPUT where it is none, or ends early. */
bs_status bs_frames_reader_next(bs_frames_reader *reader, bs_error *err);

#endif
