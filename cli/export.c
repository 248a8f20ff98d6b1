/* bodyscript export: pose_data.json into the format of another program. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct export_args {
    bs_export_format format;
    bool format_given;
    const char *output;
    int person;
} export_args;

static const cli_option options[] = {
    {"format", 'f', "trc|csv|jsonl", "trc: OpenSim's marker file; csv: as pose_data.csv; jsonl: one object per frame"},
    {"output", 'o', "FILE", "where to; standard output unless given"},
    {"person", 0, "ID", "whose landmarks, for a format of one person (0)"},
    {NULL, 0, NULL, NULL},
};

static bs_status set(void *opaque, const cli_option *option, const char *value, bs_error *err)
{
    export_args *args = opaque;
    int64_t number = 0;
    bs_status status = BS_OK;
    if (!strcmp(option->name, "format")) {
        status = bs_export_format_find(value, &args->format, err);
        args->format_given = true;
    } else if (!strcmp(option->name, "output")) {
        args->output = value;
    } else {
        status = cli_int(option, value, 0, 1000000, &number, err);
        args->person = (int)number;
    }
    return status;
}

static const cli_command command = {
    "export",
    "export POSE.json --format trc|csv|jsonl [-o FILE]",
    "Turns a pose_data.json into the format of another program. FILE appears when it is whole.",
    options,
    NULL,
    1,
    1,
    set,
};

/* Writes to FILE.part.PID and renames it, so that FILE is never half-written. */
static bs_status export_to_file(const export_args *args, int in, bs_error *err)
{
    char *part;
    if (asprintf(&part, "%s.part.%ld", args->output, (long)getpid()) < 0)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for a path");
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bs_status status = BS_OK;
    if (out < 0)
        status = bs_fail(err, BS_ERR_IO, "'%s' cannot be made: %s", args->output, strerror(errno));
    else
        status = bs_export(in, out, args->format, args->person, err);
    if (out >= 0 && close(out) < 0 && status == BS_OK)
        status = bs_fail(err, BS_ERR_IO, "'%s' cannot be written: %s", args->output, strerror(errno));
    if (status == BS_OK && rename(part, args->output) < 0)
        status = bs_fail(err, BS_ERR_IO, "'%s' cannot be put in place: %s", args->output, strerror(errno));
    if (status != BS_OK && out >= 0)
        unlink(part);
    free(part);
    return status;
}

int cli_export(int argc, char **argv)
{
    export_args args = {0};
    bs_settings settings;
    bs_error err = {0};
    int words, exit_code;
    if (!cli_parse(&command, argc, argv, &args, &settings, &words, &exit_code))
        return exit_code;
    bs_settings_release(&settings);
    if (!args.format_given)
        return cli_failf(BS_ERR_USAGE, "export needs --format trc, csv or jsonl");
    int in = open(argv[0], O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return cli_failf(BS_ERR_INPUT, "'%s' cannot be opened: %s", argv[0], strerror(errno));
    bs_status status = args.output ? export_to_file(&args, in, &err)
                                   : bs_export(in, STDOUT_FILENO, args.format, args.person, &err);
    close(in);
    return status == BS_OK ? 0 : cli_fail(&err);
}
