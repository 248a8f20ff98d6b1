/* multipart: a form is the same form however it is cut into pieces, and nonsense is refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/http/multipart.h"
#include "service/http/sniff.h"

typedef struct seen {
    char text[8192];
    size_t size;
} seen;

static bs_status begin(void *opaque, const bs_multipart_part *part, bs_error *err)
{
    seen *s = opaque;
    s->size += (size_t)sprintf(s->text + s->size, "[%s%s%s:", part->name, part->has_filename ? "=" : "",
                               part->filename);
    return BS_OK;
}

static bs_status data(void *opaque, const void *bytes, size_t size, bs_error *err)
{
    seen *s = opaque;
    memcpy(s->text + s->size, bytes, size);
    s->size += size;
    return BS_OK;
}

static bs_status end(void *opaque, bs_error *err)
{
    seen *s = opaque;
    s->text[s->size++] = ']';
    return BS_OK;
}

/* The form in pieces of `piece` bytes. */
static bs_status read_form(const char *type, const char *body, size_t size, size_t piece, seen *s, bs_error *err)
{
    bs_multipart m;
    bs_multipart_sink sink = {begin, data, end, s};
    memset(s, 0, sizeof(*s));
    bs_status status = bs_multipart_open(&m, type, &sink, err);
    for (size_t at = 0; at < size && !status; at += piece)
        status = bs_multipart_feed(&m, body + at, size - at < piece ? size - at : piece, err);
    return status ? status : bs_multipart_finish(&m, err);
}

#define TYPE "multipart/form-data; boundary=xyz"

static const char form[] = "preamble\r\n--xyz\r\n"
                           "Content-Disposition: form-data; name=\"mode\"\r\n\r\n"
                           "fast\r\n--xyz \r\n"
                           "content-type: video/mp4\r\n"
                           "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\" c.mp4\"\r\n\r\n"
                           "\0\r\n--xy\r\r\n-\r\n--xyy\r\n\r\n"
                           "\r\n--xyz\r\n"
                           "Content-Disposition: form-data; name=empty\r\n\r\n"
                           "\r\n--xyz--\r\nepilogue";
static const char form_seen[] = "[mode:fast][file=a \"b\" c.mp4:\0\r\n--xy\r\r\n-\r\n--xyy\r\n\r\n][empty:]";

static void a_form_is_the_same_however_it_is_cut(void **state)
{
    for (size_t piece = 1; piece <= sizeof(form); piece++) {
        seen s;
        bs_error err = {0};
        assert_int_equal(read_form(TYPE, form, sizeof(form) - 1, piece, &s, &err), BS_OK);
        assert_int_equal(s.size, sizeof(form_seen) - 1);
        assert_memory_equal(s.text, form_seen, s.size);
    }
}

static void a_form_that_breaks_off_anywhere_is_refused(void **state)
{
    const size_t needed = sizeof(form) - 1 - strlen("\r\nepilogue");
    for (size_t size = 0; size < needed; size++) {
        seen s;
        bs_error err = {0};
        assert_int_equal(read_form(TYPE, form, size, 7, &s, &err), BS_ERR_INPUT);
        assert_true(strlen(err.text) > 10);
    }
}

static void names_in_utf8_are_understood(void **state)
{
    static const char body[] = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"; "
                               "filename*=UTF-8''t%C3%A4nzer%00.mp4\r\n\r\nv\r\n--xyz--";
    seen s;
    assert_int_equal(read_form(TYPE, body, sizeof(body) - 1, 5, &s, NULL), BS_OK);
    assert_string_equal(s.text, "[file=t\xc3\xa4nzer%00.mp4:v]");
}

static void a_boundary_is_checked(void **state)
{
    static const char *const wrong[] = {
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-datax; boundary=a",
        "multipart/form-data; boundary=\"\x01\"",
        "application/json",
        "multipart/form-data; boundary=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        seen s;
        bs_error err = {0};
        assert_int_equal(read_form(wrong[i], form, sizeof(form) - 1, 9, &s, &err), BS_ERR_INPUT);
        assert_int_equal(s.size, 0);
    }
    seen s;
    assert_int_equal(
        read_form("Multipart/Form-Data; charset=utf-8; Boundary=\"xyz\"", form, sizeof(form) - 1, 9, &s, NULL), BS_OK);
}

static void header_lines_and_parts_are_bounded(void **state)
{
    char *body = malloc(200000);
    seen s;
    bs_error err = {0};
    int size = sprintf(body, "--xyz\r\nContent-Disposition: form-data; name=\"");
    memset(body + size, 'n', 5000);
    assert_int_equal(read_form(TYPE, body, (size_t)size + 5000, 1000, &s, &err), BS_ERR_INPUT);
    assert_non_null(strstr(err.text, "4096"));

    size = 0;
    for (int i = 0; i < 65; i++)
        size += sprintf(body + size, "--xyz\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n\r\n");
    sprintf(body + size, "--xyz--");
    assert_int_equal(read_form(TYPE, body, strlen(body), 1000, &s, &err), BS_ERR_INPUT);
    assert_non_null(strstr(err.text, "64"));
    free(body);
}

/* Damaged forms of every kind: the parser's answer is an ordinary one and its memory is its own. */
static void damaged_forms_are_survived(void **state)
{
    char damaged[sizeof(form)];
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        memcpy(damaged, form, sizeof(form));
        for (int i = 0; i < 4; i++) {
            random = random * 1664525 + 1013904223;
            damaged[(random >> 8) % (sizeof(form) - 1)] = (char)(random >> 3);
        }
        seen s;
        bs_error err = {0};
        bs_status status = read_form(TYPE, damaged, sizeof(form) - 1, 1 + random % 64, &s, &err);
        assert_true(status == BS_OK || status == BS_ERR_INPUT);
    }
}

static void files_are_known_by_their_first_bytes(void **state)
{
    static const unsigned char mp4[] = "\0\0\0\x20"
                                       "ftypisom",
                               webm[] = "\x1a\x45\xdf\xa3....", jpeg[] = "\xff\xd8\xff\xe0";
    assert_string_equal(bs_sniff(mp4, sizeof(mp4)), "MP4");
    assert_string_equal(bs_sniff(webm, sizeof(webm)), "Matroska");
    assert_string_equal(bs_sniff(jpeg, sizeof(jpeg)), "JPEG");
    assert_string_equal(bs_sniff("RIFF\x10\0\0\0AVI LIST", 16), "AVI");
    assert_string_equal(bs_sniff("RIFF\x10\0\0\0WEBPVP8 ", 16), "WebP");
    assert_null(bs_sniff("RIFF\x10\0\0\0WAVEfmt ", 16));
    assert_null(bs_sniff("#!/bin/sh\n", 10));
    assert_null(bs_sniff("%PDF-1.7", 8));
    assert_null(bs_sniff("PK\3\4", 4));
    assert_null(bs_sniff("", 0));
    assert_null(bs_sniff("G", 1));
    unsigned char ts[1024] = {0};
    for (size_t i = 0; i < sizeof(ts); i += 188)
        ts[i] = 0x47;
    assert_string_equal(bs_sniff(ts, sizeof(ts)), "MPEG transport stream");
    ts[376] = 0;
    assert_null(bs_sniff(ts, sizeof(ts)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_form_is_the_same_however_it_is_cut),
        cmocka_unit_test(a_form_that_breaks_off_anywhere_is_refused),
        cmocka_unit_test(names_in_utf8_are_understood),
        cmocka_unit_test(a_boundary_is_checked),
        cmocka_unit_test(header_lines_and_parts_are_bounded),
        cmocka_unit_test(damaged_forms_are_survived),
        cmocka_unit_test(files_are_known_by_their_first_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
