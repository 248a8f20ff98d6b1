/* The job record (see job.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "service/jobs/job.h"

static const char *const state_names[BS_JOB_STATES] = {"pending", "processing", "completed", "failed", "cancelled"};

const char *bs_job_state_name(bs_job_state state)
{
    return (unsigned)state < BS_JOB_STATES ? state_names[state] : "unknown";
}

bool bs_job_state_is_final(bs_job_state state)
{
    return state == BS_JOB_COMPLETED || state == BS_JOB_FAILED || state == BS_JOB_CANCELLED;
}

bs_status bs_job_id_new(char out[BS_JOB_ID_LENGTH + 1], bs_error *err)
{
    unsigned char bytes[BS_JOB_ID_LENGTH / 2];
    size_t have = 0;
    while (have < sizeof(bytes)) {
        ssize_t got = getrandom(bytes + have, sizeof(bytes) - have, 0);
        if (got > 0)
            have += (size_t)got;
        else if (errno != EINTR)
            return bs_fail(err, BS_ERR_IO, "the system gives no random bytes: %s", strerror(errno));
    }
    for (size_t i = 0; i < sizeof(bytes); i++)
        sprintf(out + 2 * i, "%02x", bytes[i]);
    return BS_OK;
}

bool bs_job_id_valid(const char *text)
{
    return text && strspn(text, "0123456789abcdef") == BS_JOB_ID_LENGTH && !text[BS_JOB_ID_LENGTH];
}

int64_t bs_job_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bs_status bs_job_init(bs_job *out, const bs_settings *settings, bs_error *err)
{
    const bool asked = settings->origin[BS_SET_FRAME_EXTRACTION_INTERVAL] != BS_FROM_DEFAULT;
    bs_job job = {
        .state = BS_JOB_PENDING,
        .options =
            {
                .mode = (bs_mode)settings->mode,
                .model = -1,
                .interval = asked ? (int)settings->frame_extraction_interval : 0,
                .people = 1,
                .max_width = (int)settings->max_video_width,
                .max_duration_us = settings->max_video_duration_seconds * 1000000,
                .save_frames = settings->save_frames,
                .png = settings->frame_format == 1,
            },
        .created_us = bs_job_now(),
    };
    bs_status rc = bs_job_id_new(job.id, err);
    if (rc == BS_OK)
        *out = job;
    return rc;
}
