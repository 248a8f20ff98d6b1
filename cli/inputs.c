/* The videos and photos that words and folders name (see cli.h). */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/cli.h"

/* Of a folder's files those count as media that are called so; what is in them is found out later. */
static const char *const extensions[] = {"3g2",  "3gp", "asf", "avi", "flv", "gif",  "jpeg", "jpg",
                                         "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg",  "mts",
                                         "mxf",  "ogv", "png", "ts",  "vob", "webm", "webp", "wmv"};

static bool is_media_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot != name && i < sizeof(extensions) / sizeof(extensions[0]); i++)
        if (!strcasecmp(dot + 1, extensions[i]))
            return name[0] != '.';
    return false;
}

const char *cli_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *cli_shown(const char *path, char out[CLI_SHOWN])
{
    snprintf(out, CLI_SHOWN, "%s", path);
    bs_text_clean(out);
    return out;
}

static bs_status append(cli_inputs *inputs, char *path, bs_error *err)
{
    if (path && inputs->count == inputs->capacity) {
        int capacity = inputs->capacity ? inputs->capacity * 2 : 16;
        char **grown = realloc(inputs->path, (size_t)capacity * sizeof(*grown));
        if (grown) {
            inputs->path = grown;
            inputs->capacity = capacity;
        }
    }
    if (!path || inputs->count == inputs->capacity) {
        free(path);
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the list of files");
    }
    inputs->path[inputs->count++] = path;
    return BS_OK;
}

static bs_status add_folder(cli_inputs *inputs, const char *folder, bs_error *err)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), before = inputs->count;
    if (count < 0)
        return bs_fail(err, BS_ERR_INPUT, "the folder '%s' cannot be read: %s", folder, strerror(errno));
    bs_status status = BS_OK;
    for (int i = 0; i < count; i++) {
        struct stat st;
        char *path = NULL;
        if (status == BS_OK && is_media_name(entries[i]->d_name)) {
            const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
            if (asprintf(&path, "%s%s%s", folder, slash, entries[i]->d_name) < 0)
                path = NULL;
            if (path && (stat(path, &st) < 0 || !S_ISREG(st.st_mode)))
                free(path);
            else
                status = append(inputs, path, err);
        }
        free(entries[i]);
    }
    free(entries);
    if (status == BS_OK && inputs->count == before)
        return bs_fail(err, BS_ERR_INPUT, "the folder '%s' holds no video or photo", folder);
    return status;
}

int cli_inputs_add(cli_inputs *inputs, char **words, int count)
{
    int exit_code = 0;
    for (int i = 0; i < count; i++) {
        const char *path = strcmp(words[i], "-") ? words[i] : "/dev/stdin";
        bs_error err = {0};
        struct stat st;
        bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        bs_status status = folder ? add_folder(inputs, path, &err) : append(inputs, strdup(path), &err);
        if (status == BS_OK)
            continue;
        int code = cli_fail_of(path, &err);
        exit_code = exit_code ? exit_code : code;
    }
    return exit_code;
}

/* For headers that demand what src/video/claims.c does not see coming. Some are honest: an index has 40 bytes for each
 * sample, and hours have millions of them. */
bs_status cli_inputs_probe(const bs_input *input, uint64_t memory_limit, bs_video_info *out, bs_error *err)
{
    const uint64_t MB = 1 << 20, most = 512 * MB, code = 12 * MB; /* pages of libraries that come back while it reads */
    const uint64_t least = 8 *
                           MB; /* for an ordinary header: with less its numbers, which the refusal tells, are wrong */
    const uint64_t taken = bs_memory_resident() + code;
    uint64_t bytes = most;
    if (memory_limit > 0 && memory_limit < taken + most)
        bytes = memory_limit > taken + least ? memory_limit - taken : least;
    bs_status status = bs_memory_narrow(bytes, err);
    if (status == BS_OK)
        status = bs_probe(input, out, err);
    bs_memory_widen();
    return status;
}

void cli_inputs_release(cli_inputs *inputs)
{
    for (int i = 0; i < inputs->count; i++)
        free(inputs->path[i]);
    free(inputs->path);
    *inputs = (cli_inputs){0};
}
