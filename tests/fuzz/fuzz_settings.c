/* Any bytes as bodyscript.conf, and as one value of every setting. */
#include <stdio.h>
#include <string.h>

#include "input.h"
#include "settings/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
#define INT(field, name, value, min, max, meaning) #name,
#define BOOL(field, name, value, meaning)          #name,
#define TEXT(field, name, value, meaning)          #name,
#define CHOICE(field, name, value, words, meaning) #name,
    BS_SETTINGS_LIST(INT, BOOL, TEXT, CHOICE)
#undef INT
#undef BOOL
#undef TEXT
#undef CHOICE
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], *value = malloc(size + 1);
    bs_settings settings = {0};
    bs_error err = {0};
    int fd = fuzz_file(data, size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (bs_settings_load(&settings, path, &err) == BS_OK)
        bs_settings_finish(&settings, &err);
    bs_settings_release(&settings);
    close(fd);

    memcpy(value, data, size);
    value[size] = '\0';
    memset(&settings, 0, sizeof(settings));
    fd = fuzz_file(data, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (bs_settings_load(&settings, path, &err) == BS_OK) {
        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
            bs_settings_set(&settings, names[i], value, "fuzz", &err);
        bs_settings_finish(&settings, &err);
    }
    bs_settings_release(&settings);
    close(fd);
    free(value);
    return 0;
}
