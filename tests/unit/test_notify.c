/* The service manager hears what the service says, and its absence hurts nobody. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "service/notify.h"

/* A manager's socket at `name` (@…: abstract), named in the environment. */
static int manager(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path, name, n);
    if (*name == '@')
        a.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void message_arrives(const char *name)
{
    int fd = manager(name);
    char got[64] = "";
    assert_true(bs_notify("READY=1\nSTATUS=%d jobs", 2));
    assert_int_equal(recv(fd, got, sizeof(got) - 1, 0), 21);
    assert_string_equal(got, "READY=1\nSTATUS=2 jobs");
    close(fd);
    unsetenv("NOTIFY_SOCKET");
}

static void a_message_arrives_at_a_path(void **state)
{
    char folder[] = "/tmp/bodyscript-notify-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    message_arrives(path);
    unlink(path);
    rmdir(folder);
}

static void a_message_arrives_at_an_abstract_name(void **state)
{
    char name[64];
    snprintf(name, sizeof(name), "@bodyscript-notify-%d", (int)getpid());
    message_arrives(name);
}

static void without_a_manager_nothing_happens(void **state)
{
    unsetenv("NOTIFY_SOCKET");
    assert_false(bs_notify("READY=1"));
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    assert_false(bs_notify("READY=1"));
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_false(bs_notify("READY=1"));
    unsetenv("NOTIFY_SOCKET");
}

static void a_manager_that_does_not_read_never_blocks(void **state)
{
    char name[64];
    snprintf(name, sizeof(name), "@bodyscript-notify-full-%d", (int)getpid());
    int fd = manager(name), sent = 0;
    while (sent < 100000 && bs_notify("STATUS=%d", sent))
        sent++;
    assert_in_range(sent, 1, 99999);
    close(fd);
    unsetenv("NOTIFY_SOCKET");
}

static void watchdog_asks_for_half_its_time(void **state)
{
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(bs_notify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "20000000", 1);
    assert_int_equal(bs_notify_watchdog_ms(), 10000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(bs_notify_watchdog_ms(), 0);
    unsetenv("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "nonsense", 1);
    assert_int_equal(bs_notify_watchdog_ms(), 0);
    unsetenv("WATCHDOG_USEC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_arrives_at_a_path),
        cmocka_unit_test(a_message_arrives_at_an_abstract_name),
        cmocka_unit_test(without_a_manager_nothing_happens),
        cmocka_unit_test(a_manager_that_does_not_read_never_blocks),
        cmocka_unit_test(watchdog_asks_for_half_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
