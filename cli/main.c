/* The program's entry: finds the command (see cli.h). */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "service/worker/worker.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
#define X(name, summary) {#name, summary, cli_##name},
    CLI_COMMANDS(X)
#undef X
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static atomic_bool interrupted;

static void on_signal(int number)
{
    interrupted = true;
}

void cli_at_signals(void (*handler)(int number))
{
    struct sigaction action = {.sa_handler = handler}, hangup;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* Under nohup the command is to outlive its terminal. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

void cli_catch_signals(void)
{
    cli_at_signals(on_signal);
    signal(SIGPIPE, SIG_IGN);
}

bool cli_interrupted(void)
{
    return interrupted;
}

static bool json_errors;

void cli_answer_in_json(void)
{
    json_errors = true;
}

int cli_say(const bs_error *err)
{
    fprintf(stderr, "bodyscript: %s\n", err->text);
    return bs_exit_code(err->status);
}

int cli_fail(const bs_error *err)
{
    return cli_fail_of(NULL, err);
}

int cli_fail_of(const char *file, const bs_error *err)
{
    if (json_errors) {
        json_t *line = json_object();
        json_object_set_new(line, "event", json_string("error"));
        if (file)
            json_object_set_new(line, "file", cli_json_text(file));
        json_object_set_new(line, "status", json_string("failed"));
        json_object_set_new(line, "exit_code", json_integer(bs_exit_code(err->status)));
        json_object_set_new(line, "error", cli_json_text(err->text));
        cli_print_json(line);
    }
    return cli_say(err);
}

int cli_failf(bs_status status, const char *format, ...)
{
    bs_error err;
    va_list args;
    va_start(args, format);
    bs_failv(&err, status, format, args);
    va_end(args);
    return cli_fail(&err);
}

/* An answer that did not reach its reader is no success. */
static int end(int exit_code)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    int code = cli_failf(BS_ERR_IO, "standard output cannot be written%s%s", errno ? ": " : "",
                         errno ? strerror(errno) : "");
    return exit_code ? exit_code : code;
}

static void usage(FILE *out)
{
    fprintf(out, "BodyScript turns videos of people into body-pose data.\n\nusage: bodyscript COMMAND …\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-8s  %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n`bodyscript COMMAND --help` tells more of each, `bodyscript --version` the version.\n");
}

/* Where a standard descriptor is closed, the next file that is opened would take its number, and what is printed would
 * be written into it. Standard output is held by one that cannot be written, so that what is lost is said. */
static void hold_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
            exit(1);
}

int main(int argc, char **argv)
{
    hold_standard_descriptors();
    bs_memory_settle();
    bs_zygote_main_if_asked(argc, argv); /* the service starts the program anew as its zygote */
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        usage(stdout);
        return end(0);
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("bodyscript %s\n", bs_version());
        return end(0);
    }
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(word, commands[i].name))
            return end(commands[i].run(argc - 2, argv + 2));
    if (!*word) {
        usage(stderr);
        return bs_exit_code(BS_ERR_USAGE);
    }
    return cli_failf(BS_ERR_USAGE, "there is no command '%.40s'; `bodyscript --help` lists them", word);
}
