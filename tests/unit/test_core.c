/* core: messages travel with the call, exit codes are those of the command line's contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <bodyscript/bodyscript.h>

static void a_failure_carries_its_sentence(void **state)
{
    bs_error err = {0};
    assert_int_equal(bs_fail(&err, BS_ERR_INPUT, "'%s' is not a video", "a.txt"), BS_ERR_INPUT);
    assert_int_equal(err.status, BS_ERR_INPUT);
    assert_string_equal(err.text, "'a.txt' is not a video");
    assert_int_equal(bs_fail(NULL, BS_ERR_IO, "nobody listens"), BS_ERR_IO);
}

static void a_sentence_that_is_too_long_is_cut_not_overrun(void **state)
{
    bs_error err = {0};
    char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    bs_fail(&err, BS_ERR_FAILED, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void text_from_outside_is_made_fit_to_be_shown(void **state)
{
    static const char *const cases[][2] = {
        {"вальс, \xe2\x82\xac, \xf0\x9f\x95\xba", "вальс, \xe2\x82\xac, \xf0\x9f\x95\xba"},
        {"a\nb\x1b[31mc\x7f", "a?b?[31mc?"},
        {"a\xc2\x9b[31mb", "a??[31mb"},                                   /* C1 */
        {"\xff \xc0\xaf \xed\xa0\x80 \xf5\x80\x80\x80", "? ?? ??? ????"}, /* none, too long, half a pair, too large */
        {"cut \xe2\x82", "cut ??"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        bs_error err = {0};
        bs_fail(&err, BS_ERR_INPUT, "%s", cases[i][0]);
        assert_string_equal(err.text, cases[i][1]);
    }
}

static void exit_codes_are_those_of_the_command_line(void **state)
{
    assert_int_equal(bs_exit_code(BS_OK), 0);
    assert_int_equal(bs_exit_code(BS_ERR_FAILED), 1);
    assert_int_equal(bs_exit_code(BS_ERR_IO), 1);
    assert_int_equal(bs_exit_code(BS_ERR_USAGE), 2);
    assert_int_equal(bs_exit_code(BS_ERR_INPUT), 3);
    assert_int_equal(bs_exit_code(BS_ERR_LIMIT), 4);
    assert_int_equal(bs_exit_code(BS_ERR_NOMEM), 4);
    assert_int_equal(bs_exit_code(BS_ERR_CANCELLED), 130);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_carries_its_sentence),
        cmocka_unit_test(a_sentence_that_is_too_long_is_cut_not_overrun),
        cmocka_unit_test(text_from_outside_is_made_fit_to_be_shown),
        cmocka_unit_test(exit_codes_are_those_of_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
