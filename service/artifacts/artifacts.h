/* artifacts: where the files of jobs lie. One interface, one file per kind of storage (local.c: a folder).
 *
 * A job's files are named by the job's id (32 hex digits) and one of the fixed names below, never by text that came
 * from outside. A file is either whole and there, or not there: it is written under another name, made durable and
 * then renamed. The layout of the local folder (STORAGE_URL file:PATH, DATA_DIR/jobs unless given):
 *
 *     PATH/.incoming/<random>.part     uploads that arrive; the server removes at its start what a killed one left
 *     PATH/<job id>/input              the upload, removed when the job is over
 *     PATH/<job id>/.<name>.part       results that are being written
 *     PATH/<job id>/<name>             results
 *
 * Owner: descriptors given out are the caller's to close. Units: bytes, seconds. Errors: BS_ERR_LIMIT where the room
 * for files is taken (507), BS_ERR_INPUT where an id or a name is not one (404), BS_EOF where there is no such file,
 * BS_ERR_IO where the operating system refused. Threads: any number at once. */
#ifndef BS_SERVICE_ARTIFACTS_H
#define BS_SERVICE_ARTIFACTS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <bodyscript/status.h>

#include "service/jobs/job.h"

enum { BS_ARTIFACT_NAME_MAX = 64 };

/* X(constant, file name, media type, what `urls` and /api/download call it) */
#define BS_ARTIFACT_LIST(X) \
    X(VIDEO, "output.mp4", "video/mp4", "video") \
    X(IMAGE, "output.jpg", "image/jpeg", "image") \
    X(PREVIEW, "preview.mp4", "video/mp4", "preview") \
    X(THUMBNAIL, "thumbnail.jpg", "image/jpeg", "thumbnail") \
    X(CSV, "pose_data.csv", "text/csv; charset=utf-8", "csv") \
    X(JSON, "pose_data.json", "application/json", "json") \
    X(METADATA, "metadata.json", "application/json", "metadata")

typedef enum bs_artifact_kind {
#define X(constant, file, type, label) BS_ARTIFACT_##constant,
    BS_ARTIFACT_LIST(X)
#undef X
        BS_ARTIFACT_KINDS
} bs_artifact_kind;

const char *bs_artifact_file(bs_artifact_kind kind);  /* "output.mp4"; static storage */
const char *bs_artifact_type(bs_artifact_kind kind);  /* "video/mp4" */
const char *bs_artifact_label(bs_artifact_kind kind); /* "video" */

/* Where a result is to be had: below `base` (CDN_BASE_URL), or where that is none or empty, at this server. */
enum { BS_ARTIFACT_URL_MAX = 1024 };
void bs_artifact_url(char *out, size_t size, const char *base, const char *id, const char *name);

/* True for the names that results have: those of the list, and saved frames (frame_000012.jpg or .png). */
bool bs_artifact_name_valid(const char *name);

typedef struct bs_artifacts bs_artifacts;

/* `url`: "file:PATH", or NULL for data_dir/jobs. `disk_limit`: what all files may take together, reservations
 * included; 0: as much as the file system has, less a tenth. */
bs_status bs_artifacts_open(bs_artifacts **out, const char *url, const char *data_dir, uint64_t disk_limit,
                            bs_error *err);
void bs_artifacts_close(bs_artifacts **artifacts);
/* Whether an upload can be stored at all: the folder is there, and its file system takes writes. BS_ERR_IO: not so. */
bs_status bs_artifacts_check(bs_artifacts *artifacts, bs_error *err);

/* -- uploads ---------------------------------------------------------------------------------------- */

/* An upload that arrives: write to `fd` from its start. Zero-initialise; discard it in the end, also where it was
 * accepted: until then it is locked, and whoever cleans up, this process or another, knows that it is on its way. */
typedef struct bs_incoming {
    int fd;
    uint64_t reserved;
    char name[48]; /* "": accepted */
    bool held;     /* `fd` is open */
} bs_incoming;

/* Sets `size` bytes of room aside before the first byte arrives; BS_ERR_LIMIT where there is not that much. */
bs_status bs_artifacts_receive(bs_artifacts *artifacts, uint64_t size, bs_incoming *out, bs_error *err);
/* Makes the upload durable as the input of job `id` and gives the reservation back (the file itself counts from here
 * on). */
bs_status bs_artifacts_accept(bs_artifacts *artifacts, bs_incoming *incoming, const char *id, bs_error *err);
/* Removes what was not accepted, lets go of what was. */
void bs_artifacts_discard(bs_artifacts *artifacts, bs_incoming *incoming);
/* Whether the input of job `id` is there. `arriving`: and not let go of yet, it is about to become a job. */
bool bs_artifacts_has_input(bs_artifacts *artifacts, const char *id, bool *arriving);

/* -- a job's files ---------------------------------------------------------------------------------- */

bs_status bs_artifacts_open_input(bs_artifacts *artifacts, const char *id, int *fd, bs_error *err);
void bs_artifacts_remove_input(bs_artifacts *artifacts, const char *id);

/* Opens a result for writing (readable and seekable, empty). It is seen by nobody until it is committed. */
bs_status bs_artifacts_create(bs_artifacts *artifacts, const char *id, const char *name, int *fd, bs_error *err);
/* Makes what was written through `fd` durable and visible under `name`, in place of an older one. Does not close. */
bs_status bs_artifacts_commit(bs_artifacts *artifacts, const char *id, const char *name, int fd, bs_error *err);
/* Removes what was created and not committed, of one name or (NULL) of the whole job. */
void bs_artifacts_abandon(bs_artifacts *artifacts, const char *id, const char *name);

typedef struct bs_artifact {
    int fd;
    uint64_t size;
    time_t modified;
    char etag[40]; /* with its quotes; another file, another text */
} bs_artifact;

bs_status bs_artifacts_read(bs_artifacts *artifacts, const char *id, const char *name, bs_artifact *out, bs_error *err);

/* Everything of a job. Nothing there: BS_OK. */
bs_status bs_artifacts_remove(bs_artifacts *artifacts, const char *id, bs_error *err);
/* Everything but its input, which may come at this moment: then it stays, and BS_AGAIN. */
bs_status bs_artifacts_remove_but_input(bs_artifacts *artifacts, const char *id, bs_error *err);

/* Calls `each` for every job that has files (a non-zero answer ends the walk), and for every committed result of a
 * job. The folder may change while it is walked. */
bs_status bs_artifacts_jobs(bs_artifacts *artifacts, int (*each)(void *opaque, const char *id), void *opaque,
                            bs_error *err);
bs_status bs_artifacts_files(bs_artifacts *artifacts, const char *id,
                             int (*each)(void *opaque, const char *name, uint64_t size), void *opaque, bs_error *err);

/* Removes uploads older than `seconds` that nobody is writing any more; how many. */
int bs_artifacts_sweep_incoming(bs_artifacts *artifacts, int64_t seconds);

typedef struct bs_artifacts_usage {
    uint64_t files, reserved, limit; /* limit: of both together, as it stands now */
} bs_artifacts_usage;

/* What is taken; the files are counted anew at most once a second. */
void bs_artifacts_read_usage(bs_artifacts *artifacts, bs_artifacts_usage *out);

#endif
