#!/bin/sh
# Every public header compiles alone, as C and as C++ (for their users; nothing of the project is C++).
# usage: check_headers.sh INCLUDE_FOLDER
failed=0
compiled=0
for header in "$1"/bodyscript/*.h; do
    name=bodyscript/$(basename "$header")
    for language in c:c17 c:c11 c++:c++11 c++:c++20; do
        case $language in
        c++:*) command -v g++ >/dev/null || { echo "skipped: no C++ compiler (g++) is installed"; continue; } ;;
        esac
        compiled=$((compiled + 1))
        echo "#include <$name>" | ${CC:-gcc} -x "${language%%:*}" -std="${language#*:}" -Wall -Wextra -Wpedantic -Werror \
            -fsyntax-only -I"$1" - || { echo "$name does not compile alone as ${language#*:}"; failed=1; }
    done
done
[ $compiled -gt 0 ] && exit $failed
