/* What results are called: their files, media types, labels and addresses (see artifacts.h). */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "service/artifacts/artifacts.h"

static const char *const file_names[] = {
#define X(constant, file, type, label) file,
    BS_ARTIFACT_LIST(X)
#undef X
};
static const char *const media_types[] = {
#define X(constant, file, type, label) type,
    BS_ARTIFACT_LIST(X)
#undef X
};
static const char *const labels[] = {
#define X(constant, file, type, label) label,
    BS_ARTIFACT_LIST(X)
#undef X
};

const char *bs_artifact_file(bs_artifact_kind kind)
{
    return file_names[kind];
}

const char *bs_artifact_type(bs_artifact_kind kind)
{
    return media_types[kind];
}

const char *bs_artifact_label(bs_artifact_kind kind)
{
    return labels[kind];
}

bool bs_artifact_name_valid(const char *name)
{
    for (int i = 0; i < BS_ARTIFACT_KINDS; i++)
        if (!strcmp(name, file_names[i]))
            return true;

    const char *digits = name + strlen("frame_");
    if (strncmp(name, "frame_", strlen("frame_")))
        return false;
    size_t count = strspn(digits, "0123456789");
    return count >= 6 && count <= 18 && (!strcmp(digits + count, ".jpg") || !strcmp(digits + count, ".png"));
}

void bs_artifact_url(char *out, size_t size, const char *base, const char *id, const char *name)
{
    size_t length = base ? strlen(base) : 0;
    while (length && base[length - 1] == '/')
        length--;
    snprintf(out, size, "%.*s/%s/%s", length ? (int)length : INT_MAX, length ? base : "/api/serve", id, name);
}
