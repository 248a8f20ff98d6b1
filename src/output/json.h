/* pose_data.json: the same data as the CSV as one JSON document, one line per analysed frame (the schema is in
 * docs/results.md). It is written as the frames come and never held as a whole.
 *
 * Owner: the descriptor stays the caller's. Threads: one at a time per writer. */
#ifndef BS_OUTPUT_JSON_H
#define BS_OUTPUT_JSON_H

#include <bodyscript/pipeline.h>

typedef struct bs_json_writer bs_json_writer;

/* What is said before the first frame; only read during the call. */
typedef struct bs_json_header {
    const char *name; /* of the input; NULL: none */
    const bs_video_info *info;
    const bs_process_options *options;
} bs_json_header;

bs_status bs_json_writer_open(bs_json_writer **out, int fd, const bs_json_header *header, bs_error *err);
void bs_json_writer_close(bs_json_writer **writer);

bs_status bs_json_writer_frame(bs_json_writer *writer, int64_t frame_id, int64_t time_us, const bs_pose_result *result,
                               bs_error *err);
/* Ends the document with the number of its frames; everything is written when this returns BS_OK. */
bs_status bs_json_writer_finish(bs_json_writer *writer, bs_error *err);

#endif
