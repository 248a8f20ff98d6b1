/* notify: one datagram to the service manager. */
#include "service/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The manager's address; 0 where there is none. */
static socklen_t manager_address(struct sockaddr_un *out)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof(out->sun_path) || (*path != '/' && *path != '@'))
        return 0;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, path, n);
    if (*path == '@')
        out->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

bool bs_notify(const char *format, ...)
{
    struct sockaddr_un address;
    socklen_t size = manager_address(&address);
    if (!size)
        return false;
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n <= 0 || n >= (int)sizeof(text))
        return false;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool sent = sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&address, size) == n;
    close(fd);
    return sent;
}

int bs_notify_watchdog_ms(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (!text || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    long long us = strtoll(text, NULL, 10);
    return us < 2000 ? 0 : us > 7200000000LL ? 3600000 : (int)(us / 2000);
}
