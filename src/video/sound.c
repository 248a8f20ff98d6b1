/* The queue of sound packets (see sound.h). */
#include <stdlib.h>

#include "av.h"
#include "sound.h"

enum { MAX_BYTES = 2 << 20 };
static const int64_t MAX_TIME_US = INT64_C(1000000) * 3600 * 24 * 365; /* from the first frame: a year */

bs_status bs_sound_open(bs_sound **out, const AVCodecParameters *parameters, AVRational time_base, bs_error *err)
{
    bs_sound *const sound = calloc(1, sizeof(*sound));
    if (!sound)
        return bs_fail(err, BS_ERR_NOMEM, "not enough memory for the sound");
    pthread_mutex_init(&sound->lock, NULL);
    sound->end = &sound->first;
    sound->time_base = time_base;
    sound->parameters = avcodec_parameters_alloc();
    const int code = sound->parameters ? avcodec_parameters_copy(sound->parameters, parameters) : AVERROR(ENOMEM);
    if (code < 0) {
        bs_sound *half = sound;
        bs_sound_close(&half);
        return bs_av_fail(err, BS_ERR_NOMEM, code, "the sound cannot be kept");
    }
    *out = sound;
    return BS_OK;
}

void bs_sound_packet_free(bs_sound_packet *packet)
{
    if (!packet)
        return;
    av_packet_free(&packet->packet);
    free(packet);
}

static void drop_all(bs_sound *sound)
{
    while (sound->first) {
        bs_sound_packet *const next = sound->first->next;
        bs_sound_packet_free(sound->first);
        sound->first = next;
    }
    sound->end = &sound->first;
    sound->bytes = 0;
}

void bs_sound_close(bs_sound **sound)
{
    if (!sound || !*sound)
        return;
    drop_all(*sound);
    avcodec_parameters_free(&(*sound)->parameters);
    pthread_mutex_destroy(&(*sound)->lock);
    free(*sound);
    *sound = NULL;
}

bs_status bs_sound_push(bs_sound *sound, AVPacket *packet, bs_error *err)
{
    bs_status status = BS_OK;
    bs_sound_packet *item = NULL;
    pthread_mutex_lock(&sound->lock);
    if (sound->overflowed || packet->size < 0)
        goto out;
    if (sound->bytes + (size_t)packet->size > MAX_BYTES) {
        sound->overflowed = true;
        drop_all(sound);
        goto out;
    }
    item = calloc(1, sizeof(*item));
    if (item)
        item->packet = av_packet_alloc();
    if (!item || !item->packet) {
        bs_sound_packet_free(item);
        status = bs_fail(err, BS_ERR_NOMEM, "not enough memory for the sound");
        goto out;
    }
    av_packet_move_ref(item->packet, packet);
    sound->bytes += (size_t)item->packet->size;
    *sound->end = item;
    sound->end = &item->next;
out:
    pthread_mutex_unlock(&sound->lock);
    return status;
}

void bs_sound_set_origin(bs_sound *sound, int64_t origin_us)
{
    pthread_mutex_lock(&sound->lock);
    sound->origin_us = origin_us;
    sound->known = true;
    pthread_mutex_unlock(&sound->lock);
}

bool bs_sound_overflowed(bs_sound *sound)
{
    pthread_mutex_lock(&sound->lock);
    const bool overflowed = sound->overflowed;
    pthread_mutex_unlock(&sound->lock);
    return overflowed;
}

/* From the first frame's; BS_NO_TIME too where the stamp is beyond all reason, so that it can be reckoned with. */
static int64_t time_of(const bs_sound *sound, const AVPacket *packet)
{
    const int64_t stamp = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
    const int64_t raw = stamp == AV_NOPTS_VALUE ? BS_NO_TIME : av_rescale_q(stamp, sound->time_base, AV_TIME_BASE_Q);
    int64_t time;
    if (raw == BS_NO_TIME || __builtin_sub_overflow(raw, sound->origin_us, &time) || time < -MAX_TIME_US ||
        time > MAX_TIME_US)
        return BS_NO_TIME;
    return time;
}

bs_sound_packet *bs_sound_take(bs_sound *sound)
{
    pthread_mutex_lock(&sound->lock);
    bs_sound_packet *const item = sound->known ? sound->first : NULL;
    if (item) {
        sound->first = item->next;
        if (!sound->first)
            sound->end = &sound->first;
        sound->bytes -= (size_t)item->packet->size;
        item->time_us = time_of(sound, item->packet);
        item->next = NULL;
    }
    pthread_mutex_unlock(&sound->lock);
    return item;
}
