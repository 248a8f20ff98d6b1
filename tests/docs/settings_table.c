/* settings_table: the table of docs/settings.md, from the one list in settings/settings.h. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "settings/settings.h"

/* Text inside a cell: a bar would end it. */
static void cell(const char *text)
{
    for (; *text; text++)
        if (*text == '|')
            fputs("\\|", stdout);
        else
            putchar(*text);
}

static void choice(const char *words, int64_t index)
{
    for (; *words && index; words++)
        index -= *words == '|';
    putchar('`');
    for (; *words && *words != '|'; words++)
        putchar(*words);
    putchar('`');
}

static void default_value(const bs_setting *s)
{
    switch (s->kind) {
    case BS_SETTING_INT:
        if (s->value < s->min)
            fputs("detected", stdout);
        else
            printf("%" PRId64, s->value);
        break;
    case BS_SETTING_BOOL: fputs(s->value ? "true" : "false", stdout); break;
    case BS_SETTING_TEXT: fputs(s->text ? s->text : "", stdout); break;
    case BS_SETTING_CHOICE: choice(s->words, s->value); break;
    }
}

static void takes(const bs_setting *s)
{
    switch (s->kind) {
    case BS_SETTING_INT: printf("%" PRId64 "–%" PRId64, s->min, s->max); break;
    case BS_SETTING_BOOL: fputs("true, false", stdout); break;
    case BS_SETTING_TEXT: fputs("text", stdout); break;
    case BS_SETTING_CHOICE: cell(s->words); break;
    }
}

int main(void)
{
    puts("| setting | option | default | takes | meaning |");
    puts("|---|---|---|---|---|");
    for (int i = 0; i < BS_SETTINGS_COUNT; i++) {
        const bs_setting *s = &bs_settings_table[i];
        printf("| `%s` | `--", s->name);
        for (const char *c = s->name; *c; c++)
            putchar(*c == '_' ? '-' : tolower((unsigned char)*c));
        fputs("` | ", stdout);
        default_value(s);
        fputs(" | ", stdout);
        takes(s);
        fputs(" | ", stdout);
        cell(s->meaning);
        puts(" |");
    }
    return 0;
}
