/* A small MP4 muxer (ISO 14496-12, -14, -15) for one H.264 track and one track of copied sound.
 *
 * Why not libavformat's: its index costs about 80 bytes per sample while the file is written (3.6 MB for ten minutes
 * of video and sound; ours 0.2 MB), and its fragmented form, which keeps none, has no duration in its header and no
 * seek table that all players read. Here a sample is three to six bytes in a packed table until the end, where the
 * ordinary index is streamed out from it, in front of the pictures: `ftyp moov mdat`, one chunk for about half a
 * second. No edit list for the pictures (composition offsets are signed, version 1 of `ctts`), one for sound that
 * does not begin with them.
 *
 * Owner: the descriptor stays the caller's; written from its current position on. Errors: BS_ERR_IO where it cannot be
 * written, BS_ERR_NOMEM. Threads: one at a time. */
#ifndef BS_VIDEO_MP4_H
#define BS_VIDEO_MP4_H

#include <stdbool.h>

#include <libavcodec/avcodec.h>

#include <bodyscript/status.h>

enum { BS_MP4_TIMESCALE = 90000 }; /* of the pictures: 29.97, 25, 24 and 60 frames a second are whole numbers of it */

typedef struct bs_mp4 bs_mp4;

typedef struct bs_mp4_picture_format {
    int width, height;
    const uint8_t *extradata; /* sequence and picture parameter sets with start codes */
    int extradata_size;
    int primaries, transfer, matrix; /* ITU-T H.273 */
} bs_mp4_picture_format;

bs_status bs_mp4_open(bs_mp4 **out, int fd, bs_error *err);
void bs_mp4_close(bs_mp4 **mp4);

bs_status bs_mp4_set_video(bs_mp4 *mp4, const bs_mp4_picture_format *format, bs_error *err);

/* Whether MP4 takes the codec, and browsers play it from there: AAC, MP3, Opus, FLAC. */
bool bs_mp4_takes_sound(const AVCodecParameters *sound);
bs_status bs_mp4_set_sound(bs_mp4 *mp4, const AVCodecParameters *sound, bs_error *err);
int bs_mp4_sound_timescale(const AVCodecParameters *sound);

/* A picture with start codes, in order of decoding; dts ascends; times in BS_MP4_TIMESCALE. */
bs_status bs_mp4_write_video(bs_mp4 *mp4, const uint8_t *data, size_t size, int64_t dts, int64_t pts, bool key,
                             bs_error *err);
/* Sound; `time` in its timescale, from the first picture's presentation (negative: before it), ascending. */
bs_status bs_mp4_write_sound(bs_mp4 *mp4, const uint8_t *data, size_t size, int64_t time, bs_error *err);

/* The index, and the durations of the last samples. */
bs_status bs_mp4_finish(bs_mp4 *mp4, int64_t last_picture_duration, int64_t last_sound_duration, bs_error *err);

#endif
