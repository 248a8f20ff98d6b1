/* Leaving out frames that nobody needs, where the codec lets a decoder do without them.
 *
 * A skipper stands between the demuxer and the decoder. It looks some packets ahead, so that it knows the place of
 * each in order of presentation from the time stamps, and withholds a packet when its frame is not a multiple of
 * `every` and no other frame is predicted from it: every frame of codecs without prediction (MJPEG, ProRes, DV …),
 * and of H.264 (nal_ref_idc 0) and HEVC (sub-layer non-reference pictures of streams with one layer) those
 * that the standards declare dispensable. The frames that remain are the same to the bit.
 * It steps back for good where packets and frames may not be one to one, since each frame's number is reckoned from the
 * packets before it: H.264 with a picture that is a field, or whose parameter sets do not say how many pictures are put
 * into order (where some are), broken links of HEVC, packets without a picture; time stamps missing or repeated; a
 * frame that did not come where it was expected. Owner: the reader. Threads: the reader's. */
#ifndef BS_VIDEO_SKIP_H
#define BS_VIDEO_SKIP_H

#include <stdbool.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include <bodyscript/status.h>

typedef struct bs_skipper bs_skipper;

/* NULL in *out, and BS_OK, where the codec does not allow it. */
bs_status bs_skipper_open(bs_skipper **out, const AVCodecParameters *codec, int every, bs_error *err);
void bs_skipper_close(bs_skipper **skipper);

/* Room for another packet of the look-ahead; false: take one out first. */
bool bs_skipper_has_room(const bs_skipper *skipper);
/* Takes the packet's content, the next one in order of decoding. */
void bs_skipper_put(bs_skipper *skipper, AVPacket *packet);
/* The next packet to decode, into `packet`; false: all have been taken. */
bool bs_skipper_take(bs_skipper *skipper, AVPacket *packet);

/* The time stamp of the first frame that was left out and is presented before `pts`; it counts as given then. */
bool bs_skipper_due(bs_skipper *skipper, int64_t pts, int64_t *out);
/* A decoded frame was given as the one of that index. */
void bs_skipper_given(bs_skipper *skipper, int64_t pts, int64_t index);
/* Nothing more is left out. */
void bs_skipper_stop(bs_skipper *skipper);

#endif
