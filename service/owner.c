/* One server on its files (see owner.h). */
#include "service/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 3000, LOOK_MS = 20 };

struct bs_owner {
    int data, database, storage; /* open lock files; -1: none */
};

/* Waits for the lock, but not long. */
static bool lock_soon(int fd)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB); waited += LOOK_MS) {
        if (errno != EWOULDBLOCK || waited >= WAIT_MS)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* The number of the process that the lock's owner wrote into it, for people; 0: none. */
static int owner_of(int fd)
{
    char text[16] = "";
    return pread(fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 0;
}

static bs_status take(const char *setting, const char *path, int *out, bs_error *err)
{
    char number[16];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return bs_fail(err, BS_ERR_IO, "'%s' cannot be made: %s", path, strerror(errno));
    if (!lock_soon(fd)) {
        bs_status status = errno == EWOULDBLOCK
                               ? bs_fail(err, BS_ERR_FAILED,
                                         "another server or worker (process %d) owns '%s'; stop it, or give this one a "
                                         "%s of its own",
                                         owner_of(fd), path, setting)
                               : bs_fail(err, BS_ERR_IO, "'%s' cannot be locked: %s", path, strerror(errno));
        close(fd);
        return status;
    }
    /* For people only: a full disk may keep it from being written. */
    int length = snprintf(number, sizeof(number), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, number, (size_t)length, 0) != length)
        errno = 0;
    *out = fd;
    return BS_OK;
}

/* The lock at `place` with `suffix`. */
static bs_status take_at(const char *setting, const char *place, const char *suffix, int *out, bs_error *err)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof(path), "%s%s", place, suffix) >= sizeof(path))
        return bs_fail(err, BS_ERR_USAGE, "%s is too long: %zu bytes", setting, strlen(place));
    return take(setting, path, out, err);
}

/* Beside the file itself: one server may know it by a link. */
static bs_status take_database(const char *path, int *out, bs_error *err)
{
    char *real = realpath(path, NULL); /* NULL: there is none yet, and then it is made at `path` */
    bs_status status = take_at("DATABASE_URL", real ? real : path, ".lock", out, err);
    free(real);
    return status;
}

bs_status bs_owner_take(bs_owner **out, const bs_settings *settings, bs_error *err)
{
    bs_owner *owner = malloc(sizeof(*owner));
    if (!owner)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for the service's locks");
    *owner = (bs_owner){-1, -1, -1};
    bs_status status = BS_OK;
    if (mkdir(settings->data_dir, 0700) && errno != EEXIST)
        status = bs_fail(err, BS_ERR_IO, "DATA_DIR '%s' cannot be made: %s", settings->data_dir, strerror(errno));
    if (status == BS_OK)
        status = take_at("DATA_DIR", settings->data_dir, "/lock", &owner->data, err);
    const char *url = settings->database_url;
    if (status == BS_OK && !url)
        status = take_at("DATABASE_URL", settings->data_dir, "/jobs.db.lock", &owner->database, err);
    else if (status == BS_OK && !strncmp(url, "sqlite:", 7))
        status = take_database(url + 7, &owner->database, err);
    if (status == BS_OK)
        *out = owner;
    else
        bs_owner_release(&owner);
    return status;
}

bs_status bs_owner_take_storage(bs_owner *owner, const bs_settings *settings, bs_error *err)
{
    const char *url = settings->storage_url;
    if (!url)
        return take_at("STORAGE_URL", settings->data_dir, "/jobs/.lock", &owner->storage, err);
    if (strncmp(url, "file:", 5))
        return BS_OK; /* not on this machine */
    return take_at("STORAGE_URL", url + (!strncmp(url + 5, "//", 2) ? 7 : 5), "/.lock", &owner->storage, err);
}

void bs_owner_release(bs_owner **out)
{
    bs_owner *owner = *out;
    if (!owner)
        return;
    const int locks[] = {owner->storage, owner->database, owner->data};
    for (int i = 0; i < 3; i++)
        if (locks[i] >= 0)
            close(locks[i]);
    free(owner);
    *out = NULL;
}
