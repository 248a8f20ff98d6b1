/* openapi: the description names the routes that there are and no others; every reference in it leads somewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#include <jansson.h>

#include "service/http/http.h"

static json_t *description;

static int load(void **state)
{
    json_error_t error;
    description = json_load_file(BS_SOURCE_DIR "/service/http/openapi.json", 0, &error);
    return !description;
}

static int release(void **state)
{
    json_decref(description);
    return 0;
}

static void every_route_is_described(void **state)
{
    json_t *paths = json_object_get(description, "paths");
    for (const char *const *route = bs_http_routes(); *route; route++) {
        char method[16];
        int at;
        assert_int_equal(sscanf(*route, "%15s %n", method, &at), 1);
        for (char *c = method; *c; c++)
            *c |= 32;
        if (!json_object_get(json_object_get(paths, *route + at), method))
            fail_msg("openapi.json does not describe %s", *route);
    }
}

static void every_described_call_is_a_route(void **state)
{
    const char *path, *method;
    json_t *calls, *call;
    json_object_foreach(json_object_get(description, "paths"), path, calls)
    {
        json_object_foreach(calls, method, call)
        {
            bool found = false;
            for (const char *const *route = bs_http_routes(); *route && !found; route++) {
                size_t length = strlen(method);
                found = !strncasecmp(*route, method, length) && !strcmp(*route + length + 1, path);
            }
            if (!found)
                fail_msg("openapi.json describes %s %s, which is no route", method, path);
        }
    }
}

static void follow(const char *reference)
{
    char text[128];
    const json_t *at = description;
    assert_memory_equal(reference, "#/", 2);
    snprintf(text, sizeof(text), "%s", reference + 2);
    for (char *name = strtok(text, "/"); name; name = strtok(NULL, "/"))
        at = json_object_get(at, name);
    if (!at)
        fail_msg("openapi.json refers to %s, which is not there", reference);
}

static void walk(json_t *value)
{
    size_t i;
    const char *key;
    json_t *child;
    if (json_is_array(value))
        json_array_foreach(value, i, child) walk(child);
    json_object_foreach(value, key, child)
    {
        if (!strcmp(key, "$ref"))
            follow(json_string_value(child));
        walk(child);
    }
}

static void every_reference_leads_somewhere(void **state)
{
    walk(description);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_described),
        cmocka_unit_test(every_described_call_is_a_route),
        cmocka_unit_test(every_reference_leads_somewhere),
    };
    return cmocka_run_group_tests(tests, load, release);
}
