/* metadata.json (see bodyscript/metadata.h; the fields are explained in docs/results.md). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bodyscript/metadata.h>
#include <bodyscript/version.h>

#include "output/sink.h"

#define MIB (1024.0 * 1024.0)

/* jansson steals references and treats NULL as an error of the whole, so that no step needs a check of its own. */

static json_t *seconds(int64_t microseconds)
{
    return json_real((double)microseconds / 1e6);
}

/* To `digits` decimals: no reader wants the noise of a double. */
static json_t *rounded(double value, int digits)
{
    double scale = pow(10, digits);
    return json_real(isfinite(value) ? nearbyint(value * scale) / scale : 0);
}

/* Text that came from outside may be no UTF-8, which JSON cannot hold. */
static json_t *text(const char *value)
{
    json_t *string = json_string(value ? value : "");
    if (string || !value)
        return string;
    char clean[512];
    size_t n = 0;
    for (; *value && n + 1 < sizeof(clean); value++)
        clean[n++] = (unsigned char)*value < 0x80 ? *value : '?';
    clean[n] = '\0';
    return json_string(clean);
}

static json_t *statistics_of(const bs_process_options *options, const bs_summary *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "frames_processed", json_integer(s->frames_analysed));
    json_object_set_new(o, "frames_total", json_integer(s->frames_decoded));
    json_object_set_new(o, "frames_detected", json_integer(s->frames_detected));
    json_object_set_new(o, "frames_tracked", json_integer(s->frames_tracked));
    json_object_set_new(o, "frames_missing", json_integer(s->frames_missing));
    json_object_set_new(o, "frames_damaged", json_integer(s->frames_damaged));
    json_object_set_new(o, "input_truncated", json_boolean(s->input_truncated));
    json_object_set_new(o, "average_quality", rounded(s->average_quality, 4));
    json_object_set_new(o, "detection_rate", rounded(s->detection_rate, 4));
    json_object_set_new(o, "swapped_suspect", json_integer(s->swapped_suspect));
    json_object_set_new(o, "landmarks_outside", json_integer(s->landmarks_outside));
    json_object_set_new(o, "feet_outside", rounded(s->feet_outside, 4));
    json_object_set_new(o, "advice", text(s->advice));
    json_object_set_new(o, "processing_mode", json_string(bs_mode_name(options->mode)));
    json_object_set_new(o, "processing_time", rounded(s->seconds, 3));
    json_object_set_new(o, "cpu_seconds", rounded(s->cpu_seconds, 3));
    json_object_set_new(o, "peak_memory_mb", rounded((double)s->peak_memory / MIB, 1));
    json_object_set_new(o, "reserved_memory_mb", rounded((double)s->reserved_memory / MIB, 1));
    json_object_set_new(o, "leaner_settings", text(s->lean));
    json_object_set_new(o, "video_was_trimmed", json_boolean(s->trimmed));
    json_object_set_new(o, "video_was_resized", json_boolean(s->resized));
    json_object_set_new(o, "original_duration", seconds(s->original_duration_us));
    json_object_set_new(o, "processed_duration", seconds(s->processed_duration_us));
    json_object_set_new(o, "output_width", json_integer(s->output_width));
    json_object_set_new(o, "output_height", json_integer(s->output_height));

    json_t *stage = json_object();
    json_object_set_new(stage, "decode", rounded(s->stage.decode, 3));
    json_object_set_new(stage, "convert", rounded(s->stage.convert, 3));
    json_object_set_new(stage, "pose", rounded(s->stage.pose, 3));
    json_object_set_new(stage, "draw", rounded(s->stage.draw, 3));
    json_object_set_new(stage, "encode", rounded(s->stage.encode, 3));
    json_object_set_new(stage, "write", rounded(s->stage.write, 3));
    json_object_set_new(o, "stage_seconds", stage);
    return o;
}

static json_t *info_of(const bs_video_info *info)
{
    static const char *const matrices[] = {"bt601", "bt709", "bt2020"};
    static const struct {
        int degrees;
        bool mirrored;
    } turns[] = {{0, false}, {0, true}, {180, false}, {180, true}, {90, true}, {90, false}, {270, true}, {270, false}};
    json_t *o = json_object();
    json_object_set_new(o, "container", text(info->container));
    json_object_set_new(o, "codec", text(info->codec));
    json_object_set_new(o, "profile", text(info->profile));
    json_object_set_new(o, "pixel_format", text(info->pixel_format));
    json_object_set_new(o, "photo", json_boolean(info->photo));
    json_object_set_new(o, "width", json_integer(info->width));
    json_object_set_new(o, "height", json_integer(info->height));
    json_object_set_new(o, "coded_width", json_integer(info->coded_width));
    json_object_set_new(o, "coded_height", json_integer(info->coded_height));
    json_object_set_new(o, "rotation", json_integer(turns[info->orientation & 7].degrees));
    json_object_set_new(o, "mirrored", json_boolean(turns[info->orientation & 7].mirrored));
    json_object_set_new(o, "sample_aspect_ratio",
                        json_sprintf("%d:%d", info->sar_num ? info->sar_num : 1, info->sar_den ? info->sar_den : 1));
    json_object_set_new(o, "bit_depth", json_integer(info->bit_depth));
    json_object_set_new(o, "full_range", json_boolean(info->full_range));
    json_object_set_new(o, "hdr", json_boolean(info->hdr));
    json_object_set_new(o, "interlaced", json_boolean(info->interlaced));
    json_object_set_new(o, "color_matrix", json_string(matrices[info->matrix <= BS_MATRIX_BT2020 ? info->matrix : 0]));
    json_object_set_new(o, "level", json_integer(info->level));
    json_object_set_new(o, "reference_frames", json_integer(info->reference_frames));
    json_object_set_new(o, "fps", rounded(info->frame_rate, 4));
    json_object_set_new(o, "duration", seconds(info->duration_us));
    json_object_set_new(o, "start", seconds(info->start_us));
    json_object_set_new(o, "frames", json_integer(info->frames));
    json_object_set_new(o, "file_size", json_integer(info->file_size));
    json_object_set_new(o, "video_streams", json_integer(info->video_streams));
    json_object_set_new(o, "audio_streams", json_integer(info->audio_streams));
    json_object_set_new(o, "audio_codec", info->audio_codec[0] ? text(info->audio_codec) : json_null());
    return o;
}

static json_t *options_of(const bs_metadata *m)
{
    const bs_process_options *options = m->options;
    json_t *o = json_object();
    json_object_set_new(o, "mode", json_string(bs_mode_name(options->mode)));
    json_object_set_new(o, "model", json_string(bs_model_name(bs_process_model(options))));
    json_object_set_new(o, "interval", json_integer(bs_process_interval(options)));
    json_object_set_new(o, "people", json_integer(options->people));
    json_object_set_new(o, "exact", json_boolean(options->exact));
    json_object_set_new(o, "no_video", json_boolean(m->no_video));
    json_object_set_new(o, "save_frames", json_boolean(m->save_frames));
    json_object_set_new(o, "frame_format", json_string(options->png ? "png" : "jpg"));
    json_object_set_new(o, "max_width", json_integer(options->max_width));
    json_object_set_new(o, "max_duration", seconds(options->max_duration_us));
    json_object_set_new(o, "min_detection_confidence", rounded(options->min_detection_confidence, 6));
    json_object_set_new(o, "min_tracking_confidence", rounded(options->min_tracking_confidence, 6));
    json_object_set_new(o, "static_image_mode", json_boolean(options->static_image_mode));
    json_object_set_new(o, "smooth_landmarks", json_boolean(options->smooth_landmarks));
    json_object_set_new(o, "threads", json_integer(m->summary->decoder_threads));
    json_object_set_new(o, "encoder_threads", json_integer(m->summary->encoder_threads));
    json_object_set_new(o, "isa", text(m->summary->isa));
    json_object_set_new(o, "memory_limit_mb", rounded((double)options->memory_limit / MIB, 1));
    return o;
}

static json_t *receipt_of(const bs_metadata *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "program", json_string("bodyscript " BS_VERSION));
    json_object_set_new(o, "model", json_string(bs_model_name(bs_process_model(m->options))));
    json_object_set_new(o, "model_sha256", text(m->model_sha256));
    json_object_set_new(o, "input_sha256", text(m->summary->sha256));
    json_object_set_new(o, "options", options_of(m));
    return o;
}

static json_t *document(const bs_metadata *m)
{
    char stamp[32];
    time_t at = (time_t)(m->processed_at_us / 1000000);
    struct tm utc;
    gmtime_r(&at, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);

    json_t *urls = json_object();
    for (const bs_metadata_url *url = m->urls; url && url->label; url++)
        json_object_set_new(urls, url->label, text(url->url));

    json_t *o = json_object();
    json_object_set_new(o, "job_id", m->job_id ? text(m->job_id) : json_null());
    json_object_set_new(o, "filename", text(m->filename));
    json_object_set_new(o, "processed_at", json_string(stamp));
    json_object_set_new(o, "statistics", statistics_of(m->options, m->summary));
    json_object_set_new(o, "urls", urls);
    json_object_set_new(o, "video_info", info_of(&m->summary->info));
    json_object_set_new(o, "receipt", receipt_of(m));
    return o;
}

static char *dump(json_t *value, size_t flags)
{
    char *out = json_dumps(value, flags | JSON_REAL_PRECISION(15));
    json_decref(value);
    return out;
}

char *bs_metadata_statistics(const bs_process_options *options, const bs_summary *summary)
{
    return dump(statistics_of(options, summary), JSON_COMPACT);
}

char *bs_video_info_text(const bs_video_info *info)
{
    return dump(info_of(info), JSON_COMPACT);
}

char *bs_metadata_text(const bs_metadata *metadata)
{
    return dump(document(metadata), JSON_COMPACT);
}

bs_status bs_metadata_write(int fd, const bs_metadata *metadata, bs_error *err)
{
    bs_status status = BS_ERR_NOMEM;
    char *all = dump(document(metadata), JSON_INDENT(2));
    bs_sink *sink = malloc(sizeof(*sink));
    if (!all || !sink) {
        bs_fail(err, status, "no memory for metadata.json");
        goto out;
    }
    bs_sink_init(sink, fd, "metadata.json");
    bs_sink_text(sink, all);
    bs_sink_text(sink, "\n");
    status = bs_sink_flush(sink, err);
out:
    free(sink);
    free(all);
    return status;
}
