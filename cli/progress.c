/* How far a job is: a bar on a terminal, plain lines elsewhere, lines of JSON for programs (see cli.h). */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

enum { BAR = 24, MIB = 1 << 20 };

static const double SECONDS_BETWEEN_LINES = 5;

void cli_progress_init(cli_progress *progress, const char *file, int index, int count, bool json, bool quiet)
{
    *progress = (cli_progress){
        .file = file,
        .json = json,
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO),
        .index = index,
        .count = count,
    };
    cli_shown(cli_base_name(file), progress->name);
}

void cli_print_json(json_t *object)
{
    char *line = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(object);
    if (line) {
        puts(line);
        fflush(stdout);
    }
    free(line);
}

json_t *cli_json_text(const char *text)
{
    json_t *string = json_string(text);
    char *clean = string ? NULL : strdup(text);
    if (clean) {
        bs_text_clean(clean);
        string = json_string(clean);
    }
    free(clean);
    return string;
}

/* Values of a bs_progress that every form shows. */
typedef struct figures {
    double share, speed, left; /* left < 0: unknown */
    double memory_mb;
} figures;

static figures figures_of(const bs_progress *p)
{
    figures f = {0, 0, -1, (double)p->memory / MIB};
    if (p->seconds > 0)
        f.speed = (double)p->frames_done / p->seconds;
    if (p->frames_total > 0) {
        f.share = (double)p->frames_done / (double)p->frames_total;
        if (f.speed > 0)
            f.left = (double)(p->frames_total - p->frames_done) / f.speed;
    }
    return f;
}

static void report_json(const cli_progress *progress, const bs_progress *p, const figures *f)
{
    json_t *line = json_object();
    json_object_set_new(line, "event", json_string("progress"));
    json_object_set_new(line, "file", cli_json_text(progress->file));
    json_object_set_new(line, "frames_done", json_integer(p->frames_done));
    json_object_set_new(line, "frames_total", p->frames_total ? json_integer(p->frames_total) : json_null());
    json_object_set_new(line, "frames_analysed", json_integer(p->frames_analysed));
    json_object_set_new(line, "progress", json_integer((int)(100 * f->share)));
    json_object_set_new(line, "frames_per_second", json_real((double)(int)(f->speed * 10) / 10));
    json_object_set_new(line, "seconds_left", f->left >= 0 ? json_real((double)(int)(f->left * 10) / 10) : json_null());
    json_object_set_new(line, "memory_mb", json_real((double)(int)(f->memory_mb * 10) / 10));
    cli_print_json(line);
}

/* How many of the first `most` bytes of a text are whole characters. */
static int whole_characters(const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);
    if (length <= most)
        return (int)length;
    for (length = most; length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;)
        length--;
    return (int)length;
}

/* A name, cut at its end where it is long. */
static const char *short_name(const char *name, char out[40])
{
    snprintf(out, 40, "%.*s%s", whole_characters(name, 36), name, strlen(name) > 36 ? "…" : "");
    return out;
}

static int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void report_bar(cli_progress *progress, const bs_progress *p, const figures *f)
{
    char bar[BAR + 1], name[40], line[256], left[32] = "";
    int full = (int)(f->share * BAR + 0.5);
    for (int i = 0; i < BAR; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR] = '\0';
    if (f->left >= 0)
        snprintf(left, sizeof(left), ", %.0f s left", f->left);
    if (p->frames_total > 0)
        snprintf(line, sizeof(line), "%s [%s] %3.0f %%  %" PRId64 "/%" PRId64 " frames, %.0f/s%s, %.0f MB",
                 short_name(progress->name, name), bar, 100 * f->share, p->frames_done, p->frames_total, f->speed, left,
                 f->memory_mb);
    else
        snprintf(line, sizeof(line), "%s  %" PRId64 " frames, %.0f/s, %.0f MB", short_name(progress->name, name),
                 p->frames_done, f->speed, f->memory_mb);
    fprintf(stderr, "\r\033[K%.*s", whole_characters(line, (size_t)terminal_width() - 1), line);
    progress->line_open = true;
}

static void report_line(cli_progress *progress, const bs_progress *p, const figures *f)
{
    if (p->seconds - progress->last < SECONDS_BETWEEN_LINES)
        return;
    progress->last = p->seconds;
    fprintf(stderr, "%s: ", progress->name);
    if (p->frames_total > 0)
        fprintf(stderr, "%.0f %%, %" PRId64 " of %" PRId64 " frames", 100 * f->share, p->frames_done, p->frames_total);
    else
        fprintf(stderr, "%" PRId64 " frames", p->frames_done);
    fprintf(stderr, ", %.0f per second", f->speed);
    if (f->left >= 0)
        fprintf(stderr, ", %.0f s left", f->left);
    fprintf(stderr, ", %.0f MB\n", f->memory_mb);
}

void cli_progress_report(void *opaque, const bs_progress *p)
{
    cli_progress *progress = opaque;
    figures f = figures_of(p);
    if (progress->json)
        report_json(progress, p, &f);
    else if (!progress->quiet && progress->terminal)
        report_bar(progress, p, &f);
    else if (!progress->quiet)
        report_line(progress, p, &f);
}

void cli_progress_note(void *opaque, const char *sentence)
{
    cli_progress *progress = opaque;
    if (progress->json) {
        json_t *line = json_object();
        json_object_set_new(line, "event", json_string("note"));
        json_object_set_new(line, "file", cli_json_text(progress->file));
        json_object_set_new(line, "message", cli_json_text(sentence));
        cli_print_json(line);
    } else if (!progress->quiet) {
        cli_progress_end(progress);
        fprintf(stderr, "%s: %s\n", progress->name, sentence);
    }
}

void cli_progress_end(cli_progress *progress)
{
    if (progress->line_open)
        fputs("\r\033[K", stderr);
    progress->line_open = false;
}
