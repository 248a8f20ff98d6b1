/* metadata.json (see bodyscript/metadata.h; the fields are explained in docs/results.md). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bodyscript/metadata.h>
#include <bodyscript/version.h>

#include "output/sink.h"

#define MIB (1024.0 * 1024.0)

/* Adds a member, whose reference it takes. A NULL, where memory was refused, becomes the whole's, so that no step needs
 * a check of its own and nothing is left out silently. */
static void put(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) == 0)
        return;
    json_decref(*object);
    *object = NULL;
}

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
    snprintf(clean, sizeof(clean), "%s", value);
    bs_text_clean(clean);
    return json_string(clean);
}

static json_t *statistics_of(const bs_process_options *options, const bs_summary *s)
{
    json_t *o = json_object();
    put(&o, "frames_processed", json_integer(s->frames_analysed));
    put(&o, "frames_total", json_integer(s->frames_decoded));
    put(&o, "frames_detected", json_integer(s->frames_detected));
    put(&o, "frames_tracked", json_integer(s->frames_tracked));
    put(&o, "frames_missing", json_integer(s->frames_missing));
    put(&o, "frames_damaged", json_integer(s->frames_damaged));
    put(&o, "input_truncated", json_boolean(s->input_truncated));
    put(&o, "average_quality", rounded(s->average_quality, 4));
    put(&o, "detection_rate", rounded(s->detection_rate, 4));
    put(&o, "swapped_suspect", json_integer(s->swapped_suspect));
    put(&o, "landmarks_outside", json_integer(s->landmarks_outside));
    put(&o, "feet_outside", rounded(s->feet_outside, 4));
    put(&o, "advice", text(s->advice));
    put(&o, "processing_mode", json_string(bs_mode_name(options->mode)));
    put(&o, "processing_time", rounded(s->seconds, 3));
    put(&o, "cpu_seconds", rounded(s->cpu_seconds, 3));
    put(&o, "peak_memory_mb", rounded((double)s->peak_memory / MIB, 1));
    put(&o, "reserved_memory_mb", rounded((double)s->reserved_memory / MIB, 1));
    put(&o, "leaner_settings", text(s->lean));
    put(&o, "video_was_trimmed", json_boolean(s->trimmed));
    put(&o, "video_was_resized", json_boolean(s->resized));
    put(&o, "original_duration", seconds(s->original_duration_us));
    put(&o, "processed_duration", seconds(s->processed_duration_us));
    put(&o, "output_width", json_integer(s->output_width));
    put(&o, "output_height", json_integer(s->output_height));

    json_t *stage = json_object();
    put(&stage, "decode", rounded(s->stage.decode, 3));
    put(&stage, "convert", rounded(s->stage.convert, 3));
    put(&stage, "pose", rounded(s->stage.pose, 3));
    put(&stage, "draw", rounded(s->stage.draw, 3));
    put(&stage, "encode", rounded(s->stage.encode, 3));
    put(&stage, "write", rounded(s->stage.write, 3));
    put(&o, "stage_seconds", stage);
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
    put(&o, "container", text(info->container));
    put(&o, "codec", text(info->codec));
    put(&o, "profile", text(info->profile));
    put(&o, "pixel_format", text(info->pixel_format));
    put(&o, "photo", json_boolean(info->photo));
    put(&o, "width", json_integer(info->width));
    put(&o, "height", json_integer(info->height));
    put(&o, "coded_width", json_integer(info->coded_width));
    put(&o, "coded_height", json_integer(info->coded_height));
    put(&o, "rotation", json_integer(turns[info->orientation & 7].degrees));
    put(&o, "mirrored", json_boolean(turns[info->orientation & 7].mirrored));
    put(&o, "sample_aspect_ratio",
        json_sprintf("%d:%d", info->sar_num ? info->sar_num : 1, info->sar_den ? info->sar_den : 1));
    put(&o, "bit_depth", json_integer(info->bit_depth));
    put(&o, "full_range", json_boolean(info->full_range));
    put(&o, "hdr", json_boolean(info->hdr));
    put(&o, "interlaced", json_boolean(info->interlaced));
    put(&o, "color_matrix", json_string(matrices[info->matrix <= BS_MATRIX_BT2020 ? info->matrix : 0]));
    put(&o, "level", json_integer(info->level));
    put(&o, "reference_frames", json_integer(info->reference_frames));
    put(&o, "fps", rounded(info->frame_rate, 4));
    put(&o, "duration", seconds(info->duration_us));
    put(&o, "start", seconds(info->start_us));
    put(&o, "frames", json_integer(info->frames));
    put(&o, "file_size", json_integer(info->file_size));
    put(&o, "video_streams", json_integer(info->video_streams));
    put(&o, "audio_streams", json_integer(info->audio_streams));
    put(&o, "audio_codec", info->audio_codec[0] ? text(info->audio_codec) : json_null());
    return o;
}

static json_t *options_of(const bs_metadata *m)
{
    const bs_process_options *options = m->options;
    json_t *o = json_object();
    put(&o, "mode", json_string(bs_mode_name(options->mode)));
    put(&o, "model", json_string(bs_model_name(bs_process_model(options))));
    put(&o, "interval", json_integer(bs_process_interval(options)));
    put(&o, "people", json_integer(options->people));
    put(&o, "exact", json_boolean(options->exact));
    put(&o, "no_video", json_boolean(m->no_video));
    put(&o, "save_frames", json_boolean(m->save_frames));
    put(&o, "frame_format", json_string(options->png ? "png" : "jpg"));
    put(&o, "max_width", json_integer(options->max_width));
    put(&o, "max_duration", seconds(options->max_duration_us));
    put(&o, "min_detection_confidence", rounded(options->min_detection_confidence, 6));
    put(&o, "min_tracking_confidence", rounded(options->min_tracking_confidence, 6));
    put(&o, "static_image_mode", json_boolean(options->static_image_mode));
    put(&o, "smooth_landmarks", json_boolean(options->smooth_landmarks));
    /* What the option was, or what gives the same: only the encoder's bytes depend on it. */
    const int encoding = m->summary->encoder_threads, decoding = m->summary->decoder_threads;
    put(&o, "threads", json_integer(encoding > 0 ? encoding : decoding));
    put(&o, "decoder_threads", json_integer(decoding));
    put(&o, "encoder_threads", json_integer(m->summary->encoder_threads));
    put(&o, "isa", text(m->summary->isa));
    put(&o, "memory_limit_mb", rounded((double)options->memory_limit / MIB, 1));
    return o;
}

static json_t *receipt_of(const bs_metadata *m)
{
    json_t *o = json_object();
    put(&o, "program", json_string("bodyscript " BS_VERSION));
    put(&o, "model", json_string(bs_model_name(bs_process_model(m->options))));
    put(&o, "model_sha256", text(m->model_sha256));
    put(&o, "input_sha256", text(m->summary->sha256));
    put(&o, "options", options_of(m));
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
        put(&urls, url->label, text(url->url));

    json_t *o = json_object();
    put(&o, "job_id", m->job_id ? text(m->job_id) : json_null());
    put(&o, "filename", text(m->filename));
    put(&o, "processed_at", json_string(stamp));
    put(&o, "statistics", statistics_of(m->options, m->summary));
    put(&o, "urls", urls);
    put(&o, "video_info", info_of(&m->summary->info));
    put(&o, "receipt", receipt_of(m));
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
