/* How much memory this process may use (see bodyscript/memory.h).
 *
 * A cgroup limits everything below it, so the limit that counts is the smallest on the way from the process's own
 * cgroup up to the root of the tree. /proc/self/cgroup says where the process is in each tree and
 * /proc/self/mountinfo where each tree is mounted; in a container the mount often shows only a part of the tree
 * (its fourth field), and then what lies above cannot be read. Version 1 tells the ancestors' limit all the same,
 * in memory.stat's hierarchical_memory_limit.
 *
 * Sources: Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, proc(5), cgroup_namespaces(7). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory_internal.h"

/* Version 1 writes "no limit" as the largest multiple of the page size in an int64; nobody means a limit above this. */
static const uint64_t NO_LIMIT_FROM = UINT64_C(1) << 60;

long bs_memory_read_file(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    while (used < capacity - 1) {
        ssize_t n = read(fd, text + used, capacity - 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            close(fd);
            errno = error;
            return -1;
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    close(fd);
    text[used] = '\0';
    return (long)used;
}

int64_t bs_memory_kb_line(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0) {
            uint64_t kb = strtoull(line + length, NULL, 10);
            return kb <= INT64_MAX / 1024 ? (int64_t)(kb * 1024) : -1;
        }
    }
    return -1;
}

/* The whole of a file that has no small bound (mountinfo of a machine with many mounts). The caller frees it. */
static char *read_whole(const char *path)
{
    size_t capacity = 16384;
    char *text = NULL;
    for (;;) {
        char *larger = realloc(text, capacity);
        if (!larger)
            break;
        text = larger;
        long n = bs_memory_read_file(path, text, capacity);
        if (n < 0)
            break;
        if ((size_t)n < capacity - 1)
            return text;
        if (capacity >= 16 << 20)
            break;
        capacity *= 4;
    }
    free(text);
    return NULL;
}

/* A number of bytes in a file of its own; false where there is none, or it means "no limit". */
static bool read_limit(const char *path, uint64_t *out)
{
    char text[64], *end;
    if (bs_memory_read_file(path, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
        return false; /* "max" is no number */
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || (*end && *end != '\n') || value >= NO_LIMIT_FROM)
        return false;
    *out = value;
    return true;
}

static void take_smaller(bs_memory_limits *out, uint64_t value, int version, const char *cgroup)
{
    if (out->cgroup_version && value >= out->cgroup)
        return;
    out->cgroup = value;
    out->cgroup_version = version;
    snprintf(out->cgroup_path, sizeof(out->cgroup_path), "%s", cgroup);
}

/* The ancestors' limit, as version 1 tells it even where their folders cannot be seen. */
static void read_hierarchical(const char *folder, const char *cgroup, bs_memory_limits *out)
{
    char path[PATH_MAX], text[8192];
    if (snprintf(path, sizeof(path), "%s/memory.stat", folder) >= (int)sizeof(path) ||
        bs_memory_read_file(path, text, sizeof(text)) <= 0)
        return;
    static const char key[] = "hierarchical_memory_limit ";
    const char *line = strstr(text, key);
    if (!line)
        return;
    uint64_t value = strtoull(line + sizeof(key) - 1, NULL, 10);
    if (value && value < NO_LIMIT_FROM)
        take_smaller(out, value, 1, cgroup);
}

/* Every limit from `mount`/`cgroup` up to `mount` itself. */
static void walk_up(const char *root, const char *mount, const char *cgroup, int version, bs_memory_limits *out)
{
    /* memory.high does not kill but throttles whoever is above it to a crawl: a limit to keep below, too. */
    static const char *const names[2][2] = {{"memory.limit_in_bytes", NULL}, {"memory.max", "memory.high"}};
    char way[PATH_MAX];
    if (snprintf(way, sizeof(way), "%s", cgroup) >= (int)sizeof(way))
        return;
    for (bool first = true;; first = false) {
        size_t length = strlen(way);
        while (length && way[length - 1] == '/')
            way[--length] = '\0';
        char folder[PATH_MAX], path[PATH_MAX + 32];
        if (snprintf(folder, sizeof(folder), "%s%s%s", root, mount, way) < (int)sizeof(folder)) {
            uint64_t value;
            for (int i = 0; i < 2 && names[version - 1][i]; i++) {
                snprintf(path, sizeof(path), "%s/%s", folder, names[version - 1][i]);
                if (read_limit(path, &value))
                    take_smaller(out, value, version, length ? way : "/");
            }
            if (first && version == 1)
                read_hierarchical(folder, length ? way : "/", out);
        }
        char *slash = strrchr(way, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
            from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* True when the comma-separated `list` has the word `memory`. */
static bool has_memory(const char *list)
{
    for (const char *word = list; word; word = strchr(word, ',')) {
        word += *word == ',';
        if (strncmp(word, "memory", 6) == 0 && (word[6] == '\0' || word[6] == ',' || word[6] == '\n'))
            return true;
    }
    return false;
}

/* The process's cgroup in the tree of `version`, from the text of /proc/self/cgroup ("4:memory:/a", "0::/b"). */
static bool own_cgroup(const char *text, int version, char *out, size_t capacity)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *end = strchrnul(line, '\n');
        const char *controllers = memchr(line, ':', (size_t)(end - line));
        const char *path = controllers ? memchr(controllers + 1, ':', (size_t)(end - controllers - 1)) : NULL;
        if (!path)
            continue;
        char list[256];
        snprintf(list, sizeof(list), "%.*s", (int)(path - controllers - 1), controllers + 1);
        if (version == 2 ? strncmp(line, "0::", 3) == 0 : has_memory(list))
            return snprintf(out, capacity, "%.*s", (int)(end - path - 1), path + 1) < (int)capacity;
    }
    return false;
}

/* One line of mountinfo: "31 23 0:28 ROOT MOUNT options … - TYPE source superoptions". */
static void read_mount(const char *root, char *line, const char *cgroups, bs_memory_limits *out)
{
    char *separator = strstr(line, " - ");
    if (!separator)
        return;
    char *save = NULL, *type = strtok_r(separator + 3, " ", &save);
    strtok_r(NULL, " ", &save); /* source */
    char *options = strtok_r(NULL, " ", &save);
    int version = !type ? 0 : strcmp(type, "cgroup2") == 0 ? 2 : strcmp(type, "cgroup") == 0 ? 1 : 0;
    if (!version || (version == 1 && (!options || !has_memory(options))))
        return;

    *separator = '\0';
    char *field[5] = {0};
    field[0] = strtok_r(line, " ", &save);
    for (int i = 1; i < 5; i++)
        field[i] = strtok_r(NULL, " ", &save);
    char own[PATH_MAX];
    if (!field[4] || !own_cgroup(cgroups, version, own, sizeof(own)))
        return;
    char *top = field[3], *mount = field[4];
    unescape(top);
    unescape(mount);

    /* The mount shows the tree from `top` on: a container's own cgroup is the mount point itself. A path that leads
     * out of it ("/..", a process moved from outside) has no folder here; what the mount point says still holds. */
    const char *below = own;
    size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    if (length && strncmp(own, top, length) == 0 && (own[length] == '/' || own[length] == '\0'))
        below = own + length;
    else if (length && strcmp(own, "/") != 0)
        below = "";
    if (strncmp(below, "/..", 3) == 0)
        below = "";
    walk_up(root, mount, below, version, out);
}

bs_status bs_memory_read_limits_at(const char *root, bs_memory_limits *out, bs_error *err)
{
    bs_memory_limits limits = {0};
    char path[PATH_MAX], text[8192];
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    int64_t physical = bs_memory_read_file(path, text, sizeof(text)) > 0 ? bs_memory_kb_line(text, "MemTotal:") : -1;
    if (physical <= 0)
        return bs_fail(err, BS_ERR_FAILED, "cannot read the size of the memory from %s: is /proc mounted?", path);
    limits.limit = limits.physical = (uint64_t)physical;

    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    char *cgroups = read_whole(path);
    snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
    char *mounts = read_whole(path), *save = NULL;
    if (cgroups && mounts)
        for (char *line = strtok_r(mounts, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            read_mount(root, line, cgroups, &limits);
    free(cgroups);
    free(mounts);

    if (limits.cgroup_version && limits.cgroup < limits.limit)
        limits.limit = limits.cgroup;
    *out = limits;
    return BS_OK;
}

bs_status bs_memory_read_limits(bs_memory_limits *out, bs_error *err)
{
    return bs_memory_read_limits_at("", out, err);
}
