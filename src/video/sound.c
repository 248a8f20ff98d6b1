/* The queue of sound packets (see sound.h). */
#include <stdlib.h>
#include <string.h>

#include "av.h"
#include "sound.h"

enum { MAX_BYTES = 2 << 20 };
/* Beyond them from where it is due: a clock has jumped; or, if the pictures are near it too, sound has paused. */
static const int64_t LEAP_US = 10000000, BACK_US = 100000, NEAR_US = 2000000;
/* Pictures whose first second tells no time tell none. */
static const int64_t UNTOLD_US = 900000;
/* Pictures of the same place in the file are given later by less. */
static const int64_t PATIENCE_US = 2000000;
/* From the first frame: a year. */
static const int64_t MAX_TIME_US = INT64_C(1000000) * 3600 * 24 * 365;

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
    item->pushed_us = sound->pictures_us;
    sound->bytes += (size_t)item->packet->size;
    *sound->end = item;
    sound->end = &item->next;
out:
    pthread_mutex_unlock(&sound->lock);
    return status;
}

void bs_sound_set_origin(bs_sound *sound, int64_t origin_us, int64_t pictures_us)
{
    pthread_mutex_lock(&sound->lock);
    sound->pictures_us = pictures_us;
    if (!sound->origins || sound->origin_us[sound->origins - 1] != origin_us) {
        if (sound->origins == BS_SOUND_ORIGINS)
            memmove(sound->origin_us, sound->origin_us + 1, (size_t)--sound->origins * sizeof(*sound->origin_us));
        sound->origin_us[sound->origins++] = origin_us;
    }
    pthread_mutex_unlock(&sound->lock);
}

bool bs_sound_overflowed(bs_sound *sound)
{
    pthread_mutex_lock(&sound->lock);
    const bool overflowed = sound->overflowed;
    pthread_mutex_unlock(&sound->lock);
    return overflowed;
}

static int64_t raw_time(const bs_sound *sound, const AVPacket *packet)
{
    const int64_t stamp = packet->pts != AV_NOPTS_VALUE ? packet->pts : packet->dts;
    return stamp == AV_NOPTS_VALUE ? BS_NO_TIME : av_rescale_q(stamp, sound->time_base, AV_TIME_BASE_Q);
}

/* BS_NO_TIME too where the stamp is beyond all reason, so that it can be reckoned with. */
static int64_t since(int64_t raw, int64_t zero_us)
{
    int64_t time;
    if (raw == BS_NO_TIME || __builtin_sub_overflow(raw, zero_us, &time) || time < -MAX_TIME_US || time > MAX_TIME_US)
        return BS_NO_TIME;
    return time;
}

/* Of the timelines that the pictures have had since the sound's, the one in which `raw` lies closest to the pictures
 * beside it in the file becomes the sound's. False: none is closer than its own. */
static bool change_timeline(bs_sound *sound, int64_t raw, int64_t beside_us)
{
    const int64_t own = since(raw, sound->zero_us);
    int64_t best = sound->told && own != BS_NO_TIME ? llabs(own - beside_us) : INT64_MAX;
    int found = -1;
    for (int i = 0; i < sound->origins; i++) {
        const int64_t time = since(raw, sound->origin_us[i]);
        if (time == BS_NO_TIME || llabs(time - beside_us) >= best)
            continue;
        best = llabs(time - beside_us);
        found = i;
    }
    if (found < 0 || (sound->told && best > LEAP_US))
        return false;
    sound->zero_us = sound->origin_us[found];
    sound->origins -= found;
    memmove(sound->origin_us, sound->origin_us + found, (size_t)sound->origins * sizeof(*sound->origin_us));
    return true;
}

/* Where a file's time begins anew, it does for pictures and sound, at different places of the file. False: the pictures
 * are still to tell where the packet belongs. */
static bool set_time(bs_sound *sound, bs_sound_packet *item, int64_t until_us)
{
    const int64_t raw = raw_time(sound, item->packet);
    item->time_us = BS_NO_TIME;
    if (!sound->told && !sound->origins && until_us < UNTOLD_US)
        return false;
    if (!sound->told)
        change_timeline(sound, raw, item->pushed_us);
    int64_t time = since(raw, sound->zero_us);
    if (time == BS_NO_TIME)
        return true;
    if (sound->told && (time < sound->due_us - BACK_US || time > sound->due_us + LEAP_US)) {
        const bool pause = time > sound->due_us && time <= sound->pictures_us + NEAR_US;
        item->anew = change_timeline(sound, raw, item->pushed_us);
        if (!item->anew && !pause && until_us < item->pushed_us + PATIENCE_US)
            return false;
        if (!item->anew && !pause && /* its clock alone has jumped */
            __builtin_add_overflow(sound->zero_us, time - sound->due_us, &sound->zero_us))
            return true;
        time = since(raw, sound->zero_us);
        if (time == BS_NO_TIME)
            return true;
    }
    const int64_t lasts = av_rescale_q(item->packet->duration, sound->time_base, AV_TIME_BASE_Q);
    sound->told = true;
    item->time_us = time;
    sound->due_us = time + (lasts > 0 && lasts < LEAP_US ? lasts : 0); /* a file may claim anything */
    return true;
}

bs_sound_packet *bs_sound_take(bs_sound *sound, int64_t until_us)
{
    pthread_mutex_lock(&sound->lock);
    bs_sound_packet *item = sound->first;
    if (item && !set_time(sound, item, until_us))
        item = NULL;
    if (item) {
        sound->first = item->next;
        if (!sound->first)
            sound->end = &sound->first;
        sound->bytes -= (size_t)item->packet->size;
        item->next = NULL;
    }
    pthread_mutex_unlock(&sound->lock);
    return item;
}
