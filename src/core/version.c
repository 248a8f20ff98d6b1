/* The version that is linked (see bodyscript/version.h). */
#include <bodyscript/version.h>

const char *bs_version(void)
{
    return BS_VERSION;
}
