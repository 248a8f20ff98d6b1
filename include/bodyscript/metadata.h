/* metadata.json: what was done, how well it went, and a receipt by which it can be done again.
 *
 * Owner: everything in a bs_metadata is the caller's and only read. Threads: any. */
#ifndef BODYSCRIPT_METADATA_H
#define BODYSCRIPT_METADATA_H

#include <bodyscript/pipeline.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bs_metadata_url {
    const char *label, *url; /* "video", "/api/serve/…/output.mp4" or a file's name */
} bs_metadata_url;

typedef struct bs_metadata {
    const char *job_id;      /* NULL: none, as on the command line */
    const char *filename;    /* of the input, as the user named it */
    int64_t processed_at_us; /* since 1970 */
    const bs_process_options *options;
    bool no_video, save_frames; /* what was asked for beside the options, for the receipt */
    const bs_summary *summary;
    const char *model_sha256;    /* bs_models_sha256 */
    const bs_metadata_url *urls; /* ended by a label of NULL; NULL: none */
} bs_metadata;

/* Writes the whole document to `fd` from its current position. */
bs_status bs_metadata_write(int fd, const bs_metadata *metadata, bs_error *err);

/* The object `statistics` of it alone, as one line of text that the caller frees; NULL where memory is refused. */
char *bs_metadata_statistics(const bs_process_options *options, const bs_summary *summary);

/* What a video is, as one line of JSON that the caller frees (the object `video_info`); NULL where memory is refused.
 */
char *bs_video_info_text(const bs_video_info *info);

#ifdef __cplusplus
}
#endif
#endif
