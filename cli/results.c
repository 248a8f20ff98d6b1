/* The result files of one input (see cli.h).
 *
 * While the job runs they lie in DIR/NAME/.part.PID/; each is renamed to its place when all are whole. What a killed
 * run left there is removed by the next one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
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

enum { PATH_SIZE = 4096 };

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

/* Folders of runs whose process is gone. */
static void remove_stale(const cli_results *results)
{
    DIR *dir = opendir(results->folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[PATH_SIZE];
        long pid = strncmp(entry->d_name, PART, strlen(PART)) ? 0 : atol(entry->d_name + strlen(PART));
        if (pid <= 0 || (kill((pid_t)pid, 0) == 0 && pid != getpid()) || (errno == EPERM && pid != getpid()))
            continue;
        final_path(results, entry->d_name, path);
        remove_tree(path);
    }
    if (dir)
        closedir(dir);
}

/* Makes the folder and those above it; `made` tells whether the last one is new. */
static bs_status make_folder(const char *path, bool *made, bs_error *err)
{
    char part[PATH_SIZE];
    if (strlen(path) >= sizeof(part))
        return bs_fail(err, BS_ERR_USAGE, "the path '%.60s…' is too long", path);
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return bs_fail(err, BS_ERR_IO, "the folder '%s' cannot be made: %s", part, strerror(errno));
        *slash = '/';
    }
    struct stat st;
    *made = mkdir(part, 0777) == 0;
    if (*made || (errno == EEXIST && stat(part, &st) == 0 && S_ISDIR(st.st_mode)))
        return BS_OK;
    return bs_fail(err, BS_ERR_IO, "the folder '%s' cannot be made: %s", part, strerror(errno));
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
    bs_status status = make_folder(parent, &results->made_parent, err);
    if (status != BS_OK)
        return status;
    if (asprintf(&results->folder, "%s%s%s", parent, parent[strlen(parent) - 1] == '/' ? "" : "/", name) < 0) {
        results->folder = NULL;
        return bs_fail(err, BS_ERR_NOMEM, "no memory for a path");
    }
    status = make_folder(results->folder, &results->made_folder, err);
    if (status == BS_OK)
        status = spare_input(results, input, err);
    if (status == BS_OK) {
        bool made;
        remove_stale(results);
        part_path(results, "", path);
        status = make_folder(path, &made, err);
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

int cli_results_save_frame(void *opaque, int64_t frame_id, const void *data, size_t size)
{
    cli_results *results = opaque;
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
    return close(fd) < 0 || size ? -1 : 0;
}

/* A rename cannot put a folder in the place of one that is not empty: the old one goes first. */
static bs_status keep_frames(const cli_results *results, bs_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    part_path(results, FRAMES, from);
    final_path(results, FRAMES, to);
    remove_tree(to);
    if (results->frames > 0 && rename(from, to) < 0)
        return bs_fail(err, BS_ERR_IO, "'%s' cannot be put in place: %s", to, strerror(errno));
    return BS_OK;
}

bs_status cli_results_keep(cli_results *results, bs_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
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
        if (!(results->kept & 1u << i))
            unlink(to);
    }
    return keep_frames(results, err);
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
    if (!results->kept && results->made_folder)
        rmdir(results->folder);
    if (!results->kept && results->made_parent) {
        char *slash = strrchr(results->folder, '/');
        *slash = '\0';
        rmdir(results->folder); /* stays where something else is in it by now */
    }
    free(results->folder);
    *results = (cli_results){0};
}
