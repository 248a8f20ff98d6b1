/* pose_data.json, frame by frame (see json.h). */
#include <stdlib.h>

#include <bodyscript/version.h>

#include "output/json.h"
#include "output/sink.h"

struct bs_json_writer {
    bs_sink sink;
    int64_t frames;
};

static void put_int(bs_sink *sink, const char *key, int64_t value)
{
    bs_sink_text(sink, key);
    bs_sink_int(sink, value);
}

static void put_string(bs_sink *sink, const char *key, const char *value)
{
    bs_sink_text(sink, key);
    bs_sink_json_string(sink, value);
}

static void put_floats(bs_sink *sink, const float *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        bs_sink_text(sink, i ? "," : "[");
        bs_sink_float(sink, numbers[i], "null");
    }
    bs_sink_text(sink, "]");
}

static void put_video(bs_sink *sink, const char *name, const bs_video_info *info)
{
    put_string(sink, ",\n\"video\":{\"name\":", name ? name : "");
    put_int(sink, ",\"width\":", info->width);
    put_int(sink, ",\"height\":", info->height);
    bs_sink_text(sink, ",\"frame_rate\":"); /* as a float, 24000/1001 would be off in the seventh digit */
    bs_sink_seconds(sink, (int64_t)(info->frame_rate * 1e6 + 0.5));
    bs_sink_text(sink, ",\"duration\":");
    bs_sink_seconds(sink, info->duration_us);
    bs_sink_text(sink, ",\"start\":");
    bs_sink_seconds(sink, info->start_us);
    bs_sink_text(sink, info->photo ? ",\"photo\":true}" : ",\"photo\":false}");
}

static void put_names(bs_sink *sink)
{
    bs_sink_text(sink, ",\n\"landmark_names\":");
    for (int i = 0; i < BS_LANDMARKS; i++)
        put_string(sink, i ? "," : "[", bs_landmark_name(i));
    bs_sink_text(sink, "],\n\"connections\":");
    for (int i = 0; i < BS_CONNECTIONS; i++) {
        put_int(sink, i ? ",[" : "[[", bs_connections[i][0]);
        put_int(sink, ",", bs_connections[i][1]);
        bs_sink_text(sink, "]");
    }
    bs_sink_text(sink, "],\n\"landmark_fields\":[\"x\",\"y\",\"z\",\"visibility\",\"presence\"]");
    bs_sink_text(sink, ",\n\"world_landmark_fields\":[\"x\",\"y\",\"z\"]");
}

bs_status bs_json_writer_open(bs_json_writer **out, int fd, const bs_json_header *header, bs_error *err)
{
    bs_json_writer *writer = malloc(sizeof(*writer));
    if (!writer)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the JSON writer");
    writer->frames = 0;
    bs_sink *sink = &writer->sink;
    const bs_process_options *options = header->options;
    bs_sink_init(sink, fd, "pose_data.json");
    bs_sink_text(sink, "{\"format\":\"bodyscript-pose\",\"version\":1,\"program\":\"bodyscript " BS_VERSION "\"");
    put_video(sink, header->name, header->info);
    put_string(sink, ",\n\"model\":", bs_model_name(bs_process_model(options)));
    put_string(sink, ",\"mode\":", bs_mode_name(options->mode));
    put_int(sink, ",\"interval\":", bs_process_interval(options));
    put_int(sink, ",\"people\":", options->people);
    put_names(sink);
    bs_sink_text(sink, ",\n\"frames\":[");
    *out = writer;
    return BS_OK;
}

void bs_json_writer_close(bs_json_writer **writer)
{
    if (!writer)
        return;
    free(*writer);
    *writer = NULL;
}

static void put_person(bs_sink *sink, const bs_person *person)
{
    put_int(sink, "{\"person_id\":", person->id);
    put_string(sink, ",\"status\":", bs_person_status_name(person->status));
    put_string(sink, ",\"strategy\":", bs_strategy_name(person->strategy));
    bs_sink_text(sink, ",\"presence\":");
    bs_sink_float(sink, person->presence, "null");
    bs_sink_text(sink, ",\"landmarks\":[");
    for (int i = 0; i < BS_LANDMARKS; i++) {
        const bs_landmark *l = &person->landmark[i];
        bs_sink_text(sink, i ? "," : "");
        put_floats(sink, (const float[]){l->x, l->y, l->z, l->visibility, l->presence}, 5);
    }
    bs_sink_text(sink, "],\"world_landmarks\":[");
    for (int i = 0; i < BS_LANDMARKS; i++) {
        const bs_world_landmark *w = &person->world[i];
        bs_sink_text(sink, i ? "," : "");
        put_floats(sink, (const float[]){w->x, w->y, w->z}, 3);
    }
    bs_sink_text(sink, "]}");
}

bs_status bs_json_writer_frame(bs_json_writer *writer, int64_t frame_id, int64_t time_us, const bs_pose_result *result,
                               bs_error *err)
{
    bs_sink *sink = &writer->sink;
    put_int(sink, writer->frames++ ? ",\n{\"frame_id\":" : "\n{\"frame_id\":", frame_id);
    bs_sink_text(sink, ",\"timestamp\":");
    bs_sink_seconds(sink, time_us);
    put_string(sink, ",\"status\":", bs_person_status_name(result->people ? result->person[0].status : BS_MISSING));
    bs_sink_text(sink, ",\"people\":[");
    for (int i = 0; i < result->people; i++) {
        bs_sink_text(sink, i ? "," : "");
        put_person(sink, &result->person[i]);
    }
    bs_sink_text(sink, "]}");
    return bs_sink_status(sink, err);
}

bs_status bs_json_writer_finish(bs_json_writer *writer, bs_error *err)
{
    put_int(&writer->sink, "\n],\n\"frames_analysed\":", writer->frames);
    bs_sink_text(&writer->sink, "}\n");
    return bs_sink_flush(&writer->sink, err);
}
