/* check: the settings that only the service reads, before it makes or opens anything.
 *
 * What parses may be nonsense all the same: a token that no header can carry, a link that leads nowhere, an origin that
 * no browser sends. Threads: any. */
#ifndef BS_SERVICE_CHECK_H
#define BS_SERVICE_CHECK_H

#include "settings/settings.h"

/* BS_ERR_USAGE: one sentence that names the setting, its value (a secret's is not shown) and what it takes. */
bs_status bs_service_check(const bs_settings *settings, bs_error *err);

#endif
