/* bodyscript doctor: what this machine offers, and what is in force. */
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <jansson.h>

#include <bodyscript/memory.h>

#include "cli/cli.h"
#include "service/service.h"

static const cli_option options[] = {
    {"json", 'j', NULL, "as one JSON object"},
    {NULL, 0, NULL, NULL},
};

static bs_status set(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    *(bool *)opaque = true; /* --json is the only one */
    return BS_OK;
}

static const cli_command command = {
    "doctor",
    "doctor [--json]",
    "Tells what this machine offers: memory limit, processor, models, sandbox, and the settings in force.\n"
    "Exit code 1 where something is missing that a job needs.",
    options,
    cli_all_settings,
    0,
    0,
    set,
};

static const char *yes(bool value)
{
    return value ? "yes" : "no";
}

static json_t *memory_report(const bs_settings *settings)
{
    bs_memory_limits limits = {0};
    json_t *o = json_object();
    bs_memory_read_limits(&limits, NULL);
    json_object_set_new(o, "physical_mb", json_integer((json_int_t)(limits.physical >> 20)));
    json_object_set_new(o, "cgroup_mb", limits.cgroup ? json_integer((json_int_t)(limits.cgroup >> 20)) : json_null());
    json_object_set_new(o, "cgroup_version", json_integer(limits.cgroup_version));
    json_object_set_new(o, "cgroup_path", cli_json_text(limits.cgroup_path));
    json_object_set_new(o, "limit_mb", json_integer(settings->memory_limit_mb));
    return o;
}

/* The sandbox's building blocks, by asking the kernel. */
static json_t *sandbox_report(void)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    long landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    json_t *o = json_object();
    json_object_set_new(o, "seccomp", json_boolean(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0));
    json_object_set_new(o, "landlock", json_integer(landlock > 0 ? landlock : 0));
    return o;
}

static json_t *models_report(bool *complete)
{
    bs_error err = {0};
    bs_models *models = NULL;
    bs_pose *pose = NULL;
    json_t *o = json_object();
    *complete = bs_models_open(&models, NULL, BS_MODEL_ALL, &err) == BS_OK;
    if (*complete) {
        bs_pose_options pose_options = bs_pose_defaults();
        json_object_set_new(o, "folder", cli_json_text(bs_models_dir(models)));
        for (int kind = 0; kind < BS_MODEL_KINDS; kind++)
            json_object_set_new(o, bs_model_name((bs_model_kind)kind),
                                json_string(bs_models_sha256(models, (bs_model_kind)kind)));
        *complete = bs_pose_open(&pose, models, &pose_options, &err) == BS_OK;
    }
    if (!*complete)
        json_object_set_new(o, "error", cli_json_text(err.text));
    bs_pose_close(&pose);
    bs_models_close(&models);
    return o;
}

static json_t *store_report(const bs_settings *settings, bool *sound)
{
    char state[700];
    *sound = bs_service_store_state(settings, state, sizeof(state)) == BS_OK;
    return json_pack("{s:b, s:o}", "sound", (int)*sound, "state", cli_json_text(state));
}

static json_t *settings_report(const bs_settings *settings)
{
    static const char *const origins[] = {"default", "file", "environment", "option"};
    json_t *all = json_object();
    for (int i = 0; i < BS_SETTINGS_COUNT; i++) {
        char value[256];
        bs_settings_show(settings, &bs_settings_table[i], value, sizeof(value));
        json_t *one = json_object();
        json_object_set_new(one, "value", cli_json_text(value));
        json_object_set_new(one, "from", json_string(origins[settings->origin[i]]));
        json_object_set_new(all, bs_settings_table[i].name, one);
    }
    return all;
}

static void print_text(json_t *report)
{
    const char *name;
    json_t *value, *memory = json_object_get(report, "memory"), *sandbox = json_object_get(report, "sandbox");
    json_t *models = json_object_get(report, "models"), *error = json_object_get(models, "error");
    long long landlock = json_integer_value(json_object_get(sandbox, "landlock"));
    printf("bodyscript %s\n\n", json_string_value(json_object_get(report, "version")));
    printf("memory     %lld MB to use; %lld MB in the machine", json_integer_value(json_object_get(memory, "limit_mb")),
           json_integer_value(json_object_get(memory, "physical_mb")));
    if (json_is_integer(json_object_get(memory, "cgroup_mb")))
        printf(", %lld MB by cgroup v%lld %s", json_integer_value(json_object_get(memory, "cgroup_mb")),
               json_integer_value(json_object_get(memory, "cgroup_version")),
               json_string_value(json_object_get(memory, "cgroup_path")));
    printf("\nprocessor  %lld cores, kernels: %s\n", json_integer_value(json_object_get(report, "cores")),
           json_string_value(json_object_get(report, "isa")));
    printf("models     %s%s\n", error ? "not usable: " : "",
           json_string_value(error ? error : json_object_get(models, "folder")));
    printf("sandbox    seccomp: %s; Landlock: %s\n", yes(json_is_true(json_object_get(sandbox, "seccomp"))),
           yes(landlock > 0));
    printf("store      %s\n", json_string_value(json_object_get(json_object_get(report, "store"), "state")));
    printf("\nsettings\n");
    json_object_foreach(json_object_get(report, "settings"), name, value)
    {
        const char *text = json_string_value(json_object_get(value, "value"));
        printf("  %-28s %-24s %s\n", name, *text ? text : "-", json_string_value(json_object_get(value, "from")));
    }
}

int cli_doctor(int argc, char **argv)
{
    bs_settings settings;
    bool json = false, complete = false, sound = false;
    int words, exit_code;
    if (!cli_parse(&command, argc, argv, &json, &settings, &words, &exit_code))
        return exit_code;
    json_t *report = json_object();
    json_object_set_new(report, "version", json_string(bs_version()));
    json_object_set_new(report, "memory", memory_report(&settings));
    json_object_set_new(report, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(report, "models", models_report(&complete));
    json_object_set_new(report, "isa", json_string(bs_pose_isa(NULL)));
    json_object_set_new(report, "sandbox", sandbox_report());
    json_object_set_new(report, "store", store_report(&settings, &sound));
    json_object_set_new(report, "settings", settings_report(&settings));
    if (!json)
        print_text(report);
    else
        cli_print_json(json_incref(report));
    json_decref(report);
    bs_settings_release(&settings);
    return complete && sound ? 0 : bs_exit_code(BS_ERR_FAILED);
}
