/* The result files of one input (see cli.h).
 *
 * While the job runs they lie in DIR/NAME/.part.PID/; each is renamed to its place when all are whole. What a killed
 * run left there is removed by the next one. Nothing is removed that the program has not made: DIR may be a folder of
 * the user's, and NAME too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct {
    const char *name, *label;
} files[CLI_RESULT_FILES] = {
    [CLI_CSV] = {"pose_data.csv", "csv"},           [CLI_JSON] = {"pose_data.json", "json"},
    [CLI_VIDEO] = {"output.mp4", "video"},          [CLI_PHOTO] = {"output.jpg", "image"},
    [CLI_PREVIEW] = {"preview.mp4", "preview"},     [CLI_THUMBNAIL] = {"thumbnail.jpg", "thumbnail"},
    [CLI_METADATA] = {"metadata.json", "metadata"},
};

#define PART   ".part."
#define FRAMES "frames"

enum {
    PATH_SIZE = 4096,
    NAME_ROOM = 96, /* for the longest of /.part.PID/frames/frame_N.jpg, the numbers as long as they get */
};

const char *cli_result_name(cli_result_file file)
{
    return files[file].name;
}

const char *cli_result_label(cli_result_file file)
{
    return files[file].label;
}

/* FOLDER/.part.PID/NAME, FOLDER/.part.PID where `name` is "". */
static void part_path(const cli_results *results, const char *name, char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%s/" PART "%ld%s%s", results->folder, (long)getpid(), *name ? "/" : "", name);
}

static void final_path(const cli_results *results, const char *name, char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%s/%s", results->folder, name);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The process whose folder `name` is, or 0 where it is none of this program's. */
static pid_t pid_of_part(const char *name)
{
    const char *digits = name + strlen(PART);
    if (strncmp(name, PART, strlen(PART)) != 0 || !*digits || digits[strspn(digits, "0123456789")])
        return 0;
    return (pid_t)atol(digits);
}

/* Folders of runs whose process is gone, and of an earlier process that had this one's number. */
static void remove_stale(const cli_results *results)
{
    DIR *dir = opendir(results->folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[PATH_SIZE];
        pid_t pid = pid_of_part(entry->d_name);
        if (pid <= 0 || (pid != getpid() && (kill(pid, 0) == 0 || errno == EPERM)))
            continue;
        final_path(results, entry->d_name, path);
        remove_tree(path);
    }
    if (dir)
        closedir(dir);
}

/* Removes `path` and the folders above it down to the first `keep` bytes of it, as far as they are empty. */
static void remove_made(const char *path, size_t keep)
{
    char part[PATH_SIZE];
    snprintf(part, sizeof(part), "%s", path);
    for (size_t length = strlen(part); length > keep && length > 0;) {
        rmdir(part); /* stays where something else is in it by now */
        while (length > keep && part[length - 1] != '/')
            length--;
        while (length > 0 && part[length - 1] == '/')
            length--;
        part[length] = '\0';
    }
}

/* Makes the folder and those above it. *old: how many bytes of the path name what was there before; on failure nothing
 * new is left. */
static bs_status make_folder(const char *path, size_t *old, bs_error *err)
{
    char part[PATH_SIZE];
    struct stat st;
    size_t length = strlen(path);
    if (length + NAME_ROOM > sizeof(part))
        return bs_fail(err, BS_ERR_USAGE, "the path '%.60s…' is too long", path);
    snprintf(part, sizeof(part), "%s", path);
    *old = 0;
    for (size_t i = 1; i <= length; i++) {
        if ((path[i] != '/' && path[i]) || path[i - 1] == '/')
            continue;
        part[i] = '\0';
        if (mkdir(part, 0777) == 0 || (errno == EEXIST && stat(part, &st) == 0 && S_ISDIR(st.st_mode) && (*old = i))) {
            part[i] = path[i];
            continue;
        }
        const bool taken = errno == EEXIST || (errno == ENOENT && lstat(part, &st) == 0);
        bs_status status = taken
                               ? bs_fail(err, BS_ERR_IO, "results cannot go to '%s': '%s' is not a folder", path, part)
                               : bs_fail(err, BS_ERR_IO, "the folder '%s' cannot be made: %s", part, strerror(errno));
        remove_made(part, *old);
        return status;
    }
    return BS_OK;
}

/* Of all result files: those that this run does not make are removed in the end. */
static bs_status spare_input(const cli_results *results, const char *input, bs_error *err)
{
    struct stat in, st;
    char path[PATH_SIZE];
    if (stat(input, &in) < 0)
        return BS_OK; /* whoever opens it will say so */
    for (int i = 0; i < CLI_RESULT_FILES; i++) {
        final_path(results, files[i].name, path);
        if (lstat(path, &st) == 0 && st.st_dev == in.st_dev && st.st_ino == in.st_ino)
            return bs_fail(err, BS_ERR_USAGE, "the results of '%s' would replace it: choose another --output", input);
    }
    return BS_OK;
}

bs_status cli_results_open(cli_results *results, const char *parent, const char *name, const char *input,
                           unsigned wanted, bs_error *err)
{
    char path[PATH_SIZE];
    *results = (cli_results){0};
    for (int i = 0; i < CLI_RESULT_FILES; i++)
        results->fd[i] = -1;
    if (asprintf(&results->folder, "%s%s%s", parent, parent[strlen(parent) - 1] == '/' ? "" : "/", name) < 0) {
        results->folder = NULL;
        return bs_fail(err, BS_ERR_NOMEM, "no memory for a path");
    }
    bs_status status = make_folder(results->folder, &results->old, err);
    if (status != BS_OK) {
        free(results->folder);
        results->folder = NULL;
        return status;
    }
    status = spare_input(results, input, err);
    if (status == BS_OK) {
        remove_stale(results);
        part_path(results, "", path);
        if (mkdir(path, 0777) < 0)
            status = bs_fail(err, BS_ERR_IO, "the folder '%s' cannot be made: %s", path, strerror(errno));
    }
    for (int i = 0; i < CLI_RESULT_FILES && status == BS_OK; i++) {
        if (!(wanted & 1u << i))
            continue;
        part_path(results, files[i].name, path);
        results->fd[i] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (results->fd[i] < 0)
            status = bs_fail(err, BS_ERR_IO, "'%s/%s' cannot be made: %s", results->folder, files[i].name,
                             strerror(errno));
    }
    if (status != BS_OK)
        cli_results_drop(results);
    return status;
}

static int write_frame(cli_results *results, int64_t frame_id, const void *data, size_t size)
{
    char path[PATH_SIZE], name[64];
    if (results->frames++ == 0) {
        part_path(results, FRAMES, path);
        if (mkdir(path, 0777) < 0)
            return -1;
    }
    snprintf(name, sizeof(name), FRAMES "/frame_%06lld.%s", (long long)frame_id, results->png ? "png" : "jpg");
    part_path(results, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    const char *at = data;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += n;
        size -= (size_t)n;
    }
    if (!size)
        return close(fd);
    const int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int cli_results_save_frame(void *opaque, int64_t frame_id, const void *data, size_t size)
{
    cli_results *results = opaque;
    errno = 0;
    const int failed = write_frame(results, frame_id, data, size);
    if (failed)
        results->frames_error = errno;
    return failed;
}

/* Whether a name is one that cli_results_save_frame gives. */
static bool is_frame_name(const char *name)
{
    int end = 0;
    return sscanf(name, "frame_%*[0-9]%n", &end) == 0 && end >= 12 &&
           (!strcmp(name + end, ".jpg") || !strcmp(name + end, ".png"));
}

/* Does `each` with the path of every saved frame in `folder`. */
static void for_each_frame(const char *folder, void (*each)(const char *path, const char *name, const char *to),
                           const char *to)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[2 * PATH_SIZE];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (is_frame_name(entry->d_name))
            each(path, entry->d_name, to);
    }
    if (dir)
        closedir(dir);
}

static void remove_frame(const char *path, const char *name, const char *to)
{
    unlink(path);
}

static void move_frame(const char *path, const char *name, const char *to)
{
    char target[2 * PATH_SIZE];
    snprintf(target, sizeof(target), "%s/%s", to, name);
    rename(path, target);
}

/* Saved frames of an earlier run give way; what else lies in the folder stays. A folder that is left to somebody else's
 * files takes the new frames in beside them. */
static bs_status keep_frames(const cli_results *results, bool earlier, bs_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    part_path(results, FRAMES, from);
    final_path(results, FRAMES, to);
    if (earlier) {
        for_each_frame(to, remove_frame, NULL);
        rmdir(to);
    }
    if (!results->frames || rename(from, to) == 0)
        return BS_OK;
    for_each_frame(from, move_frame, to);
    if (rmdir(from) < 0)
        return bs_fail(err, BS_ERR_IO, "'%s' cannot be put in place", to);
    return BS_OK;
}

/* What an earlier run left in the folder, by its metadata.json: bits of its files, and whether it saved frames. */
static unsigned earlier_files(const cli_results *results, bool *frames)
{
    char path[PATH_SIZE];
    unsigned bits = 0;
    final_path(results, files[CLI_METADATA].name, path);
    json_t *metadata = json_load_file(path, 0, NULL);
    const json_t *receipt = json_object_get(metadata, "receipt"), *urls = json_object_get(metadata, "urls");
    const char *program = json_string_value(json_object_get(receipt, "program"));
    const bool ours = program && !strncmp(program, "bodyscript", strlen("bodyscript"));
    for (int i = 0; i < CLI_RESULT_FILES; i++)
        if (ours && json_object_get(urls, files[i].label))
            bits |= 1u << i;
    *frames = ours && json_is_true(json_object_get(json_object_get(receipt, "options"), "save_frames"));
    json_decref(metadata);
    return bits;
}

bs_status cli_results_keep(cli_results *results, bs_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    bool frames;
    const unsigned earlier = earlier_files(results, &frames);
    for (int i = 0; i < CLI_RESULT_FILES; i++) {
        if (results->fd[i] < 0)
            continue;
        int failed = close(results->fd[i]) < 0;
        results->fd[i] = -1;
        part_path(results, files[i].name, from);
        final_path(results, files[i].name, to);
        if (failed || rename(from, to) < 0)
            return bs_fail(err, BS_ERR_IO, "'%s' cannot be put in place: %s", to, strerror(errno));
        results->kept |= 1u << i;
    }
    for (int i = 0; i < CLI_RESULT_FILES; i++) {
        final_path(results, files[i].name, to);
        if (earlier & ~results->kept & 1u << i)
            unlink(to);
    }
    return keep_frames(results, frames, err);
}

void cli_results_drop(cli_results *results)
{
    char path[PATH_SIZE];
    if (!results->folder)
        return;
    for (int i = 0; i < CLI_RESULT_FILES; i++)
        if (results->fd[i] >= 0)
            close(results->fd[i]);
    part_path(results, "", path);
    remove_tree(path);
    if (!results->kept)
        remove_made(results->folder, results->old);
    free(results->folder);
    *results = (cli_results){0};
}
