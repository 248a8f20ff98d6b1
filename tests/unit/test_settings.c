/* settings: every name works as option, environment variable and line of the file, in that order of precedence, and
 * what is wrong is refused in one sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <bodyscript/memory.h>

#include "service/check.h"
#include "settings/settings.h"

static bs_settings fresh(void)
{
    bs_settings settings;
    assert_int_equal(bs_settings_init(&settings, NULL), BS_OK);
    return settings;
}

static void assert_refused(const char *name, const char *value, const char *sentence)
{
    bs_settings settings = fresh();
    bs_error err = {0};
    assert_int_equal(bs_settings_set(&settings, name, value, "option", &err), BS_ERR_USAGE);
    assert_string_equal(err.text, sentence);
    bs_settings_release(&settings);
}

static void defaults_are_those_of_the_contract(void **state)
{
    bs_settings s = fresh();
    assert_int_equal(s.max_video_size_mb, 30);
    assert_int_equal(s.max_video_duration_seconds, 10);
    assert_int_equal(s.frame_extraction_interval, 3);
    assert_int_equal(s.max_video_width, 720);
    assert_int_equal(s.max_concurrent_processing, 2);
    assert_int_equal(s.max_pending_jobs, 10);
    assert_int_equal(s.job_max_age_seconds, 3600);
    assert_int_equal(s.job_timeout_seconds, 600);
    assert_int_equal(s.job_max_attempts, 3);
    assert_int_equal(s.mode, 1);
    assert_string_equal(s.host, "127.0.0.1");
    assert_int_equal(s.port, 8000);
    assert_string_equal(s.data_dir, "./data");
    assert_null(s.api_key);
    assert_false(s.save_frames);
    bs_settings_release(&s);
}

static void a_name_may_be_written_as_option_or_variable(void **state)
{
    bs_settings s = fresh();
    assert_int_equal(bs_settings_set(&s, "max-video-width", "640", NULL, NULL), BS_OK);
    assert_int_equal(s.max_video_width, 640);
    assert_int_equal(bs_settings_set(&s, "MAX_VIDEO_WIDTH", "0", NULL, NULL), BS_OK);
    assert_int_equal(s.max_video_width, 0);
    assert_int_equal(bs_settings_set(&s, "mode", "Ultra-Fast", NULL, NULL), BS_OK);
    assert_int_equal(s.mode, 0);
    assert_int_equal(bs_settings_set(&s, "save_frames", "Yes", NULL, NULL), BS_OK);
    assert_true(s.save_frames);
    bs_settings_release(&s);
}

static void what_is_wrong_is_refused_in_one_sentence(void **state)
{
    assert_refused("MAX_VIDEO_WIDTH", "wide",
                   "MAX_VIDEO_WIDTH is 'wide' (option), but takes a whole number from 0 to 16384");
    assert_refused("MAX_VIDEO_WIDTH", "16385",
                   "MAX_VIDEO_WIDTH is '16385' (option), but takes a whole number from 0 to 16384");
    assert_refused("PORT", "99999999999999999999999",
                   "PORT is '99999999999999999999999' (option), but takes a whole number from 0 to 65535");
    assert_refused("PORT", "", "PORT is '' (option), but takes a whole number from 0 to 65535");
    assert_refused("PORT", " 80", "PORT is ' 80' (option), but takes a whole number from 0 to 65535");
    assert_refused("PORT", "80.5", "PORT is '80.5' (option), but takes a whole number from 0 to 65535");
    assert_refused("MODE", "best", "MODE is 'best' (option), but takes ultra_fast, fast, smart or quality");
    assert_refused("FRAME_FORMAT", "jp", "FRAME_FORMAT is 'jp' (option), but takes jpg or png");
    assert_refused("SAVE_FRAMES", "2", "SAVE_FRAMES is '2' (option), but takes true or false (yes/no, on/off, 1/0)");
    assert_refused("HOST", "a\nb", "HOST is 'a?b' (option), but takes a text without control characters");
    assert_refused("MAX_VIDEO_WITH", "1",
                   "there is no setting 'MAX_VIDEO_WITH' (option); did you mean MAX_VIDEO_WIDTH?");
    assert_refused("frobnicate", "1", "there is no setting 'frobnicate' (option)");
}

static void a_secret_is_never_shown(void **state)
{
    assert_refused("ADMIN_TOKEN", "hush\x01",
                   "ADMIN_TOKEN is '(not shown)' (option), but takes a text without control characters");
    bs_settings s = fresh();
    char shown[32];
    assert_int_equal(bs_settings_set(&s, "API_KEY", "hush", NULL, NULL), BS_OK);
    bs_settings_show(&s, bs_settings_find("API_KEY"), shown, sizeof(shown));
    assert_string_equal(shown, "(set)");
    bs_settings_release(&s);
}

static void assert_checked(const char *name, const char *value, const char *sentence)
{
    bs_settings s = fresh();
    bs_error err = {0};
    assert_int_equal(bs_settings_set(&s, name, value, NULL, NULL), BS_OK);
    assert_int_equal(bs_service_check(&s, &err), sentence ? BS_ERR_USAGE : BS_OK);
    assert_string_equal(err.text, sentence ? sentence : "");
    bs_settings_release(&s);
}

static void the_service_takes_no_nonsense(void **state)
{
    static const char *const no_url[] = {"cdn.example.com",
                                         "https://",
                                         "ftp://a.example/",
                                         "https://a b/",
                                         "https:///x",
                                         "https://u@a.example",
                                         "https://a.example/?x=",
                                         "https://a.example/\"x",
                                         "https://a.example/\xc3\xa9"};
    static const char *const no_origins[] = {
        ",", "a.example", "https://a.example/", "https://a.example/x", "https://a.example, b", "https://", "**"};
    static const char *const origins[] = {"*",
                                          "https://a.example",
                                          "http://localhost:3000,https://[::1]:8443",
                                          "null",
                                          " https://a.example , https://b.example,",
                                          "capacitor://localhost"};
    static const char *const urls[] = {"https://cdn.example.com", "HTTP://10.0.0.1:8080/a/b//", "https://x/%20;,=@"};
    char long_url[1200] = "https://a.example/", text[256];
    memset(long_url + 18, 'a', sizeof(long_url) - 19);
    for (size_t i = 0; i < sizeof(no_url) / sizeof(*no_url); i++) {
        snprintf(text, sizeof(text),
                 "CDN_BASE_URL is '%s', but takes an address such as https://cdn.example.com/results", no_url[i]);
        assert_checked("CDN_BASE_URL", no_url[i], text);
    }
    snprintf(text, sizeof(text),
             "CDN_BASE_URL is '%.60s…', but takes an address such as https://cdn.example.com/results", long_url);
    assert_checked("CDN_BASE_URL", long_url, text);
    for (size_t i = 0; i < sizeof(no_origins) / sizeof(*no_origins); i++) {
        snprintf(text, sizeof(text),
                 "CORS_ALLOW_ORIGINS is '%s', but takes * or a comma-separated list of origins such "
                 "as https://example.com, without a path",
                 no_origins[i]);
        assert_checked("CORS_ALLOW_ORIGINS", no_origins[i], text);
    }
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++)
        assert_checked("CDN_BASE_URL", urls[i], NULL);
    for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++)
        assert_checked("CORS_ALLOW_ORIGINS", origins[i], NULL);
    static const char *const no_secrets[] = {"a token with blanks", "clé"};
    for (size_t i = 0; i < sizeof(no_secrets) / sizeof(*no_secrets); i++) {
        assert_checked("ADMIN_TOKEN", no_secrets[i],
                       "ADMIN_TOKEN is '(not shown)', but takes visible ASCII characters without blanks");
        assert_checked("API_KEY", no_secrets[i],
                       "API_KEY is '(not shown)', but takes visible ASCII characters without blanks");
    }
    assert_checked("ADMIN_TOKEN", "x", NULL);
    assert_checked("API_KEY", "sixteen-letters!", NULL);
}

static void a_refused_value_changes_nothing(void **state)
{
    bs_settings s = fresh();
    assert_int_equal(bs_settings_set(&s, "DATA_DIR", "/var/lib/x", NULL, NULL), BS_OK);
    assert_int_equal(bs_settings_set(&s, "DATA_DIR", "\t", NULL, NULL), BS_ERR_USAGE);
    assert_string_equal(s.data_dir, "/var/lib/x");
    assert_int_equal(bs_settings_set(&s, "DATA_DIR", "", NULL, NULL), BS_OK);
    assert_string_equal(s.data_dir, "./data");
    bs_settings_release(&s);
}

static void a_file_may_hold_comments_blanks_and_quotes(void **state)
{
    bs_settings s = fresh();
    const char *text = "# a comment\r\n\n  MAX_VIDEO_WIDTH = 320 \nDATA_DIR=\"/srv/body script\"\nLOG_FORMAT=json";
    assert_int_equal(bs_settings_parse(&s, text, strlen(text), "test.conf", NULL), BS_OK);
    assert_int_equal(s.max_video_width, 320);
    assert_string_equal(s.data_dir, "/srv/body script");
    assert_int_equal(s.log_format, 1);
    bs_settings_release(&s);
}

static void a_message_names_the_line(void **state)
{
    bs_settings s = fresh();
    bs_error err = {0};
    const char *text = "PORT=1\nPORT=x\n";
    assert_int_equal(bs_settings_parse(&s, text, strlen(text), "test.conf", &err), BS_ERR_USAGE);
    assert_string_equal(err.text, "PORT is 'x' (test.conf line 2), but takes a whole number from 0 to 65535");
    text = "\njust words\n";
    assert_int_equal(bs_settings_parse(&s, text, strlen(text), "test.conf", &err), BS_ERR_USAGE);
    assert_string_equal(err.text, "test.conf line 2 is not NAME=value");
    assert_int_equal(bs_settings_parse(&s, "PORT\0=1", 7, "test.conf", &err), BS_ERR_USAGE);
    bs_settings_release(&s);
}

static void option_beats_environment_beats_file_beats_default(void **state)
{
    char path[] = "/tmp/test_settings.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *text = "MAX_VIDEO_WIDTH=100\nPORT=101\nMAX_PENDING_JOBS=102\n";
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    setenv("PORT", "201", 1);
    setenv("MAX_PENDING_JOBS", "202", 1);

    bs_settings s;
    assert_int_equal(bs_settings_load(&s, path, NULL), BS_OK);
    assert_int_equal(bs_settings_set(&s, "max-pending-jobs", "302", "option", NULL), BS_OK);
    assert_int_equal(s.max_video_width, 100);
    assert_int_equal(s.port, 201);
    assert_int_equal(s.max_pending_jobs, 302);
    assert_int_equal(s.job_max_attempts, 3);
    assert_int_equal(s.origin[BS_SET_MAX_VIDEO_WIDTH], BS_FROM_FILE);
    assert_int_equal(s.origin[BS_SET_PORT], BS_FROM_ENVIRONMENT);
    assert_int_equal(s.origin[BS_SET_MAX_PENDING_JOBS], BS_FROM_OPTION);
    bs_settings_release(&s);

    bs_error err = {0};
    setenv("PORT", "many", 1);
    assert_int_equal(bs_settings_load(&s, path, &err), BS_ERR_USAGE);
    assert_string_equal(err.text, "PORT is 'many' (environment variable), but takes a whole number from 0 to 65535");
    unsetenv("PORT");
    unsetenv("MAX_PENDING_JOBS");
    unlink(path);
    assert_int_equal(bs_settings_load(&s, path, &err), BS_ERR_USAGE);
}

static void thresholds_scale_on_a_small_machine(void **state)
{
    bs_settings s = fresh();
    bs_settings_set(&s, "MEMORY_LIMIT_MB", "512", NULL, NULL);
    assert_int_equal(bs_settings_finish(&s, NULL), BS_OK);
    assert_int_equal(s.memory_cleanup_mb, 400);
    assert_int_equal(s.memory_reject_mb, 450);
    assert_int_equal(s.memory_critical_mb, 500);
    bs_settings_release(&s);

    s = fresh();
    bs_settings_set(&s, "MEMORY_LIMIT_MB", "100", NULL, NULL);
    bs_settings_set(&s, "MEMORY_REJECT_MB", "90", NULL, NULL);
    assert_int_equal(bs_settings_finish(&s, NULL), BS_OK);
    assert_int_equal(s.memory_cleanup_mb, 78);
    assert_int_equal(s.memory_reject_mb, 90);
    assert_int_equal(s.memory_critical_mb, 98);
    bs_settings_release(&s);
}

static void thresholds_out_of_order_are_refused(void **state)
{
    bs_settings s = fresh();
    bs_error err = {0};
    bs_settings_set(&s, "MEMORY_LIMIT_MB", "2048", NULL, NULL);
    bs_settings_set(&s, "MEMORY_CLEANUP_MB", "460", NULL, NULL);
    assert_int_equal(bs_settings_finish(&s, &err), BS_ERR_USAGE);
    assert_string_equal(err.text, "MEMORY_CLEANUP_MB is 460, above MEMORY_REJECT_MB (450), but takes at most that");
    bs_settings_release(&s);
}

static void limits_are_detected_unless_given(void **state)
{
    bs_settings s = fresh();
    bs_memory_limits limits;
    assert_int_equal(bs_memory_read_limits(&limits, NULL), BS_OK);
    bs_settings_set(&s, "DATA_DIR", "/nowhere/at/all", NULL, NULL);
    assert_int_equal(bs_settings_finish(&s, NULL), BS_OK);
    assert_int_equal(s.memory_limit_mb, limits.limit >> 20);
    assert_true(s.disk_limit_mb > 0);
    bs_settings_release(&s);
}

static void a_port_from_the_platform_opens_the_host(void **state)
{
    bs_settings s;
    setenv("PORT", "10000", 1);
    assert_int_equal(bs_settings_load(&s, "/dev/null", NULL), BS_OK);
    bs_settings_set(&s, "MEMORY_LIMIT_MB", "512", NULL, NULL);
    assert_int_equal(bs_settings_finish(&s, NULL), BS_OK);
    assert_string_equal(s.host, "0.0.0.0");
    bs_settings_release(&s);

    setenv("HOST", "127.0.0.1", 1);
    assert_int_equal(bs_settings_load(&s, "/dev/null", NULL), BS_OK);
    bs_settings_set(&s, "MEMORY_LIMIT_MB", "512", NULL, NULL);
    assert_int_equal(bs_settings_finish(&s, NULL), BS_OK);
    assert_string_equal(s.host, "127.0.0.1");
    bs_settings_release(&s);
    unsetenv("HOST");
    unsetenv("PORT");
}

int main(void)
{
    for (int i = 0; i < BS_SETTINGS_COUNT; i++)
        unsetenv(bs_settings_table[i].name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(a_name_may_be_written_as_option_or_variable),
        cmocka_unit_test(what_is_wrong_is_refused_in_one_sentence),
        cmocka_unit_test(a_secret_is_never_shown),
        cmocka_unit_test(the_service_takes_no_nonsense),
        cmocka_unit_test(a_refused_value_changes_nothing),
        cmocka_unit_test(a_file_may_hold_comments_blanks_and_quotes),
        cmocka_unit_test(a_message_names_the_line),
        cmocka_unit_test(option_beats_environment_beats_file_beats_default),
        cmocka_unit_test(thresholds_scale_on_a_small_machine),
        cmocka_unit_test(thresholds_out_of_order_are_refused),
        cmocka_unit_test(limits_are_detected_unless_given),
        cmocka_unit_test(a_port_from_the_platform_opens_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
