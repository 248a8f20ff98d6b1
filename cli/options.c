/* Words and options of a command (see cli.h). */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const cli_option common_options[] = {
    {"config", 'c', "FILE", "settings file in place of ./bodyscript.conf"},
    {"help", 'h', NULL, "this text"},
    {NULL, 0, NULL, NULL},
};

/* Settings have short options too, where one is worth it. */
static const struct {
    char letter;
    int setting;
} short_settings[] = {{'n', BS_SET_FRAME_EXTRACTION_INTERVAL}};

const int cli_job_settings[] = {
    BS_SET_MODE,
    BS_SET_FRAME_EXTRACTION_INTERVAL,
    BS_SET_MAX_VIDEO_DURATION_SECONDS,
    BS_SET_MAX_VIDEO_WIDTH,
    BS_SET_SAVE_FRAMES,
    BS_SET_FRAME_FORMAT,
    BS_SET_MAX_VIDEO_SIZE_MB,
    BS_SET_MEMORY_LIMIT_MB,
    BS_SET_LOG_LEVEL,
    BS_SET_LOG_FORMAT,
    -1,
};

#define PLACE(field, name, ...) BS_SET_##name,
const int cli_all_settings[] = {BS_SETTINGS_LIST(PLACE, PLACE, PLACE, PLACE) - 1};
#undef PLACE

static bool takes_setting(const cli_command *command, const bs_setting *setting)
{
    for (const int *s = command->settings; setting && s && *s >= 0; s++)
        if (&bs_settings_table[*s] == setting)
            return true;
    return false;
}

static char letter_of_setting(const bs_setting *setting)
{
    for (size_t i = 0; i < sizeof(short_settings) / sizeof(short_settings[0]); i++)
        if (&bs_settings_table[short_settings[i].setting] == setting)
            return short_settings[i].letter;
    return 0;
}

/* -- help --------------------------------------------------------------------------------------------- */

/* MAX_VIDEO_WIDTH as --max-video-width. */
static const char *option_name(const char *setting, char *out, size_t size)
{
    size_t i = 0;
    for (; setting[i] && i + 1 < size; i++)
        out[i] = setting[i] == '_' ? '-' : (char)tolower((unsigned char)setting[i]);
    out[i] = '\0';
    return out;
}

static void print_option(char letter, const char *name, const char *argument, const char *meaning, const char *value)
{
    enum { LEFT = 38 };
    char left[96];
    snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ', letter ? ',' : ' ',
             name, argument ? " " : "", argument ? argument : "");
    printf("%-*s%s%*s%s%s%s%s\n", LEFT, left, strlen(left) > LEFT ? "\n" : "", strlen(left) > LEFT ? LEFT + 1 : 1, "",
           meaning, value && *value ? " (" : "", value ? value : "", value && *value ? ")" : "");
}

static void print_setting(const bs_setting *setting)
{
    char name[48], value[32] = "";
    const char *argument = setting->kind == BS_SETTING_CHOICE ? setting->words
                           : setting->kind == BS_SETTING_BOOL ? NULL
                           : setting->kind == BS_SETTING_TEXT ? "TEXT"
                                                              : "N";
    bs_settings defaults;
    if (bs_settings_init(&defaults, NULL) == BS_OK) {
        if (setting->kind != BS_SETTING_INT || setting->value >= 0)
            bs_settings_show(&defaults, setting, value, sizeof(value));
        bs_settings_release(&defaults);
    }
    print_option(letter_of_setting(setting), option_name(setting->name, name, sizeof(name)), argument, setting->meaning,
                 value);
}

static void print_help(const cli_command *command)
{
    printf("usage: bodyscript %s\n\n%s\n\n", command->usage, command->description);
    for (const cli_option *o = command->options; o && o->name; o++)
        print_option(o->letter, o->name, o->argument, o->meaning, NULL);
    for (const cli_option *o = common_options; o->name; o++)
        print_option(o->letter, o->name, o->argument, o->meaning, NULL);
    if (!command->settings)
        return;
    printf("\nSettings: also environment variables (MAX_VIDEO_WIDTH=720) and lines of the settings file.\n");
    for (const int *s = command->settings; *s >= 0; s++)
        print_setting(&bs_settings_table[*s]);
}

/* -- finding an option -------------------------------------------------------------------------------- */

/* An option as written: its own or common (`option`), or a setting. */
typedef struct found {
    const cli_option *option;
    const bs_setting *setting;
} found;

static const cli_option *find_in(const cli_option *list, const char *name, size_t length, char letter)
{
    for (; list && list->name; list++)
        if (letter ? list->letter == letter : strlen(list->name) == length && !strncmp(list->name, name, length))
            return list;
    return NULL;
}

static found find(const cli_command *command, const char *name, size_t length, char letter)
{
    found f = {find_in(command->options, name, length, letter), NULL};
    if (!f.option)
        f.option = find_in(common_options, name, length, letter);
    if (f.option)
        return f;
    char text[64];
    snprintf(text, sizeof(text), "%.*s", (int)length, name);
    if (!letter)
        f.setting = bs_settings_find(text);
    for (size_t i = 0; letter && i < sizeof(short_settings) / sizeof(short_settings[0]); i++)
        if (short_settings[i].letter == letter)
            f.setting = &bs_settings_table[short_settings[i].setting];
    if (!takes_setting(command, f.setting))
        f.setting = NULL;
    return f;
}

static void consider(const char *name, const char *candidate, int *least, char *best, size_t size)
{
    int d = bs_settings_distance(name, candidate);
    if (!strncmp(candidate, name, strlen(name)) && strlen(name) >= 3)
        d = 1; /* the beginning of an option is near to it */
    if (d < *least) {
        *least = d;
        snprintf(best, size, "%s", candidate);
    }
}

static bs_status unknown_option(const cli_command *command, const char *word, bs_error *err)
{
    char name[41], best[48] = "", candidate[48];
    const char *begin = word + strspn(word, "-");
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(begin, "="), begin);
    int least = 1 + (int)strlen(name) / 3;
    for (const cli_option *o = command->options; o && o->name; o++)
        consider(name, o->name, &least, best, sizeof(best));
    for (const int *s = command->settings; s && *s >= 0; s++)
        consider(name, option_name(bs_settings_table[*s].name, candidate, sizeof(candidate)), &least, best,
                 sizeof(best));
    bool is_long = word[1] == '-' && *best;
    return bs_fail(err, BS_ERR_USAGE, "%s has no option '%.*s'%s%s%s", command->name, (int)strcspn(word, "="), word,
                   is_long ? "; did you mean --" : "", is_long ? best : "", is_long ? "?" : "; its --help lists them");
}

/* -- parsing ------------------------------------------------------------------------------------------ */

typedef struct parser {
    const cli_command *command;
    int argc, at;
    char **argv;
    const char *config; /* the settings file that was read, else NULL */
    void *opaque;
    bs_settings *settings;
    bool help;
} parser;

/* The value of the option that was written as `word`: what is attached to it, else the next word. */
static bs_status value_of(parser *p, const char *word, const char *attached, const char **out, bs_error *err)
{
    if (!attached && p->at + 1 >= p->argc)
        return bs_fail(err, BS_ERR_USAGE, "%s needs a value", word);
    *out = attached ? attached : p->argv[++p->at];
    return BS_OK;
}

static bs_status apply(parser *p, found f, const char *word, const char *attached, bs_error *err)
{
    const char *value = attached;
    bs_status status = BS_OK;
    if (f.setting) {
        if (f.setting->kind == BS_SETTING_BOOL && !attached)
            value = "true";
        else
            status = value_of(p, word, attached, &value, err);
        return status == BS_OK ? bs_settings_set(p->settings, f.setting->name, value, "option", err) : status;
    }
    if (!f.option->argument && attached)
        return bs_fail(err, BS_ERR_USAGE, "--%s takes no value", f.option->name);
    if (f.option->argument)
        status = value_of(p, word, attached, &value, err);
    if (status != BS_OK)
        return status;
    if (!strcmp(f.option->name, "help"))
        p->help = true;
    else if (strcmp(f.option->name, "config") != 0)
        status = p->command->set(p->opaque, f.option, value, err);
    else if (!p->config || strcmp(p->config, value) != 0) /* read before all other options, which beat it */
        status = bs_fail(err, BS_ERR_USAGE, "--config is given once, as an option by itself, not '%.40s' too", value);
    return status;
}

static bs_status parse_word(parser *p, const char *word, bs_error *err)
{
    if (word[1] == '-') {
        const char *name = word + 2, *equals = strchr(name, '=');
        found f = find(p->command, name, equals ? (size_t)(equals - name) : strlen(name), 0);
        if (!f.option && !f.setting)
            return unknown_option(p->command, word, err);
        return apply(p, f, word, equals ? equals + 1 : NULL, err);
    }
    /* Letters that take no value may stand together: -jq. */
    for (const char *letter = word + 1;; letter++) {
        found f = find(p->command, "", 0, *letter);
        if (!f.option && !f.setting)
            return unknown_option(p->command, word, err);
        bool more = f.option && !f.option->argument && letter[1] && letter[1] != '=';
        const char *attached = letter[1] && !more ? letter + 1 + (letter[1] == '=') : NULL;
        bs_status status = apply(p, f, word, attached, err);
        if (status != BS_OK || !more)
            return status;
    }
}

/* The file that --config or -c names, else NULL. */
static const char *config_file(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!strncmp(argv[i], "--config=", 9))
            return argv[i] + 9;
        if ((!strcmp(argv[i], "--config") || !strcmp(argv[i], "-c")) && i + 1 < argc)
            return argv[i + 1];
        if (!strncmp(argv[i], "-c", 2) && argv[i][2])
            return argv[i] + 2 + (argv[i][2] == '=');
    }
    return NULL;
}

/* Whether --json, or -j among letters that take no value, is among the options, right or wrong as the others may be. */
static bool wants_json(const cli_command *command, int argc, char **argv)
{
    if (!find(command, "json", 4, 0).option)
        return false;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (!strcmp(argv[i], "--json") || (argv[i][0] == '-' && argv[i][strspn(argv[i] + 1, "q") + 1] == 'j'))
            return true;
    return false;
}

static bs_status parse_all(parser *p, int *words, bs_error *err)
{
    bool only_words = false;
    for (p->at = 0; p->at < p->argc; p->at++) {
        char *word = p->argv[p->at];
        if (!only_words && !strcmp(word, "--")) {
            only_words = true;
        } else if (!only_words && word[0] == '-' && word[1]) {
            bs_status status = parse_word(p, word, err);
            if (status != BS_OK)
                return status;
        } else {
            p->argv[(*words)++] = word;
        }
    }
    if (p->help)
        return BS_OK;
    if (*words < p->command->min_words || (p->command->max_words >= 0 && *words > p->command->max_words))
        return bs_fail(err, BS_ERR_USAGE, "usage: bodyscript %s", p->command->usage);
    return bs_settings_finish(p->settings, err);
}

bool cli_parse(const cli_command *command, int argc, char **argv, void *opaque, bs_settings *settings, int *words,
               int *exit_code)
{
    bs_error err = {0};
    parser p = {command, argc, 0, argv, config_file(argc, argv), opaque, settings, false};
    *words = 0;
    *exit_code = 0;
    if (wants_json(command, argc, argv))
        cli_answer_in_json();
    if (bs_settings_load(settings, p.config, &err) != BS_OK) {
        *exit_code = cli_fail(&err);
        return false;
    }
    bs_status status = parse_all(&p, words, &err);
    if (status == BS_OK && !p.help) {
        /* A person at the command line wants warnings; who asks for more gets it. */
        bool asked = settings->origin[BS_SET_LOG_LEVEL] != BS_FROM_DEFAULT;
        bs_log_configure(asked ? (bs_log_level)settings->log_level : BS_LOG_WARNING,
                         (bs_log_format)settings->log_format);
        return true;
    }
    if (status == BS_OK)
        print_help(command);
    *exit_code = status == BS_OK ? 0 : cli_fail(&err);
    bs_settings_release(settings);
    return false;
}

/* -- what process, probe and bench share -------------------------------------------------------------- */

bs_status cli_int(const cli_option *option, const char *value, int64_t min, int64_t max, int64_t *out, bs_error *err)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno || *end || end == value || isspace((unsigned char)*value) || number < min || number > max)
        return bs_fail(err, BS_ERR_USAGE, "--%s is '%.40s', but takes a whole number from %lld to %lld", option->name,
                       value, (long long)min, (long long)max);
    *out = number;
    return BS_OK;
}

static bs_status set_share(const cli_option *option, const char *value, float *out, bs_error *err)
{
    char *end;
    double number = strtod(value, &end);
    if (*end || end == value || isspace((unsigned char)*value) || !(number >= 0 && number <= 1))
        return bs_fail(err, BS_ERR_USAGE, "--%s is '%.40s', but takes a number from 0 to 1", option->name, value);
    *out = (float)number;
    return BS_OK;
}

static bs_status set_model(const char *value, int *out, bs_error *err)
{
    for (int kind = 0; kind < BS_MODEL_KINDS; kind++) {
        if (!strcmp(value, bs_model_name((bs_model_kind)kind))) {
            *out = kind;
            return BS_OK;
        }
    }
    return bs_fail(err, BS_ERR_USAGE, "--model is '%.40s', but takes lite, full or heavy", value);
}

static bs_status set_isa(const char *value, const char **out, bs_error *err)
{
    static const char *const names[] = {"portable", "sse2", "avx2", "avx512", "neon"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strcmp(value, names[i])) {
            *out = names[i];
            return BS_OK;
        }
    }
    return bs_fail(err, BS_ERR_USAGE, "--isa is '%.40s', but takes portable, sse2, avx2, avx512 or neon", value);
}

void cli_job_options_init(cli_job_options *options)
{
    *options = (cli_job_options){.process = bs_process_defaults()};
}

bs_status cli_job_options_set(cli_job_options *options, const cli_option *option, const char *value, bs_error *err)
{
    bs_process_options *process = &options->process;
    const char *name = option->name;
    int64_t number = 0;
    bs_status status = BS_OK;
    if (!strcmp(name, "model"))
        return set_model(value, &process->model, err);
    if (!strcmp(name, "isa"))
        return set_isa(value, &process->isa, err);
    if (!strcmp(name, "min-detection-confidence"))
        return set_share(option, value, &process->min_detection_confidence, err);
    if (!strcmp(name, "min-tracking-confidence"))
        return set_share(option, value, &process->min_tracking_confidence, err);
    if (!strcmp(name, "exact"))
        process->exact = true;
    else if (!strcmp(name, "no-video"))
        options->no_video = true;
    else if (!strcmp(name, "static-image-mode"))
        process->static_image_mode = true;
    else if (!strcmp(name, "people")) {
        status = cli_int(option, value, 1, BS_MAX_PEOPLE, &number, err);
        process->people = (int)number;
    } else if (!strcmp(name, "threads")) {
        status = cli_int(option, value, 0, 64, &number, err);
        process->threads = (int)number;
    } else {
        status = BS_EOF;
    }
    return status;
}

void cli_job_options_finish(cli_job_options *options, const bs_settings *settings)
{
    bs_process_options *process = &options->process;
    process->mode = (bs_mode)settings->mode;
    if (settings->origin[BS_SET_FRAME_EXTRACTION_INTERVAL] != BS_FROM_DEFAULT)
        process->interval = (int)settings->frame_extraction_interval;
    process->max_width = (int)settings->max_video_width;
    process->max_duration_us = settings->max_video_duration_seconds * 1000000;
    process->png = settings->frame_format == 1;
    process->memory_limit = (uint64_t)settings->memory_limit_mb << 20;
    options->save_frames = settings->save_frames;
}

static int keep_nothing(void *opaque, int64_t frame_id, const void *data, size_t size)
{
    return 0;
}

bs_outputs cli_job_options_outputs(const cli_job_options *options, bool photo)
{
    bs_outputs outputs = {.csv_fd = 0, .json_fd = 0, .video_fd = 0, .preview_fd = 0, .thumbnail_fd = 0};
    if (options->no_video)
        outputs.video_fd = outputs.preview_fd = -1;
    if (options->save_frames)
        outputs.save_frame = keep_nothing;
    if (photo)
        outputs.preview_fd = -1;
    return outputs;
}
