/* pose_data.csv, row by row (see csv.h). */
#include <stdlib.h>

#include "output/csv.h"
#include "output/sink.h"

struct bs_csv_writer {
    bs_sink sink;
};

bs_status bs_csv_writer_open(bs_csv_writer **out, int fd, bs_error *err)
{
    bs_csv_writer *writer = malloc(sizeof(*writer));
    if (!writer)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the CSV writer");
    bs_sink_init(&writer->sink, fd, "pose_data.csv");
    bs_sink_text(&writer->sink, "frame_id,timestamp,person_id,landmark_id,landmark_name,x,y,z,visibility,presence,"
                                "world_x,world_y,world_z,strategy,status\n");
    *out = writer;
    return BS_OK;
}

void bs_csv_writer_close(bs_csv_writer **writer)
{
    if (!writer)
        return;
    free(*writer);
    *writer = NULL;
}

/* frame_id,timestamp,person_id,landmark_id,landmark_name */
static void put_key(bs_sink *sink, int64_t frame_id, int64_t time_us, int person, int landmark)
{
    bs_sink_int(sink, frame_id);
    bs_sink_text(sink, ",");
    bs_sink_seconds(sink, time_us);
    bs_sink_text(sink, ",");
    bs_sink_int(sink, person);
    bs_sink_text(sink, ",");
    bs_sink_int(sink, landmark);
    bs_sink_text(sink, ",");
    bs_sink_text(sink, bs_landmark_name(landmark));
}

static void put_numbers(bs_sink *sink, const bs_landmark *l, const bs_world_landmark *w)
{
    const float numbers[] = {l->x, l->y, l->z, l->visibility, l->presence, w->x, w->y, w->z};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        bs_sink_text(sink, ",");
        bs_sink_float(sink, numbers[i], "");
    }
}

static void put_person(bs_sink *sink, int64_t frame_id, int64_t time_us, const bs_person *person)
{
    for (int i = 0; i < BS_LANDMARKS; i++) {
        put_key(sink, frame_id, time_us, person->id, i);
        put_numbers(sink, &person->landmark[i], &person->world[i]);
        bs_sink_text(sink, ",");
        bs_sink_text(sink, bs_strategy_name(person->strategy));
        bs_sink_text(sink, ",");
        bs_sink_text(sink, bs_person_status_name(person->status));
        bs_sink_text(sink, "\n");
    }
}

static void put_nobody(bs_sink *sink, int64_t frame_id, int64_t time_us)
{
    for (int i = 0; i < BS_LANDMARKS; i++) {
        put_key(sink, frame_id, time_us, 0, i);
        bs_sink_text(sink, ",,,,,,,,,,");
        bs_sink_text(sink, bs_person_status_name(BS_MISSING));
        bs_sink_text(sink, "\n");
    }
}

bs_status bs_csv_writer_frame(bs_csv_writer *writer, int64_t frame_id, int64_t time_us, const bs_pose_result *result,
                              bs_error *err)
{
    for (int i = 0; i < result->people; i++)
        put_person(&writer->sink, frame_id, time_us, &result->person[i]);
    if (result->people == 0)
        put_nobody(&writer->sink, frame_id, time_us);
    return bs_sink_status(&writer->sink, err);
}

bs_status bs_csv_writer_finish(bs_csv_writer *writer, bs_error *err)
{
    return bs_sink_flush(&writer->sink, err);
}
