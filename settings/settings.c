/* settings: from texts to the struct, and the sentences that refuse what is wrong (see settings.h).
 *
 * Everything is driven by one table that the list in settings.h yields; nothing here knows a single setting but
 * bs_settings_finish, which holds the rules between several of them. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include <bodyscript/memory.h>

#include "settings/settings.h"

enum {
    MAX_TEXT = 4096,         /* bytes of one value: enough for every URL and path */
    MAX_FILE = 1 << 20,      /* bytes of a settings file */
    FULL_THRESHOLDS_MB = 512 /* below this much memory the three lines are shares of it */
};

#define MIB (UINT64_C(1) << 20)

const bs_setting bs_settings_table[BS_SETTINGS_COUNT] = {
#define INT(field, name, value, min, max, meaning) \
    [BS_SET_##name] = {#name, BS_SETTING_INT, value, min, max, NULL, NULL, meaning, offsetof(bs_settings, field)},
#define BOOL(field, name, value, meaning) \
    [BS_SET_##name] = {#name, BS_SETTING_BOOL, value, 0, 1, NULL, NULL, meaning, offsetof(bs_settings, field)},
#define TEXT(field, name, value, meaning) \
    [BS_SET_##name] = {#name, BS_SETTING_TEXT, 0, 0, 0, value, NULL, meaning, offsetof(bs_settings, field)},
#define CHOICE(field, name, value, words, meaning) \
    [BS_SET_##name] = {#name, BS_SETTING_CHOICE, value, 0, 0, NULL, words, meaning, offsetof(bs_settings, field)},
    BS_SETTINGS_LIST(INT, BOOL, TEXT, CHOICE)
#undef INT
#undef BOOL
#undef TEXT
#undef CHOICE
};

/* -- finding a setting ----------------------------------------------------------------------------- */

/* A name's letter as the table has it: MAX_VIDEO_WIDTH, max-video-width and max_video_width are the same. */
static int plain(char c)
{
    return c == '-' ? '_' : toupper((unsigned char)c);
}

static bool same_name(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b))
        a++, b++;
    return !*a && !*b;
}

const bs_setting *bs_settings_find(const char *name)
{
    for (int i = 0; i < BS_SETTINGS_COUNT; i++)
        if (same_name(bs_settings_table[i].name, name))
            return &bs_settings_table[i];
    return NULL;
}

int bs_settings_distance(const char *a, const char *b)
{
    enum { MAX = 48 };
    size_t n = strnlen(a, MAX + 1), m = strnlen(b, MAX + 1);
    if (n > MAX || m > MAX)
        return MAX;
    int row[MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int change = diagonal + (plain(a[i - 1]) != plain(b[j - 1]));
            int insert = row[j - 1] + 1, remove = row[j] + 1;
            diagonal = row[j];
            row[j] = change < insert ? change : insert;
            if (remove < row[j])
                row[j] = remove;
        }
    }
    return row[m];
}

/* The name that a mistyped one most resembles, or NULL where none does. */
static const char *nearest(const char *name)
{
    const char *best = NULL;
    int least = 1 + (int)strnlen(name, 48) / 3; /* a third of the letters may be wrong */
    for (int i = 0; i < BS_SETTINGS_COUNT; i++) {
        int d = bs_settings_distance(bs_settings_table[i].name, name);
        if (d <= least) {
            least = d - 1;
            best = bs_settings_table[i].name;
        }
    }
    return best;
}

/* -- one value ------------------------------------------------------------------------------------- */

static void *field_of(bs_settings *settings, const bs_setting *setting)
{
    return (char *)settings + setting->offset;
}

static bool is_secret(const bs_setting *setting)
{
    return setting == &bs_settings_table[BS_SET_ADMIN_TOKEN] || setting == &bs_settings_table[BS_SET_API_KEY] ||
           setting == &bs_settings_table[BS_SET_DATABASE_URL] || setting == &bs_settings_table[BS_SET_QUEUE_URL] ||
           setting == &bs_settings_table[BS_SET_STORAGE_URL]; /* URLs may hold passwords */
}

/* `X is 'abc' (bodyscript.conf line 3), but takes …`. The value is shown as far as it is harmless to show. */
static bs_status refuse(const bs_setting *setting, const char *value, const char *source, const char *takes,
                        bs_error *err)
{
    char shown[64];
    size_t n = 0;
    for (const char *c = value; *c && n + 4 < sizeof(shown); c++)
        shown[n++] = isprint((unsigned char)*c) ? *c : '?';
    shown[n] = '\0';
    if (strlen(value) > n)
        memcpy(shown + n, "...", 4);
    return bs_fail(err, BS_ERR_USAGE, "%s is '%s'%s%s%s, but takes %s", setting->name,
                   is_secret(setting) ? "(not shown)" : shown, source ? " (" : "", source ? source : "",
                   source ? ")" : "", takes);
}

static bs_status set_int(bs_settings *settings, const bs_setting *setting, const char *value, const char *source,
                         bs_error *err)
{
    char takes[96];
    snprintf(takes, sizeof(takes), "a whole number from %" PRId64 " to %" PRId64, setting->min, setting->max);
    const char *digits = *value == '-' || *value == '+' ? value + 1 : value;
    if (!*digits || digits[strspn(digits, "0123456789")])
        return refuse(setting, value, source, takes, err);
    errno = 0;
    long long number = strtoll(value, NULL, 10);
    if (errno || number < setting->min || number > setting->max)
        return refuse(setting, value, source, takes, err);
    *(int64_t *)field_of(settings, setting) = number;
    return BS_OK;
}

static bs_status set_bool(bs_settings *settings, const bs_setting *setting, const char *value, const char *source,
                          bs_error *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!strcasecmp(value, words[i])) {
            *(bool *)field_of(settings, setting) = i & 1;
            return BS_OK;
        }
    }
    return refuse(setting, value, source, "true or false (yes/no, on/off, 1/0)", err);
}

/* Texts end up in paths, headers and log lines: no control characters, no endless ones. */
static bs_status set_text(bs_settings *settings, const bs_setting *setting, const char *value, const char *source,
                          bs_error *err)
{
    char **field = field_of(settings, setting);
    const char *text = *value ? value : setting->text;
    char *copy = NULL;
    if (text) {
        if (strlen(text) > MAX_TEXT)
            return refuse(setting, value, source, "a text of at most 4096 bytes", err);
        for (const char *c = text; *c; c++)
            if (iscntrl((unsigned char)*c))
                return refuse(setting, value, source, "a text without control characters", err);
        copy = strdup(text);
        if (!copy)
            return bs_fail(err, BS_ERR_NOMEM, "no memory for the text of %s", setting->name);
    }
    free(*field);
    *field = copy;
    return BS_OK;
}

/* The words of a choice, as a person would list them: "jpg or png". */
static void list_words(const char *words, char *out, size_t size)
{
    size_t n = 0;
    const char *last = strrchr(words, '|');
    for (const char *c = words; *c && n + 5 < size; c++) {
        if (*c != '|')
            out[n++] = *c;
        else
            n += (size_t)sprintf(out + n, c == last ? " or " : ", ");
    }
    out[n] = '\0';
}

static bs_status set_choice(bs_settings *settings, const bs_setting *setting, const char *value, const char *source,
                            bs_error *err)
{
    int index = 0;
    for (const char *word = setting->words; word; index++) {
        const char *end = strchrnul(word, '|');
        char one[32];
        snprintf(one, sizeof(one), "%.*s", (int)(end - word), word);
        if (same_name(one, value)) {
            *(int *)field_of(settings, setting) = index;
            return BS_OK;
        }
        word = *end ? end + 1 : NULL;
    }
    char takes[128];
    list_words(setting->words, takes, sizeof(takes));
    return refuse(setting, value, source, takes, err);
}

static bs_status set_value(bs_settings *settings, const bs_setting *setting, const char *value, const char *source,
                           bs_setting_origin origin, bs_error *err)
{
    static bs_status (*const set[])(bs_settings *, const bs_setting *, const char *, const char *, bs_error *) = {
        [BS_SETTING_INT] = set_int,
        [BS_SETTING_BOOL] = set_bool,
        [BS_SETTING_TEXT] = set_text,
        [BS_SETTING_CHOICE] = set_choice,
    };
    bs_status status = set[setting->kind](settings, setting, value, source, err);
    if (status == BS_OK) {
        bool as_default = setting->kind == BS_SETTING_TEXT && !*value;
        settings->origin[setting - bs_settings_table] = as_default ? BS_FROM_DEFAULT : origin;
    }
    return status;
}

static bs_status unknown(const char *name, const char *source, bs_error *err)
{
    const char *near = nearest(name);
    return bs_fail(err, BS_ERR_USAGE, "there is no setting '%.48s'%s%s%s%s%s%s", name, source ? " (" : "",
                   source ? source : "", source ? ")" : "", near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

bs_status bs_settings_set(bs_settings *settings, const char *name, const char *value, const char *source, bs_error *err)
{
    const bs_setting *setting = bs_settings_find(name);
    if (!setting)
        return unknown(name, source, err);
    return set_value(settings, setting, value, source, BS_FROM_OPTION, err);
}

void bs_settings_show(const bs_settings *settings, const bs_setting *setting, char *out, size_t size)
{
    const void *field = (const char *)settings + setting->offset;
    switch (setting->kind) {
    case BS_SETTING_INT: snprintf(out, size, "%" PRId64, *(const int64_t *)field); break;
    case BS_SETTING_BOOL: snprintf(out, size, "%s", *(const bool *)field ? "true" : "false"); break;
    case BS_SETTING_TEXT: {
        const char *text = *(char *const *)field;
        snprintf(out, size, "%s", !text ? "" : is_secret(setting) ? "(set)" : text);
        break;
    }
    case BS_SETTING_CHOICE: {
        const char *word = setting->words;
        for (int i = *(const int *)field; i > 0; i--)
            word = strchr(word, '|') + 1;
        snprintf(out, size, "%.*s", (int)(strchrnul(word, '|') - word), word);
        break;
    }
    }
}

/* -- where values come from ------------------------------------------------------------------------ */

bs_status bs_settings_init(bs_settings *out, bs_error *err)
{
    bs_settings settings = {0};
    for (int i = 0; i < BS_SETTINGS_COUNT; i++) {
        const bs_setting *setting = &bs_settings_table[i];
        void *field = field_of(&settings, setting);
        switch (setting->kind) {
        case BS_SETTING_INT: *(int64_t *)field = setting->value; break;
        case BS_SETTING_BOOL: *(bool *)field = setting->value != 0; break;
        case BS_SETTING_CHOICE: *(int *)field = (int)setting->value; break;
        case BS_SETTING_TEXT:
            if (setting->text && !(*(char **)field = strdup(setting->text))) {
                bs_settings_release(&settings);
                return bs_fail(err, BS_ERR_NOMEM, "no memory for the settings");
            }
            break;
        }
    }
    *out = settings;
    return BS_OK;
}

void bs_settings_release(bs_settings *settings)
{
    if (!settings)
        return;
    for (int i = 0; i < BS_SETTINGS_COUNT; i++) {
        if (bs_settings_table[i].kind != BS_SETTING_TEXT)
            continue;
        char **field = field_of(settings, &bs_settings_table[i]);
        free(*field);
        *field = NULL;
    }
}

/* Cuts blanks off both ends of [*begin, *end). */
static void trim(const char **begin, const char **end)
{
    while (*begin < *end && isspace((unsigned char)**begin))
        ++*begin;
    while (*end > *begin && isspace((unsigned char)(*end)[-1]))
        --*end;
}

static bs_status parse_line(bs_settings *settings, const char *begin, const char *end, const char *source,
                            bs_error *err)
{
    trim(&begin, &end);
    if (begin == end || *begin == '#')
        return BS_OK;
    if (memchr(begin, '\0', (size_t)(end - begin)))
        return bs_fail(err, BS_ERR_USAGE, "%s holds a zero byte; a settings file is text", source);
    const char *equals = memchr(begin, '=', (size_t)(end - begin));
    if (!equals)
        return bs_fail(err, BS_ERR_USAGE, "%s is not NAME=value", source);
    const char *name_end = equals, *value_begin = equals + 1;
    trim(&begin, &name_end);
    trim(&value_begin, &end);
    if (end - value_begin >= 2 && *value_begin == end[-1] && (*value_begin == '"' || *value_begin == '\''))
        value_begin++, end--;
    if (end - value_begin > MAX_TEXT)
        return bs_fail(err, BS_ERR_USAGE, "%s holds a value of more than 4096 bytes", source);

    char name[64];
    char value[MAX_TEXT + 1];
    snprintf(name, sizeof(name), "%.*s", (int)(name_end - begin), begin);
    snprintf(value, sizeof(value), "%.*s", (int)(end - value_begin), value_begin);
    const bs_setting *setting = bs_settings_find(name);
    if (!setting)
        return unknown(name, source, err);
    return set_value(settings, setting, value, source, BS_FROM_FILE, err);
}

bs_status bs_settings_parse(bs_settings *settings, const char *text, size_t size, const char *source, bs_error *err)
{
    const char *end = text + size;
    for (int line = 1; text < end; line++) {
        const char *next = memchr(text, '\n', (size_t)(end - text));
        char where[300];
        snprintf(where, sizeof(where), "%.250s line %d", source, line);
        bs_status status = parse_line(settings, text, next ? next : end, where, err);
        if (status != BS_OK)
            return status;
        text = next ? next + 1 : end;
    }
    return BS_OK;
}

static bs_status load_file(bs_settings *settings, const char *file, bs_error *err)
{
    const char *path = file ? file : "bodyscript.conf";
    FILE *in = fopen(path, "re");
    if (!in && !file && errno == ENOENT)
        return BS_OK;
    if (!in)
        return bs_fail(err, BS_ERR_USAGE, "the settings file '%s' cannot be opened: %s", path, strerror(errno));

    bs_status status = BS_ERR_NOMEM;
    char *text = malloc(MAX_FILE + 1);
    if (!text) {
        bs_fail(err, status, "no memory for the settings file '%s'", path);
        goto out;
    }
    size_t size = fread(text, 1, MAX_FILE + 1, in);
    if (ferror(in))
        status = bs_fail(err, BS_ERR_USAGE, "the settings file '%s' cannot be read: %s", path, strerror(errno));
    else if (size > MAX_FILE)
        status = bs_fail(err, BS_ERR_USAGE, "the settings file '%s' is larger than 1 MiB", path);
    else
        status = bs_settings_parse(settings, text, size, path, err);
out:
    free(text);
    fclose(in);
    return status;
}

static bs_status load_environment(bs_settings *settings, bs_error *err)
{
    for (int i = 0; i < BS_SETTINGS_COUNT; i++) {
        const char *value = getenv(bs_settings_table[i].name);
        if (!value)
            continue;
        bs_status status = set_value(settings, &bs_settings_table[i], value, "environment variable",
                                     BS_FROM_ENVIRONMENT, err);
        if (status != BS_OK)
            return status;
    }
    return BS_OK;
}

bs_status bs_settings_load(bs_settings *out, const char *file, bs_error *err)
{
    bs_settings settings;
    bs_status status = bs_settings_init(&settings, err);
    if (status != BS_OK)
        return status;
    status = load_file(&settings, file, err);
    if (status == BS_OK)
        status = load_environment(&settings, err);
    if (status != BS_OK) {
        bs_settings_release(&settings);
        return status;
    }
    *out = settings;
    return BS_OK;
}

/* -- what only makes sense together ---------------------------------------------------------------- */

static bool given(const bs_settings *settings, int index)
{
    return settings->origin[index] != BS_FROM_DEFAULT;
}

/* Free space, less a tenth, of the file system that `dir` is on or will be on. */
static int64_t free_space_mb(const char *dir)
{
    char path[MAX_TEXT + 1];
    struct statvfs fs;
    snprintf(path, sizeof(path), "%s", dir);
    while (statvfs(path, &fs) < 0) {
        char *slash = strrchr(path, '/');
        if (!slash)
            strcpy(path, ".");
        else
            slash[slash == path] = '\0';
        if ((!strcmp(path, ".") || !strcmp(path, "/")) && statvfs(path, &fs) < 0)
            return 1;
    }
    int64_t mb = (int64_t)((uint64_t)fs.f_bavail * fs.f_frsize / MIB / 10 * 9);
    return mb > 0 ? mb : 1;
}

static bs_status detect_limits(bs_settings *settings, bs_error *err)
{
    if (!given(settings, BS_SET_MEMORY_LIMIT_MB)) {
        bs_memory_limits limits;
        bs_status status = bs_memory_read_limits(&limits, err);
        if (status != BS_OK)
            return status;
        settings->memory_limit_mb = (int64_t)(limits.limit / MIB);
        if (settings->memory_limit_mb < 1)
            settings->memory_limit_mb = 1;
    }
    if (!given(settings, BS_SET_DISK_LIMIT_MB))
        settings->disk_limit_mb = free_space_mb(settings->data_dir);
    return BS_OK;
}

/* The three lines keep their defaults on 512 MB and more; on less they are 78, 88 and 98 % of what there is. */
static void scale_thresholds(bs_settings *settings)
{
    if (settings->memory_limit_mb >= FULL_THRESHOLDS_MB)
        return;
    if (!given(settings, BS_SET_MEMORY_CLEANUP_MB))
        settings->memory_cleanup_mb = settings->memory_limit_mb * 78 / 100;
    if (!given(settings, BS_SET_MEMORY_REJECT_MB))
        settings->memory_reject_mb = settings->memory_limit_mb * 88 / 100;
    if (!given(settings, BS_SET_MEMORY_CRITICAL_MB))
        settings->memory_critical_mb = settings->memory_limit_mb * 98 / 100;
}

static bs_status in_order(const char *low, int64_t low_value, const char *high, int64_t high_value, bs_error *err)
{
    if (low_value <= high_value)
        return BS_OK;
    return bs_fail(err, BS_ERR_USAGE, "%s is %" PRId64 ", above %s (%" PRId64 "), but takes at most that", low,
                   low_value, high, high_value);
}

bs_status bs_settings_finish(bs_settings *settings, bs_error *err)
{
    bs_status status = detect_limits(settings, err);
    if (status != BS_OK)
        return status;
    scale_thresholds(settings);
    status = in_order("MEMORY_CLEANUP_MB", settings->memory_cleanup_mb, "MEMORY_REJECT_MB", settings->memory_reject_mb,
                      err);
    if (status == BS_OK)
        status = in_order("MEMORY_REJECT_MB", settings->memory_reject_mb, "MEMORY_CRITICAL_MB",
                          settings->memory_critical_mb, err);
    if (status == BS_OK)
        status = in_order("MEMORY_CRITICAL_MB", settings->memory_critical_mb, "MEMORY_LIMIT_MB",
                          settings->memory_limit_mb, err);
    if (status != BS_OK)
        return status;

    /* A platform that hands out the port reaches the program from outside; by itself it listens on loopback alone. */
    if (settings->origin[BS_SET_PORT] == BS_FROM_ENVIRONMENT && !given(settings, BS_SET_HOST))
        status = set_text(settings, &bs_settings_table[BS_SET_HOST], "0.0.0.0", NULL, err);
    return status;
}
