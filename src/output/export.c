/* pose_data.json into other formats (see bodyscript/export.h). A format is three calls: before the first frame, for
 * each frame, after the last one. The document is read twice: the first time to see that it is whole, and to know
 * what a header has to say. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <bodyscript/export.h>
#include <bodyscript/pipeline.h>

#include "output/csv.h"
#include "output/frames_reader.h"
#include "output/sink.h"

/* What the document may say: beyond it is nonsense, and no int64_t of microseconds. */
static const double MOST_SECONDS = 1e12, MOST_RATE = 1e6;

typedef struct exporter {
    int person;
    int64_t frames; /* in the document */
    int64_t row;
    bool met;    /* the person */
    int highest; /* number of any; -1: there is nobody */
    double rate; /* analysed frames per second */
    bs_sink sink;
    bs_csv_writer *csv;
    bs_pose_result result;
} exporter;

typedef struct frame {
    int64_t id, time_us;
    const char *text;
    bs_pose_result *result;
} frame;

/* -- one frame of the document -------------------------------------------------------------------------- */

static float number(json_t *array, size_t index)
{
    return (float)json_number_value(json_array_get(array, index));
}

static bs_person_status status_of(const char *name)
{
    for (int i = BS_MISSING; i <= BS_TRACKED; i++)
        if (name && !strcmp(name, bs_person_status_name((bs_person_status)i)))
            return (bs_person_status)i;
    return BS_MISSING;
}

static bs_strategy strategy_of(const char *name)
{
    for (int i = BS_STRATEGY_ORIGINAL; i <= BS_STRATEGY_TILED; i++)
        if (name && !strcmp(name, bs_strategy_name((bs_strategy)i)))
            return (bs_strategy)i;
    return BS_STRATEGY_ORIGINAL;
}

static bool read_person(json_t *from, bs_person *to)
{
    json_t *landmarks = json_object_get(from, "landmarks"), *world = json_object_get(from, "world_landmarks");
    if (json_array_size(landmarks) != BS_LANDMARKS || json_array_size(world) != BS_LANDMARKS)
        return false;
    to->id = (int)json_integer_value(json_object_get(from, "person_id"));
    to->status = status_of(json_string_value(json_object_get(from, "status")));
    to->strategy = strategy_of(json_string_value(json_object_get(from, "strategy")));
    for (size_t i = 0; i < BS_LANDMARKS; i++) {
        json_t *l = json_array_get(landmarks, i), *w = json_array_get(world, i);
        to->landmark[i] = (bs_landmark){number(l, 0), number(l, 1), number(l, 2), number(l, 3), number(l, 4)};
        to->world[i] = (bs_world_landmark){number(w, 0), number(w, 1), number(w, 2)};
    }
    return true;
}

static bs_status read_frame(const char *text, frame *out, bs_error *err)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *people = json_object_get(object, "people");
    json_t *id = json_object_get(object, "frame_id"), *time = json_object_get(object, "timestamp");
    const double seconds = json_number_value(time);
    bool whole = json_is_integer(id) && json_is_number(time) && fabs(seconds) < MOST_SECONDS &&
                 json_array_size(people) <= BS_MAX_PEOPLE;
    out->text = text;
    out->id = json_integer_value(id);
    out->time_us = whole ? llround(seconds * 1e6) : 0;
    out->result->people = (int)json_array_size(people);
    for (int i = 0; whole && i < out->result->people; i++)
        whole = read_person(json_array_get(people, (size_t)i), &out->result->person[i]);
    json_decref(object);
    return whole ? BS_OK : bs_fail(err, BS_ERR_INPUT, "a frame of the pose data is not as bodyscript writes them");
}

/* -- trc ------------------------------------------------------------------------------------------------ */

static void put_rate(bs_sink *sink, double rate)
{
    bs_sink_seconds(sink, (int64_t)(rate * 1e6 + 0.5));
    bs_sink_text(sink, "\t");
}

static bs_status begin_trc(exporter *e, bs_error *err)
{
    bs_sink *s = &e->sink;
    bs_sink_text(s, "PathFileType\t4\t(X/Y/Z)\tpose.trc\n"
                    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\t"
                    "OrigNumFrames\n");
    put_rate(s, e->rate);
    put_rate(s, e->rate);
    bs_sink_int(s, e->frames);
    bs_sink_text(s, "\t33\tm\t");
    put_rate(s, e->rate);
    bs_sink_text(s, "1\t");
    bs_sink_int(s, e->frames);
    bs_sink_text(s, "\nFrame#\tTime");
    for (int i = 0; i < BS_LANDMARKS; i++) {
        bs_sink_text(s, i ? "\t\t\t" : "\t");
        bs_sink_text(s, bs_landmark_name(i));
    }
    bs_sink_text(s, "\t\t\n\t");
    for (int i = 1; i <= BS_LANDMARKS; i++) {
        static const char *const axes[] = {"\tX", "\tY", "\tZ"};
        for (int axis = 0; axis < 3; axis++) {
            bs_sink_text(s, axes[axis]);
            bs_sink_int(s, i);
        }
    }
    bs_sink_text(s, "\n\n");
    return bs_sink_status(s, err);
}

/* MediaPipe's y points down and its z away from the camera; half a turn around x makes them up and towards it. */
static bs_status put_trc(exporter *e, const frame *f, bs_error *err)
{
    bs_sink *s = &e->sink;
    const bs_person *person = NULL;
    for (int i = 0; i < f->result->people; i++) {
        const int id = f->result->person[i].id;
        if (id == e->person)
            person = &f->result->person[i];
        e->highest = id > e->highest ? id : e->highest;
    }
    e->met |= person != NULL;
    bs_sink_int(s, ++e->row);
    bs_sink_text(s, "\t");
    bs_sink_seconds(s, f->time_us);
    for (int i = 0; i < BS_LANDMARKS; i++) {
        if (!person) {
            bs_sink_text(s, "\t\t\t");
            continue;
        }
        const float xyz[] = {person->world[i].x, -person->world[i].y, -person->world[i].z};
        for (int axis = 0; axis < 3; axis++) {
            bs_sink_text(s, "\t");
            bs_sink_float(s, xyz[axis], "");
        }
    }
    bs_sink_text(s, "\n");
    return bs_sink_status(s, err);
}

static bs_status end_trc(exporter *e, bs_error *err)
{
    if (e->highest < 0)
        return bs_fail(err, BS_ERR_INPUT, "nobody was found in the video: there are no landmarks to export");
    if (!e->met)
        return bs_fail(err, BS_ERR_USAGE, "there is no person %d in the pose data; the highest number is %d", e->person,
                       e->highest);
    return bs_sink_flush(&e->sink, err);
}

static bs_status end_sink(exporter *e, bs_error *err)
{
    return bs_sink_flush(&e->sink, err);
}

/* -- csv, jsonl ----------------------------------------------------------------------------------------- */

static bs_status begin_csv(exporter *e, bs_error *err)
{
    return bs_csv_writer_open(&e->csv, e->sink.fd, err);
}

static bs_status put_csv(exporter *e, const frame *f, bs_error *err)
{
    return bs_csv_writer_frame(e->csv, f->id, f->time_us, f->result, err);
}

static bs_status end_csv(exporter *e, bs_error *err)
{
    return bs_csv_writer_finish(e->csv, err);
}

static bs_status begin_jsonl(exporter *e, bs_error *err)
{
    return BS_OK;
}

static bs_status put_jsonl(exporter *e, const frame *f, bs_error *err)
{
    bs_sink_text(&e->sink, f->text);
    bs_sink_text(&e->sink, "\n");
    return bs_sink_status(&e->sink, err);
}

/* -- the whole ------------------------------------------------------------------------------------------- */

static const struct format {
    const char *name;
    bs_status (*begin)(exporter *e, bs_error *err);
    bs_status (*put)(exporter *e, const frame *f, bs_error *err);
    bs_status (*end)(exporter *e, bs_error *err);
} formats[BS_EXPORT_FORMATS] = {
    [BS_EXPORT_TRC] = {"trc", begin_trc, put_trc, end_trc},
    [BS_EXPORT_CSV] = {"csv", begin_csv, put_csv, end_csv},
    [BS_EXPORT_JSONL] = {"jsonl", begin_jsonl, put_jsonl, end_sink},
};

const char *bs_export_format_name(bs_export_format format)
{
    return (unsigned)format < BS_EXPORT_FORMATS ? formats[format].name : "unknown";
}

bs_status bs_export_format_find(const char *name, bs_export_format *out, bs_error *err)
{
    for (int i = 0; i < BS_EXPORT_FORMATS; i++) {
        if (!strcmp(name, formats[i].name)) {
            *out = (bs_export_format)i;
            return BS_OK;
        }
    }
    return bs_fail(err, BS_ERR_USAGE, "there is no format '%.20s' to export to; there are trc, csv and jsonl", name);
}

/* The first reading: is it ours and whole, how many frames has it, how fast do they come? */
static bs_status survey(int in, exporter *e, bs_error *err)
{
    bs_frames_reader *reader;
    bs_status status = bs_frames_reader_open(&reader, in, err);
    if (status != BS_OK)
        return status;
    while ((status = bs_frames_reader_next(reader, err)) == BS_OK)
        e->frames++;
    json_t *header = status == BS_EOF ? json_loads(reader->header, 0, NULL) : NULL;
    const char *format = json_string_value(json_object_get(header, "format"));
    json_t *interval = json_object_get(header, "interval");
    if (status == BS_EOF)
        status = format && !strcmp(format, "bodyscript-pose")
                     ? BS_OK
                     : bs_fail(err, BS_ERR_INPUT, "this is not a pose_data.json of bodyscript");
    e->rate = json_number_value(json_object_get(json_object_get(header, "video"), "frame_rate"));
    if (!(e->rate >= 0 && e->rate <= MOST_RATE))
        e->rate = 0;
    if (json_integer_value(interval) > 1)
        e->rate /= (double)json_integer_value(interval);
    json_decref(header);
    bs_frames_reader_close(&reader);
    return status;
}

static bs_status convert(int in, exporter *e, const struct format *format, bs_error *err)
{
    bs_frames_reader *reader;
    bs_status status = bs_frames_reader_open(&reader, in, err);
    if (status != BS_OK)
        return status;
    status = format->begin(e, err);
    while (status == BS_OK && (status = bs_frames_reader_next(reader, err)) == BS_OK) {
        frame f = {.result = &e->result};
        status = read_frame(reader->frame, &f, err);
        if (status == BS_OK)
            status = format->put(e, &f, err);
    }
    if (status == BS_EOF)
        status = format->end(e, err);
    bs_frames_reader_close(&reader);
    return status;
}

bs_status bs_export(int in, int out, bs_export_format format, int person, bs_error *err)
{
    if ((unsigned)format >= BS_EXPORT_FORMATS)
        return bs_fail(err, BS_ERR_USAGE, "there is no such format to export to");
    exporter *e = calloc(1, sizeof(*e));
    if (!e)
        return bs_fail(err, BS_ERR_NOMEM, "no memory to export");
    e->person = person;
    e->highest = -1;
    bs_sink_init(&e->sink, out, "the exported file");
    bs_status status = survey(in, e, err);
    if (status == BS_OK)
        status = convert(in, e, &formats[format], err);
    bs_csv_writer_close(&e->csv);
    free(e);
    return status;
}
