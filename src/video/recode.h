/* Sound that browsers do not play from MP4 (AC-3, PCM, Vorbis, WMA and so on), made into AAC that they do: mono or
 * stereo, at the input's rate where AAC has it.
 *
 *     for each packet: bs_recoder_put(recoder, packet, at), then bs_recoder_take() until it has none
 *     bs_recoder_end(recoder), then bs_recoder_take() until it has none
 *
 * Times are in samples of bs_recoder_rate(). Memory: 2 MB, most of it libavcodec's AAC encoder; nothing grows.
 * Owner: the caller. Threads: one at a time per recoder. */
#ifndef BS_VIDEO_RECODE_H
#define BS_VIDEO_RECODE_H

#include <stdbool.h>

#include <libavcodec/avcodec.h>

enum { BS_RECODED_SAMPLES = 1024 }; /* of a packet */

typedef struct bs_recoder bs_recoder;

/* NULL: there is no decoder that is used for it, or no memory. */
bs_recoder *bs_recoder_open(const AVCodecParameters *sound, AVRational time_base);
void bs_recoder_close(bs_recoder **recoder);
int bs_recoder_rate(const bs_recoder *recoder);

/* What is put out, with its description. Negative: no memory. */
int bs_recoder_format(const bs_recoder *recoder, AVCodecParameters *out);

/* The packet's sound follows from `at` on, which is where the sound before it ended or later; what would come before 0
 * is not heard. Returns where it ends; of a damaged packet that is `at`. All packets must have been taken before. */
int64_t bs_recoder_put(bs_recoder *recoder, const AVPacket *packet, int64_t at);

/* No sound follows: what is left comes out, with silence to the end of its packet. */
void bs_recoder_end(bs_recoder *recoder);

/* The next packet and its time (packet->pts, ascending); the first may begin before 0: a run-up, which nobody hears.
 * False: there is none yet. */
bool bs_recoder_take(bs_recoder *recoder, AVPacket *packet);

#endif
