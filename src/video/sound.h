/* Compressed sound on its way from the reader's thread to the writer's: a bounded queue of packets.
 *
 * Sound runs ahead of the pictures by what the file interleaves and the decoder delays, a second or so; where a
 * file keeps all its sound in one place the queue is full before a picture comes, and the sound is given up
 * rather than memory. Owner: the reader. Threads: push and set_origin on one, take and overflowed on another. */
#ifndef BS_VIDEO_SOUND_H
#define BS_VIDEO_SOUND_H

#include <pthread.h>

#include <libavcodec/avcodec.h>

#include "clock.h"
#include "reader.h"

enum { BS_SOUND_ORIGINS = 8 };

typedef struct bs_sound_packet {
    struct bs_sound_packet *next;
    int64_t time_us;   /* from the first frame's presentation; negative: before it; BS_NO_TIME: not known */
    int64_t pushed_us; /* time of the picture that was given last when the packet was read */
    bool anew;         /* a new timeline of the file's begins, here as with the pictures */
    AVPacket *packet;
} bs_sound_packet;

struct bs_sound {
    AVCodecParameters *parameters;
    AVRational time_base;

    pthread_mutex_t lock;
    bs_sound_packet *first, **end;
    size_t bytes;
    bool overflowed;
    int64_t origin_us[BS_SOUND_ORIGINS]; /* raw times that count as 0: of the timelines that the pictures have had */
    int origins;                         /* how many are known, the latest last; 0: no frame has told its time */
    int64_t pictures_us;                 /* time of the latest picture */

    /* the taker's */
    bool told;       /* a packet that tells its time was taken */
    int64_t zero_us; /* raw time that counts as 0 for the sound */
    int64_t due_us;  /* where the packet that was taken last ends */
};

bs_status bs_sound_open(bs_sound **out, const AVCodecParameters *parameters, AVRational time_base, bs_error *err);
void bs_sound_close(bs_sound **sound);

/* Takes the packet's content. */
bs_status bs_sound_push(bs_sound *sound, AVPacket *packet, bs_error *err);

/* The raw time that counts as 0 for the pictures from now on; the latest one's time. */
void bs_sound_set_origin(bs_sound *sound, int64_t origin_us, int64_t pictures_us);

/* Whether it was given up for memory: nothing more comes. */
bool bs_sound_overflowed(bs_sound *sound);

/* The next packet, whose time_us is then known; the caller frees it with bs_sound_packet_free(). NULL: none now, or the
 * pictures are still to tell where it belongs. `until_us`: pictures have been given up to there. */
bs_sound_packet *bs_sound_take(bs_sound *sound, int64_t until_us);
void bs_sound_packet_free(bs_sound_packet *packet);

#endif
