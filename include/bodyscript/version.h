/* The version of the library. meson.build reads it from here. */
#ifndef BODYSCRIPT_VERSION_H
#define BODYSCRIPT_VERSION_H

#define BS_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* The version that is linked; a literal. */
const char *bs_version(void);

#ifdef __cplusplus
}
#endif
#endif
