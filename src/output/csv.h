/* pose_data.csv: 33 rows per person of every analysed frame (the columns are in docs/results.md).
 *
 * A frame in which nobody was found has its 33 rows too, with empty numbers and the status `missing`, so that rows
 * and frames always agree. Owner: the descriptor stays the caller's. Threads: one at a time per writer. */
#ifndef BS_OUTPUT_CSV_H
#define BS_OUTPUT_CSV_H

#include <bodyscript/pose.h>

typedef struct bs_csv_writer bs_csv_writer;

/* Buffers the header line. BS_ERR_NOMEM. */
bs_status bs_csv_writer_open(bs_csv_writer **out, int fd, bs_error *err);
void bs_csv_writer_close(bs_csv_writer **writer);

/* One analysed frame: `frame_id` counts the video's frames from 0, `time_us` is its time from the first one's.
 * BS_ERR_IO where the file cannot be written. */
bs_status bs_csv_writer_frame(bs_csv_writer *writer, int64_t frame_id, int64_t time_us, const bs_pose_result *result,
                              bs_error *err);
/* Everything is written when this returns BS_OK. */
bs_status bs_csv_writer_finish(bs_csv_writer *writer, bs_error *err);

#endif
