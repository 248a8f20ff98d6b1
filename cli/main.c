/* cli: the command line, a client of the public headers. One file per command. */
#include <stdio.h>

#include <bodyscript/version.h>

int main(void)
{
    printf("bodyscript %s\n", bs_version());
    return 0;
}
