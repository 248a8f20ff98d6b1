/* Text from outside (see text.h, bodyscript/status.h). */
#include <bodyscript/status.h>

#include "core/text.h"

size_t bs_utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] >= 0x90))
        return 0;
    return n;
}

bool bs_utf8_is_control(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];
    return length == 1 ? first < 0x20 || first == 0x7f : length == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0;
}

void bs_text_clean(char *text)
{
    for (char *c = text; *c;) {
        size_t length = bs_utf8_length(c);
        if (!length || bs_utf8_is_control(c, length)) {
            *c = '?';
            length = 1;
        }
        c += length;
    }
}
