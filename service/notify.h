/* notify: tells the service manager how the service is (systemd's sd_notify protocol, without its library).
 *
 * A manager that wants to know sets NOTIFY_SOCKET to the path of a datagram socket (a leading @: an abstract name);
 * see sd_notify(3). Where it is unset, every call does nothing. Threads: any. */
#ifndef BS_SERVICE_NOTIFY_H
#define BS_SERVICE_NOTIFY_H

#include <stdbool.h>

#include <bodyscript/status.h>

/* One message of `VARIABLE=value` lines: "READY=1", "STOPPING=1\nSTATUS=%d jobs running" … True when it was handed
 * over; a manager that does not listen never holds the service up. */
bool bs_notify(const char *format, ...) BS_PRINTF(1, 2);

/* Half of the time within which the manager wants a "WATCHDOG=1", in milliseconds; 0: it does not watch. */
int bs_notify_watchdog_ms(void);

#endif
