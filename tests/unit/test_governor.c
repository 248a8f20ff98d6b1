/* governor: what does not fit does not start, and what is promised is neither forgotten nor counted twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "service/worker/governor.h"

#define MB(n) ((uint64_t)(n) << 20)

/* A machine of 512 MB whose server and zygote take 20. */
static bs_governor idle_machine(void)
{
    bs_settings settings = {.memory_limit_mb = 512,
                            .memory_cleanup_mb = 400,
                            .memory_reject_mb = 450,
                            .memory_critical_mb = 500,
                            .max_concurrent_processing = 2};
    bs_governor governor;
    bs_governor_init(&governor, &settings);
    bs_governor_measured(&governor, MB(20), NULL, 0);
    return governor;
}

static void a_job_starts_when_it_fits_and_waits_when_it_does_not(void **state)
{
    bs_governor g = idle_machine();
    char why[256];
    assert_int_equal(bs_governor_admit(&g, MB(200), NULL, 0, why, sizeof(why)), BS_ADMITTED);
    bs_promise running[1] = {{MB(300), MB(100)}};
    bs_governor_measured(&g, MB(20), running, 1);
    assert_int_equal(g.used, MB(120));
    /* 500 - 120 used - 200 promised and not yet used. */
    assert_int_equal(bs_governor_available(&g, running, 1), MB(180));
    assert_int_equal(bs_governor_admit(&g, MB(180), running, 1, why, sizeof(why)), BS_ADMITTED);
    assert_int_equal(bs_governor_admit(&g, MB(181), running, 1, why, sizeof(why)), BS_WAIT);
    assert_string_equal(why, "needs 181.0 MB; limit 512.0, used 120.0, promised to 1 running and not yet used 200.0, "
                             "left 180.0");
}

static void what_never_fits_is_refused_with_the_numbers(void **state)
{
    bs_governor g = idle_machine();
    char why[256];
    assert_int_equal(bs_governor_admit(&g, MB(480), NULL, 0, why, sizeof(why)), BS_ADMITTED);
    assert_int_equal(bs_governor_admit(&g, MB(481), NULL, 0, why, sizeof(why)), BS_NEVER);
    assert_non_null(strstr(why, "needs 481.0 MB; limit 512.0, used 20.0"));
}

static void a_job_that_takes_more_than_promised_leaves_less_not_more(void **state)
{
    bs_governor g = idle_machine();
    bs_promise running[2] = {{MB(100), MB(150)}, {MB(100), MB(40)}};
    bs_governor_measured(&g, MB(20), running, 2);
    assert_int_equal(bs_governor_reserved(running, 2), MB(200));
    assert_int_equal(bs_governor_available(&g, running, 2), MB(500 - 210 - 60));
    running[0].used = MB(600);
    bs_governor_measured(&g, MB(20), running, 2);
    assert_int_equal(bs_governor_available(&g, running, 2), 0);
}

static void budgets_let_as_many_run_as_are_set(void **state)
{
    bs_governor g = idle_machine();
    assert_int_equal(bs_governor_budget_shared(&g), MB(240));
    assert_int_equal(bs_governor_budget_alone(&g), MB(480));
    char why[256];
    bs_promise first = {bs_governor_budget_shared(&g), 0};
    bs_governor_measured(&g, MB(20), &first, 1);
    assert_int_equal(bs_governor_admit(&g, bs_governor_budget_shared(&g), &first, 1, why, sizeof(why)), BS_ADMITTED);
}

static void under_pressure_no_further_job_starts_beside_another(void **state)
{
    bs_governor g = idle_machine();
    bs_promise running[1] = {{MB(30), MB(30)}};
    char why[256];
    bs_governor_measured(&g, MB(20), running, 1);
    g.pressure = 50;
    assert_int_equal(bs_governor_admit(&g, MB(30), running, 1, why, sizeof(why)), BS_WAIT);
    assert_non_null(strstr(why, "memory pressure 50 %"));
    assert_int_equal(bs_governor_admit(&g, MB(30), NULL, 0, why, sizeof(why)), BS_ADMITTED);
}

static void the_base_is_what_was_used_with_nothing_running(void **state)
{
    bs_governor g = idle_machine();
    bs_promise running[1] = {{MB(30), MB(10)}};
    bs_governor_measured(&g, MB(5), running, 1);
    assert_int_equal(g.base, MB(20));
    bs_governor_measured(&g, MB(18), NULL, 0);
    assert_int_equal(g.base, MB(18));
    bs_governor_measured(&g, MB(40), NULL, 0);
    assert_int_equal(g.base, MB(18));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_starts_when_it_fits_and_waits_when_it_does_not),
        cmocka_unit_test(what_never_fits_is_refused_with_the_numbers),
        cmocka_unit_test(a_job_that_takes_more_than_promised_leaves_less_not_more),
        cmocka_unit_test(budgets_let_as_many_run_as_are_set),
        cmocka_unit_test(under_pressure_no_further_job_starts_beside_another),
        cmocka_unit_test(the_base_is_what_was_used_with_nothing_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
