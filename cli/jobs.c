/* bodyscript jobs: the administrator's view of the store, whether a server runs or not. */
#include <string.h>

#include "cli/cli.h"
#include "service/service.h"

static const cli_option options[] = {
    {"json", 'j', NULL, "machine-readable"},
    {NULL, 0, NULL, NULL},
};

static const int job_settings[] = {BS_SET_DATA_DIR, BS_SET_DATABASE_URL, BS_SET_STORAGE_URL, -1};

static bs_status set(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    *(bool *)opaque = true; /* --json is the only one */
    return BS_OK;
}

static const cli_command command = {
    "jobs",
    "jobs list|show ID|cancel ID|cleanup [ID]",
    "Lists all jobs, shows or cancels one, or removes one with its files; `cleanup` alone removes what has expired.",
    options,
    job_settings,
    1,
    2,
    set,
};

static bs_status act(const bs_settings *settings, const char *verb, const char *id, bool json, bs_error *err)
{
    bool listed = !strcmp(verb, "list"), shown = !strcmp(verb, "show"), cancelled = !strcmp(verb, "cancel");
    if (!listed && !shown && !cancelled && strcmp(verb, "cleanup"))
        return bs_fail(err, BS_ERR_USAGE, "jobs takes list, show, cancel or cleanup, not '%.40s'", verb);
    if ((shown || cancelled) && !id)
        return bs_fail(err, BS_ERR_USAGE, "jobs %s takes the id of a job", verb);
    if (listed && id)
        return bs_fail(err, BS_ERR_USAGE, "jobs list takes nothing more");
    if (listed)
        return bs_service_jobs_list(settings, json, stdout, err);
    if (shown)
        return bs_service_jobs_show(settings, id, json, stdout, err);
    if (cancelled)
        return bs_service_jobs_cancel(settings, id, json, stdout, err);
    return bs_service_jobs_cleanup(settings, id, json, stdout, err);
}

int cli_jobs(int argc, char **argv)
{
    bs_settings settings;
    bs_error err = {0};
    bool json = false;
    int words, exit_code;
    if (!cli_parse(&command, argc, argv, &json, &settings, &words, &exit_code))
        return exit_code;
    bs_status status = act(&settings, argv[0], words > 1 ? argv[1] : NULL, json, &err);
    bs_settings_release(&settings);
    return status == BS_OK ? 0 : cli_fail(&err);
}
