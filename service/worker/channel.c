/* channel: what a job process reports, read as it comes. The process has handled media from strangers, so nothing that
 * it says is believed unchecked: sizes, texts, numbers. Saved frames go to their file piece by piece. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/worker/internal.h"

enum { PIECE = 65536, PIECES_AT_A_TIME = 64 };

/* It goes into the store, into JSON and into logs. */
#define END_TEXT(array) ((array)[sizeof(array) - 1] = '\0', bs_text_clean(array))

static void check_number(double *number)
{
    if (!isfinite(*number))
        *number = 0;
}

static void check_info(bs_video_info *info)
{
    END_TEXT(info->container);
    END_TEXT(info->codec);
    END_TEXT(info->profile);
    END_TEXT(info->pixel_format);
    END_TEXT(info->audio_codec);
    check_number(&info->frame_rate);
}

static void check_summary(bs_summary *s)
{
    double *numbers[] = {&s->average_quality, &s->detection_rate, &s->feet_outside,  &s->seconds,
                         &s->cpu_seconds,     &s->stage.decode,   &s->stage.convert, &s->stage.pose,
                         &s->stage.draw,      &s->stage.encode,   &s->stage.write};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        check_number(numbers[i]);
    END_TEXT(s->advice);
    END_TEXT(s->lean);
    END_TEXT(s->sha256);
    END_TEXT(s->isa);
    check_info(&s->info);
}

static void take_progress(bs_worker *worker, bs_slot *slot)
{
    const bs_progress *p = &slot->body.progress;
    pthread_mutex_lock(&worker->lock);
    bs_job *job = &slot->job;
    job->current_frame = p->frames_done > 0 ? p->frames_done : 0;
    if (p->frames_total > 0)
        job->total_frames = p->frames_total;
    if (job->total_frames > 0) {
        double percent = 100.0 * (double)job->current_frame / (double)job->total_frames;
        job->progress = percent < 99 ? (int)percent : 99;
        snprintf(job->message, sizeof(job->message), "Processing frame %" PRId64 " of %" PRId64, job->current_frame,
                 job->total_frames);
    } else {
        snprintf(job->message, sizeof(job->message), "Processing frame %" PRId64, job->current_frame);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* What it makes cannot be kept. */
static void stop_for_disk(bs_worker *worker, bs_slot *slot, const char *why)
{
    snprintf(slot->reason, sizeof(slot->reason), "%s", why);
    bs_worker_stop_slot(worker, slot, BS_STOP_DISK);
}

/* False: it makes no sense. */
static bool begin_report(bs_worker *worker, bs_slot *slot)
{
    static const uint32_t exact[BS_REPORT_KINDS] = {[BS_REPORT_PROGRESS] = sizeof(bs_progress),
                                                    [BS_REPORT_PROBED] = sizeof(bs_probed),
                                                    [BS_REPORT_DONE] = sizeof(bs_done)};
    const bs_report *head = &slot->head;
    switch (head->kind) {
    case BS_REPORT_PROGRESS:
    case BS_REPORT_PROBED:
    case BS_REPORT_DONE: return head->size == exact[head->kind];
    case BS_REPORT_NOTE: return head->size < BS_REPORT_NOTE_MAX;
    case BS_REPORT_FRAME: break;
    default: return false;
    }
    if (slot->state != BS_SLOT_JOB || !slot->job.options.save_frames || head->size > BS_REPORT_FRAME_MAX ||
        head->value < 0)
        return false;
    bs_error err = {0};
    snprintf(slot->frame_name, sizeof(slot->frame_name), "frame_%06" PRId64 ".%s", head->value,
             slot->job.options.png ? "png" : "jpg");
    if (bs_artifacts_create(worker->artifacts, slot->job.id, slot->frame_name, &slot->frame_fd, &err) != BS_OK) {
        bs_log(BS_LOG_ERROR, "worker", "job %s: frame %" PRId64 " cannot be saved: %s", slot->job.id, head->value,
               err.text);
        slot->frame_fd = -1;
        stop_for_disk(worker, slot, err.text);
    }
    return true;
}

static void end_frame(bs_worker *worker, bs_slot *slot)
{
    bs_error err = {0};
    if (slot->frame_fd < 0)
        return;
    if (bs_artifacts_commit(worker->artifacts, slot->job.id, slot->frame_name, slot->frame_fd, &err) != BS_OK)
        stop_for_disk(worker, slot, err.text);
    close(slot->frame_fd);
    slot->frame_fd = -1;
}

/* The report is complete. */
static void end_report(bs_worker *worker, bs_slot *slot, bool *progressed)
{
    switch (slot->head.kind) {
    case BS_REPORT_PROGRESS:
        take_progress(worker, slot);
        *progressed = true;
        break;
    case BS_REPORT_NOTE:
        slot->body.note[slot->head.size] = '\0';
        bs_log(BS_LOG_INFO, "worker", "job %s: %s", slot->job.id, slot->body.note);
        break;
    case BS_REPORT_FRAME: end_frame(worker, slot); break;
    case BS_REPORT_PROBED:
        if (slot->submission) {
            slot->submission->probed = slot->body.probed;
            check_info(&slot->submission->probed.info);
            END_TEXT(slot->submission->probed.error.text);
            END_TEXT(slot->submission->probed.estimate.lean);
            slot->done_there = true;
        }
        break;
    case BS_REPORT_DONE:
        slot->done = slot->body.done;
        check_summary(&slot->done.summary);
        END_TEXT(slot->done.error.text);
        if (slot->submission) { /* it did not get as far as probing */
            slot->submission->probed.status = BS_ERR_FAILED;
            slot->submission->probed.error = slot->done.error;
        }
        slot->done_there = true;
        break;
    default: break;
    }
    slot->head_have = slot->body_have = 0;
}

static void put_piece(bs_worker *worker, bs_slot *slot, const char *piece, size_t size)
{
    while (size > 0 && slot->frame_fd >= 0) {
        ssize_t wrote = write(slot->frame_fd, piece, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            bs_error err = {0};
            bs_fail(&err, BS_ERR_IO, "a frame cannot be saved: %s", strerror(errno));
            stop_for_disk(worker, slot, err.text);
            close(slot->frame_fd);
            slot->frame_fd = -1;
            return;
        }
        piece += wrote;
        size -= (size_t)wrote;
    }
}

/* Reads the next piece of the report that arrives: of its head, its body, or of a frame. As read(); EAGAIN where
 * nothing is there now: the scheduler waits for nobody. */
static ssize_t read_piece(bs_worker *worker, bs_slot *slot)
{
    if (slot->head_have < sizeof(slot->head))
        return recv(slot->channel, (char *)&slot->head + slot->head_have, sizeof(slot->head) - slot->head_have,
                    MSG_DONTWAIT);
    size_t missing = slot->head.size - slot->body_have;
    if (slot->head.kind != BS_REPORT_FRAME)
        return recv(slot->channel, (char *)&slot->body + slot->body_have, missing, MSG_DONTWAIT);
    char piece[PIECE];
    ssize_t got = recv(slot->channel, piece, missing < sizeof(piece) ? missing : sizeof(piece), MSG_DONTWAIT);
    if (got > 0)
        put_piece(worker, slot, piece, (size_t)got);
    return got;
}

bool bs_channel_read(bs_worker *worker, bs_slot *slot, bool *progressed)
{
    for (int i = 0; i < PIECES_AT_A_TIME; i++) {
        ssize_t got = read_piece(worker, slot);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got <= 0)
            return false;
        if (slot->head_have < sizeof(slot->head)) {
            slot->head_have += (size_t)got;
            if (slot->head_have == sizeof(slot->head) && !begin_report(worker, slot)) {
                bs_worker_stop_slot(worker, slot, BS_STOP_BROKEN);
                return false;
            }
        } else {
            slot->body_have += (size_t)got;
        }
        if (slot->head_have == sizeof(slot->head) && slot->body_have == slot->head.size)
            end_report(worker, slot, progressed);
    }
    return true;
}

void bs_channel_close(bs_worker *worker, bs_slot *slot)
{
    if (slot->frame_fd >= 0) {
        bs_artifacts_abandon(worker->artifacts, slot->job.id, slot->frame_name);
        close(slot->frame_fd);
        slot->frame_fd = -1;
    }
    if (slot->channel >= 0)
        close(slot->channel);
    slot->channel = -1;
}
