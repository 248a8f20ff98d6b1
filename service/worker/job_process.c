/* What a job process does (see zygote.h): enter the sandbox, probe or process, report, end. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/worker/zygote.h"

enum { MB = 1 << 20 };

static void write_all(int fd, const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
        ssize_t wrote = write(fd, at, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            _exit(1); /* the server is gone */
        at += wrote;
        size -= (size_t)wrote;
    }
}

/* One report after another: saved frames come from a thread of the pipeline, progress from the calling one. */
static void report(int channel, bs_report_kind kind, int64_t value, const void *data, size_t size)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    bs_report head = {.kind = kind, .size = (uint32_t)size, .value = value};
    pthread_mutex_lock(&turn);
    write_all(channel, &head, sizeof(head));
    write_all(channel, data, size);
    pthread_mutex_unlock(&turn);
}

static void report_progress(void *opaque, const bs_progress *progress)
{
    report(*(int *)opaque, BS_REPORT_PROGRESS, 0, progress, sizeof(*progress));
}

static void report_note(void *opaque, const char *sentence)
{
    report(*(int *)opaque, BS_REPORT_NOTE, 0, sentence, strnlen(sentence, BS_REPORT_NOTE_MAX - 1));
}

static int report_frame(void *opaque, int64_t frame_id, const void *data, size_t size)
{
    if (size > BS_REPORT_FRAME_MAX)
        return 1;
    report(*(int *)opaque, BS_REPORT_FRAME, frame_id, data, size);
    return 0;
}

static bs_outputs outputs_of(const bs_order *order, const int given[BS_GIVE_OUTPUTS], int *channel)
{
    bs_outputs outputs = bs_outputs_none();
    outputs.csv_fd = given[0];
    outputs.json_fd = given[1];
    outputs.video_fd = given[2];
    outputs.preview_fd = given[3];
    outputs.thumbnail_fd = given[4];
    if (order->save_frames) {
        outputs.save_frame = report_frame;
        outputs.opaque = channel;
    }
    return outputs;
}

/* The memory of a job, bounded so that `budget` bytes are its own and what it shares with others comes on top. */
static bs_status estimate(bs_probed *probed, bs_process_options *options, const bs_outputs *outputs, uint64_t budget)
{
    bs_estimate_parts *parts = &probed->estimate;
    options->memory_limit = 0;
    bs_status status = bs_estimate(&probed->info, options, outputs, parts, &probed->error);
    /* Leaner settings share less: what then seems to be saved is not the job's own. */
    for (int i = 0; i < 2 && status == BS_OK; i++) {
        probed->budget = options->memory_limit = budget + parts->shared;
        status = bs_estimate(&probed->info, options, outputs, parts, &probed->error);
    }
    if (status != BS_ERR_LIMIT)
        return status;
    /* In the same terms as MEMORY_LIMIT_MB, which does not count what is shared. */
    return bs_fail(&probed->error, BS_ERR_LIMIT,
                   "the job needs %" PRIu64 " MB of memory, there are %" PRIu64 " MB for it",
                   (parts->total - parts->shared + MB - 1) / MB, budget / MB);
}

static void probe(const bs_order *order, const bs_input *input, int channel)
{
    static bs_probed probed;
    bs_process_options options = order->options;
    probed.status = bs_probe(input, &probed.info, &probed.error);
    if (probed.status == BS_OK) {
        /* Descriptors that only say what is wanted. */
        int wanted[BS_GIVE_OUTPUTS];
        for (int i = 0; i < BS_GIVE_OUTPUTS; i++)
            wanted[i] = order->outputs & 1u << i ? 0 : -1;
        bs_outputs outputs = outputs_of(order, wanted, &channel);
        /* As lean as lets others run beside it; where that is not possible, alone. */
        probed.status = estimate(&probed, &options, &outputs, order->budget_shared);
        if (probed.status == BS_ERR_LIMIT)
            probed.status = estimate(&probed, &options, &outputs, order->budget_alone);
    }
    report(channel, BS_REPORT_PROBED, 0, &probed, sizeof(probed));
}

static void process(bs_models *models, const bs_order *order, const bs_input *input, int channel,
                    const int given[BS_GIVE_OUTPUTS])
{
    static bs_done done;
    bs_outputs outputs = outputs_of(order, given, &channel);
    bs_callbacks callbacks = {.progress = report_progress, .note = report_note, .opaque = &channel};
    done.status = bs_process(models, input, &order->options, &outputs, &callbacks, &done.summary, &done.error);
    report(channel, BS_REPORT_DONE, 0, &done, sizeof(done));
}

_Noreturn void bs_job_process(bs_models *models, const bs_order *order, int input, int channel,
                              const int outputs[BS_GIVE_OUTPUTS])
{
    static bs_done done;
    bs_input in = {.path = NULL, .fd = input, .name = order->name};
    done.status = bs_sandbox_enter(&order->limits, &done.error);
    if (done.status != BS_OK)
        report(channel, BS_REPORT_DONE, 0, &done, sizeof(done));
    else if (order->kind == BS_ORDER_PROBE)
        probe(order, &in, channel);
    else
        process(models, order, &in, channel, outputs);
    _exit(0);
}
