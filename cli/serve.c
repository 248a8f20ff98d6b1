/* bodyscript serve, bodyscript worker: the service with HTTP, and without. Every setting is an option. */
#include "cli/cli.h"
#include "service/service.h"

static const cli_option no_options[] = {{NULL, 0, NULL, NULL}};

static bs_status set_nothing(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    return BS_EOF;
}

static const cli_command serve = {
    "serve",
    "serve [SETTING…]",
    "The HTTP service: uploads in, pose data and overlay videos out, with a page at / and the API described at /docs.\n"
    "Runs until SIGTERM or SIGINT; running jobs then get 20 s, what remains is taken up at the next start.",
    no_options,
    cli_all_settings,
    0,
    0,
    set_nothing,
};

static const cli_command worker = {
    "worker",
    "worker [SETTING…]",
    "Takes jobs from the queue and runs them, without HTTP. A database has one server or worker at a time.",
    no_options,
    cli_all_settings,
    0,
    0,
    set_nothing,
};

static int run(const cli_command *command, bs_status (*service)(const bs_settings *, bs_error *), int argc, char **argv)
{
    bs_settings settings;
    bs_error err = {0};
    int words, exit_code;
    if (!cli_parse(command, argc, argv, NULL, &settings, &words, &exit_code))
        return exit_code;
    bs_status status = service(&settings, &err);
    bs_settings_release(&settings);
    return status == BS_OK ? 0 : cli_fail(&err);
}

int cli_serve(int argc, char **argv)
{
    return run(&serve, bs_service_run, argc, argv);
}

int cli_worker(int argc, char **argv)
{
    return run(&worker, bs_worker_run, argc, argv);
}
