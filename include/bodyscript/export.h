/* pose_data.json into the formats of other programs, frame by frame: memory does not grow with its length.
 *
 * trc    OpenSim's marker file: the world landmarks of one person, metres, y up, one row per analysed frame at its own
 *        time, empty fields where the person was not found
 * csv    the columns of pose_data.csv
 * jsonl  one JSON object per frame and line
 *
 * Owner: the descriptors stay the caller's. Threads: any. */
#ifndef BODYSCRIPT_EXPORT_H
#define BODYSCRIPT_EXPORT_H

#include <bodyscript/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bs_export_format { BS_EXPORT_TRC = 0, BS_EXPORT_CSV, BS_EXPORT_JSONL, BS_EXPORT_FORMATS } bs_export_format;

const char *bs_export_format_name(bs_export_format format); /* "trc", "csv", "jsonl" */
/* The format of that name; BS_ERR_USAGE with the list of names. */
bs_status bs_export_format_find(const char *name, bs_export_format *out, bs_error *err);

/* From the JSON document on `in` (a regular file, read from its start) to `out`. `person`: whose landmarks a format of
 * one person holds; BS_ERR_USAGE where there is no such person. BS_ERR_INPUT where `in` is not a whole pose_data.json,
 * and where such a format finds nobody at all. What was written until a failure is of no use. */
bs_status bs_export(int in, int out, bs_export_format format, int person, bs_error *err);

#ifdef __cplusplus
}
#endif
#endif
