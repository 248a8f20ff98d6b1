/* artifacts in a local folder (see artifacts.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <bodyscript/log.h>

#include "service/artifacts/artifacts.h"

struct bs_artifacts {
    char *path;
    int root, incoming;   /* open folders */
    uint64_t limit;       /* 0: as much as there is, less a tenth */
    pthread_mutex_t lock; /* of what follows */
    uint64_t reserved, files;
    struct timespec counted; /* when `files` was */
};

#define INPUT    "input"
#define INCOMING ".incoming"

/* -- opening ---------------------------------------------------------------------------------------- */

static bs_status make_folders(const char *path, bs_error *err)
{
    char part[4096];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return bs_fail(err, BS_ERR_USAGE, "the storage path is longer than %zu bytes", sizeof(part) - 1);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (mkdir(part, 0700) && errno != EEXIST)
            return bs_fail(err, BS_ERR_IO, "cannot make the folder '%s': %s", part, strerror(errno));
        if (!slash)
            return BS_OK;
        *slash = '/';
    }
}

static char *storage_path(const char *url, const char *data_dir, bs_error *err)
{
    char *path = NULL;
    if (!url) {
        if (asprintf(&path, "%s/jobs", data_dir) < 0)
            path = NULL;
    } else if (!strncmp(url, "file:", 5) && url[5] && strcmp(url, "file://")) {
        path = strdup(!strncmp(url + 5, "//", 2) ? url + 7 : url + 5);
    } else {
        bs_fail(err, BS_ERR_USAGE, "STORAGE_URL '%.*s…' is of no kind that this build has; it takes file:PATH",
                (int)strcspn(url, ":"), url); /* no more of it: it may hold a password */
        return NULL;
    }
    if (!path)
        bs_fail(err, BS_ERR_NOMEM, "no memory for the storage path");
    return path;
}

static bs_status open_folder(int at, const char *path, int *out, bs_error *err)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return bs_fail(err, BS_ERR_IO, "cannot open the folder '%s': %s", path, strerror(errno));
    *out = fd;
    return BS_OK;
}

bs_status bs_artifacts_open(bs_artifacts **out, const char *url, const char *data_dir, uint64_t disk_limit,
                            bs_error *err)
{
    bs_status status = BS_ERR_NOMEM;
    bs_artifacts *a = calloc(1, sizeof(*a));
    if (!a)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the storage");
    a->root = a->incoming = -1;
    a->limit = disk_limit;
    pthread_mutex_init(&a->lock, NULL);

    a->path = storage_path(url, data_dir, err);
    if (!a->path) {
        status = url ? BS_ERR_USAGE : BS_ERR_NOMEM;
        goto out;
    }
    if ((status = make_folders(a->path, err)) || (status = open_folder(AT_FDCWD, a->path, &a->root, err)))
        goto out;
    if (mkdirat(a->root, INCOMING, 0700) && errno != EEXIST) {
        status = bs_fail(err, BS_ERR_IO, "cannot make the folder '%s/" INCOMING "': %s", a->path, strerror(errno));
        goto out;
    }
    if ((status = open_folder(a->root, INCOMING, &a->incoming, err)))
        goto out;
    *out = a;
    a = NULL;
out:
    bs_artifacts_close(&a);
    return status;
}

void bs_artifacts_close(bs_artifacts **artifacts)
{
    bs_artifacts *a = *artifacts;
    if (!a)
        return;
    if (a->root >= 0)
        close(a->root);
    if (a->incoming >= 0)
        close(a->incoming);
    pthread_mutex_destroy(&a->lock);
    free(a->path);
    free(a);
    *artifacts = NULL;
}

bs_status bs_artifacts_check(bs_artifacts *a, bs_error *err)
{
    struct stat st;
    if (fstat(a->incoming, &st) || faccessat(a->incoming, ".", W_OK, AT_EACCESS))
        return bs_fail(err, BS_ERR_IO, "The storage folder cannot be written: %s", strerror(errno));
    if (st.st_nlink == 0) /* open here, and in no other folder */
        return bs_fail(err, BS_ERR_IO, "The storage folder was removed: start the server again");
    return BS_OK;
}

/* -- paths ------------------------------------------------------------------------------------------ */

/* "<id>/<prefix><name><suffix>" below the root; false where id or name is not one. */
static bool job_path(char *out, size_t size, const char *id, const char *name, bool part)
{
    if (!bs_job_id_valid(id))
        return false;
    if (strcmp(name, INPUT) && !bs_artifact_name_valid(name))
        return false;
    return snprintf(out, size, part ? "%s/.%s.part" : "%s/%s", id, name) < (int)size;
}

enum { PATH_SIZE = BS_JOB_ID_LENGTH + BS_ARTIFACT_NAME_MAX + 16, MOVE_TRIES = 10 };

static bs_status no_such(bs_error *err)
{
    return bs_fail(err, BS_ERR_INPUT, "there is no such file");
}

/* Opens a folder to walk through its names; NULL: `errno` says why. */
static DIR *open_dir(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

/* Makes a rename durable, where the file system can: some refuse to sync a folder. */
static void sync_folder(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* -- room ------------------------------------------------------------------------------------------- */

static uint64_t size_on_disk(const struct stat *st)
{
    uint64_t blocks = (uint64_t)st->st_blocks * 512;
    return blocks > (uint64_t)st->st_size ? blocks : (uint64_t)st->st_size;
}

static uint64_t folder_size(int root, const char *name)
{
    uint64_t sum = 0;
    DIR *dir = open_dir(root, name);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct stat st;
        if (!fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
            sum += size_on_disk(&st);
    }
    if (dir)
        closedir(dir);
    return sum;
}

static int add_job_size(void *opaque, const char *id)
{
    void **arg = opaque;
    *(uint64_t *)arg[1] += folder_size(((bs_artifacts *)arg[0])->root, id);
    return 0;
}

/* Counts the files of all jobs, at most once a second; with the lock held. */
static void count_files(bs_artifacts *a)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (a->counted.tv_sec && now.tv_sec - a->counted.tv_sec < 1)
        return;
    uint64_t sum = 0;
    void *arg[] = {a, &sum};
    bs_artifacts_jobs(a, add_job_size, arg, NULL);
    a->files = sum;
    a->counted = now;
}

/* What files and reservations may take together, as things stand; with the lock held. */
static uint64_t limit_now(bs_artifacts *a)
{
    struct statvfs fs;
    uint64_t limit = a->limit ? a->limit : UINT64_MAX;
    if (fstatvfs(a->root, &fs))
        return limit;
    /* Incoming files have their blocks already (fallocate), so what the system calls free excludes reservations. */
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    uint64_t room = a->files + a->reserved + (free_bytes - free_bytes / 10);
    return room < limit ? room : limit;
}

void bs_artifacts_read_usage(bs_artifacts *a, bs_artifacts_usage *out)
{
    pthread_mutex_lock(&a->lock);
    count_files(a);
    *out = (bs_artifacts_usage){.files = a->files, .reserved = a->reserved, .limit = limit_now(a)};
    pthread_mutex_unlock(&a->lock);
}

static bs_status reserve(bs_artifacts *a, uint64_t size, bs_error *err)
{
    pthread_mutex_lock(&a->lock);
    count_files(a);
    uint64_t taken = a->files + a->reserved, limit = limit_now(a);
    bool fits = taken <= limit && size <= limit - taken;
    if (fits)
        a->reserved += size;
    pthread_mutex_unlock(&a->lock);
    if (fits)
        return BS_OK;
    return bs_fail(
        err, BS_ERR_LIMIT, "The disk has no room for this upload: it needs %.1f MB and %.1f MB of %.1f MB are left",
        (double)size / 1048576, (double)(limit > taken ? limit - taken : 0) / 1048576, (double)limit / 1048576);
}

static void give_back(bs_artifacts *a, uint64_t size)
{
    pthread_mutex_lock(&a->lock);
    a->reserved -= size;
    a->counted.tv_sec = 0; /* what was reserved may be a file now */
    pthread_mutex_unlock(&a->lock);
}

/* -- uploads ---------------------------------------------------------------------------------------- */

static bs_status not_stored(bs_error *err, int reason)
{
    return bs_fail(err, reason == ENOSPC || reason == EDQUOT ? BS_ERR_LIMIT : BS_ERR_IO,
                   "The upload cannot be stored: %s", strerror(reason));
}

bs_status bs_artifacts_receive(bs_artifacts *a, uint64_t size, bs_incoming *out, bs_error *err)
{
    bs_incoming in = {.fd = -1, .reserved = size};
    char id[BS_JOB_ID_LENGTH + 1];
    bs_status status = bs_job_id_new(id, err);
    if (status == BS_OK)
        status = reserve(a, size, err);
    if (status)
        return status;

    snprintf(in.name, sizeof(in.name), "%s.part", id);
    in.fd = openat(a->incoming, in.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (in.fd < 0) {
        status = not_stored(err, errno);
        goto out;
    }
    in.held = true;
    flock(in.fd, LOCK_EX | LOCK_NB); /* tells a sweep, of this or another process, that it is being written */
    /* Real blocks, where the file system can set them aside: a disk that fills up later does not break the upload. */
    if (size && fallocate(in.fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) && (errno == ENOSPC || errno == EDQUOT)) {
        status = bs_fail(err, BS_ERR_LIMIT, "The disk has no room for this upload of %.1f MB", (double)size / 1048576);
        goto out;
    }
    *out = in;
    return BS_OK;
out:
    bs_artifacts_discard(a, &in);
    return status;
}

void bs_artifacts_discard(bs_artifacts *a, bs_incoming *in)
{
    if (in->name[0]) {
        unlinkat(a->incoming, in->name, 0);
        give_back(a, in->reserved);
    }
    if (in->held)
        close(in->fd);
    *in = (bs_incoming){.fd = -1};
}

/* Moves the file into the folder of its job. Whoever cleans up may take the folder for an empty one without a job, and
 * remove it, before the file is in it: then it is made again. */
static bool move_in(bs_artifacts *a, const char *name, const char *id, const char *path)
{
    for (int tries = 0; tries < MOVE_TRIES; tries++) {
        if (mkdirat(a->root, id, 0700))
            return false;
        if (!renameat(a->incoming, name, a->root, path))
            return true;
        int reason = errno;
        unlinkat(a->root, id, AT_REMOVEDIR);
        errno = reason;
        if (reason != ENOENT)
            return false;
    }
    return false;
}

bs_status bs_artifacts_accept(bs_artifacts *a, bs_incoming *in, const char *id, bs_error *err)
{
    char path[PATH_SIZE];
    struct stat st;
    if (!job_path(path, sizeof(path), id, INPUT, false))
        return no_such(err);
    /* Blocks beyond the end of the file go back to the disk; then the bytes, then the name, then the folder. */
    if (fstat(in->fd, &st) || ftruncate(in->fd, st.st_size) || fsync(in->fd) || !move_in(a, in->name, id, path))
        return not_stored(err, errno);
    sync_folder(a->root, id);
    fsync(a->root);
    give_back(a, in->reserved);
    in->name[0] = '\0';
    return BS_OK;
}

bool bs_artifacts_has_input(bs_artifacts *a, const char *id, bool *arriving)
{
    int fd = -1;
    *arriving = false;
    if (bs_artifacts_open_input(a, id, &fd, NULL) != BS_OK)
        return false;
    *arriving = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
    close(fd);
    return true;
}

int bs_artifacts_sweep_incoming(bs_artifacts *a, int64_t seconds)
{
    int removed = 0;
    time_t now = time(NULL);
    DIR *dir = open_dir(a->incoming, ".");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        struct stat st;
        int file = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (file < 0)
            continue;
        /* One from as far ahead is of before the clock was set back. */
        if (!fstat(file, &st) && llabs((long long)now - st.st_mtime) >= seconds && !flock(file, LOCK_EX | LOCK_NB) &&
            !unlinkat(dirfd(dir), e->d_name, 0))
            removed++;
        close(file);
    }
    if (dir)
        closedir(dir);
    return removed;
}

/* -- a job's files ---------------------------------------------------------------------------------- */

bs_status bs_artifacts_open_input(bs_artifacts *a, const char *id, int *fd, bs_error *err)
{
    char path[PATH_SIZE];
    if (!job_path(path, sizeof(path), id, INPUT, false))
        return no_such(err);
    int opened = openat(a->root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (opened < 0)
        return bs_fail(err, errno == ENOENT ? BS_EOF : BS_ERR_IO, "the uploaded file cannot be read: %s",
                       strerror(errno));
    *fd = opened;
    return BS_OK;
}

void bs_artifacts_remove_input(bs_artifacts *a, const char *id)
{
    char path[PATH_SIZE];
    if (job_path(path, sizeof(path), id, INPUT, false))
        unlinkat(a->root, path, 0);
}

bs_status bs_artifacts_create(bs_artifacts *a, const char *id, const char *name, int *fd, bs_error *err)
{
    char path[PATH_SIZE];
    if (!job_path(path, sizeof(path), id, name, true))
        return no_such(err);
    if (mkdirat(a->root, id, 0700) && errno != EEXIST)
        return bs_fail(err, BS_ERR_IO, "the job's folder cannot be made: %s", strerror(errno));
    int opened = openat(a->root, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (opened < 0)
        return bs_fail(err, BS_ERR_IO, "%s cannot be written: %s", name, strerror(errno));
    *fd = opened;
    return BS_OK;
}

bs_status bs_artifacts_commit(bs_artifacts *a, const char *id, const char *name, int fd, bs_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    if (!job_path(from, sizeof(from), id, name, true) || !job_path(to, sizeof(to), id, name, false))
        return no_such(err);
    if (fsync(fd) || renameat(a->root, from, a->root, to))
        return bs_fail(err, BS_ERR_IO, "%s cannot be kept: %s", name, strerror(errno));
    sync_folder(a->root, id);
    return BS_OK;
}

/* Removes what `wanted` picks from a job's folder. */
static void remove_files(bs_artifacts *a, const char *id, bool (*wanted)(const char *name))
{
    DIR *dir = open_dir(a->root, id);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && wanted(e->d_name))
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
}

static bool is_part(const char *name)
{
    return name[0] == '.';
}

static bool is_any(const char *name)
{
    return true;
}

static bool is_not_input(const char *name)
{
    return strcmp(name, INPUT) != 0;
}

void bs_artifacts_abandon(bs_artifacts *a, const char *id, const char *name)
{
    char path[PATH_SIZE];
    if (!name && bs_job_id_valid(id))
        remove_files(a, id, is_part);
    else if (name && job_path(path, sizeof(path), id, name, true))
        unlinkat(a->root, path, 0);
}

bs_status bs_artifacts_read(bs_artifacts *a, const char *id, const char *name, bs_artifact *out, bs_error *err)
{
    char path[PATH_SIZE];
    struct stat st;
    if (!strcmp(name, INPUT) || !job_path(path, sizeof(path), id, name, false))
        return no_such(err);
    int fd = openat(a->root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return bs_fail(err, errno == ENOENT ? BS_EOF : BS_ERR_IO, "%s cannot be read: %s", name, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return bs_fail(err, BS_ERR_IO, "%s cannot be read", name);
    }
    *out = (bs_artifact){.fd = fd, .size = (uint64_t)st.st_size, .modified = st.st_mtim.tv_sec};
    snprintf(out->etag, sizeof(out->etag), "\"%llx-%llx\"", (unsigned long long)st.st_size,
             (unsigned long long)st.st_mtim.tv_sec * 1000000000ull + (unsigned long long)st.st_mtim.tv_nsec);
    return BS_OK;
}

static bs_status remove_folder(bs_artifacts *a, const char *id, bool (*wanted)(const char *name), bs_error *err)
{
    if (!bs_job_id_valid(id))
        return no_such(err);
    remove_files(a, id, wanted);
    if (!unlinkat(a->root, id, AT_REMOVEDIR) || errno == ENOENT)
        return BS_OK;
    if (errno == ENOTEMPTY && wanted != is_any)
        return BS_AGAIN;
    return bs_fail(err, BS_ERR_IO, "the job's folder cannot be removed: %s", strerror(errno));
}

bs_status bs_artifacts_remove(bs_artifacts *a, const char *id, bs_error *err)
{
    return remove_folder(a, id, is_any, err);
}

bs_status bs_artifacts_remove_but_input(bs_artifacts *a, const char *id, bs_error *err)
{
    return remove_folder(a, id, is_not_input, err);
}

bs_status bs_artifacts_jobs(bs_artifacts *a, int (*each)(void *opaque, const char *id), void *opaque, bs_error *err)
{
    DIR *dir = open_dir(a->root, ".");
    if (!dir)
        return bs_fail(err, BS_ERR_IO, "cannot read the folder '%s': %s", a->path, strerror(errno));
    for (struct dirent *e; (e = readdir(dir));)
        if (bs_job_id_valid(e->d_name) && each(opaque, e->d_name))
            break;
    closedir(dir);
    return BS_OK;
}

bs_status bs_artifacts_files(bs_artifacts *a, const char *id,
                             int (*each)(void *opaque, const char *name, uint64_t size), void *opaque, bs_error *err)
{
    if (!bs_job_id_valid(id))
        return no_such(err);
    DIR *dir = open_dir(a->root, id);
    if (!dir)
        return errno == ENOENT ? BS_EOF : bs_fail(err, BS_ERR_IO, "cannot read the job's folder: %s", strerror(errno));
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (!bs_artifact_name_valid(e->d_name) || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (each(opaque, e->d_name, (uint64_t)st.st_size))
            break;
    }
    closedir(dir);
    return BS_OK;
}
