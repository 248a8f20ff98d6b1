/* bodyscript export: pose_data.json into the format of another program. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
        if (!*value)
            return bs_fail(err, BS_ERR_USAGE, "--output is '', but takes the name of a file");
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
    "Turns a pose_data.json into the format of another program. FILE appears when it is whole; a pipe or device\n"
    "is written to as it is.",
    options,
    NULL,
    1,
    1,
    set,
};

/* FILE.part.PID, which a signal removes. */
static char *part;

static void remove_part(int number)
{
    unlink(part);
    _exit(CLI_INTERRUPTED);
}

/* Written beside FILE and renamed, so that FILE is never half-written. */
static bs_status export_by_rename(const export_args *args, const char *file, int in, bs_error *err)
{
    if (asprintf(&part, "%s.part.%ld", file, (long)getpid()) < 0)
        return bs_fail(err, BS_ERR_NOMEM, "no memory for a path");
    cli_at_signals(remove_part);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bs_status status = BS_OK;
    if (out < 0)
        status = bs_fail(err, BS_ERR_IO, "'%s' cannot be made: %s", args->output, strerror(errno));
    else
        status = bs_export(in, out, args->format, args->person, err);
    if (out >= 0 && close(out) < 0 && status == BS_OK)
        status = bs_fail(err, BS_ERR_IO, "'%s' cannot be written: %s", args->output, strerror(errno));
    if (status == BS_OK && rename(part, file) < 0)
        status = bs_fail(err, BS_ERR_IO, "'%s' cannot be put in place: %s", args->output, strerror(errno));
    if (status != BS_OK && out >= 0)
        unlink(part);
    return status; /* `part` stays: a signal may come at any time */
}

/* A pipe or device is written to as it is: it must not become a file. */
static bs_status export_into(const export_args *args, int in, bs_error *err)
{
    int out = open(args->output, O_WRONLY | O_CLOEXEC);
    if (out < 0)
        return bs_fail(err, BS_ERR_IO, "'%s' cannot be opened: %s", args->output, strerror(errno));
    bs_status status = bs_export(in, out, args->format, args->person, err);
    close(out);
    return status;
}

static bs_status export_to_output(const export_args *args, int in, bs_error *err)
{
    struct stat from, to;
    if (stat(args->output, &to) < 0)
        return export_by_rename(args, args->output, in, err);
    if (S_ISDIR(to.st_mode))
        return bs_fail(err, BS_ERR_IO, "'%s' is a folder, but the export becomes a file", args->output);
    if (!S_ISREG(to.st_mode))
        return export_into(args, in, err);
    if (fstat(in, &from) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return bs_fail(err, BS_ERR_USAGE, "the export of '%s' would replace it: choose another --output", args->output);
    char *file = realpath(args->output, NULL); /* of a link what it points to; /dev/stdout is one */
    bs_status status = export_by_rename(args, file ? file : args->output, in, err);
    free(file);
    return status;
}

/* Read twice, so a file: at once, whatever a pipe would say. */
static bs_status open_pose(const char *path, int *in, bs_error *err)
{
    struct stat st;
    *in = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*in < 0 || fstat(*in, &st) < 0)
        return bs_fail(err, BS_ERR_INPUT, "'%s' cannot be opened: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return bs_fail(err, BS_ERR_INPUT, "'%s' is not a file: a pose_data.json is needed", path);
    return BS_OK;
}

int cli_export(int argc, char **argv)
{
    export_args args = {0};
    bs_settings settings;
    bs_error err = {0};
    int words, exit_code, in;
    if (!cli_parse(&command, argc, argv, &args, &settings, &words, &exit_code))
        return exit_code;
    bs_settings_release(&settings);
    if (!args.format_given)
        return cli_failf(BS_ERR_USAGE, "export needs --format trc, csv or jsonl");
    bs_status status = open_pose(argv[0], &in, &err);
    if (status == BS_OK)
        status = args.output ? export_to_output(&args, in, &err)
                             : bs_export(in, STDOUT_FILENO, args.format, args.person, &err);
    if (in >= 0)
        close(in);
    return status == BS_OK ? 0 : cli_fail(&err);
}
