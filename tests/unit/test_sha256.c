/* sha256: the published test vectors, and the same digest however the bytes arrive and whatever computes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <bodyscript/sha256.h>

static void assert_digest(const char *text, size_t size, const char *expected)
{
    void (*const inits[])(bs_sha256 *) = {bs_sha256_init, bs_sha256_init_portable};
    for (int i = 0; i < 2; i++) {
        bs_sha256 h;
        char hex[BS_SHA256_HEX];
        inits[i](&h);
        bs_sha256_update(&h, text, size);
        bs_sha256_hex(&h, hex);
        assert_string_equal(hex, expected);
    }
}

static void digests_are_those_of_fips_180(void **state)
{
    assert_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void a_million_letters_a(void **state)
{
    char a[1000];
    bs_sha256 h;
    char hex[BS_SHA256_HEX];
    memset(a, 'a', sizeof(a));
    bs_sha256_init(&h);
    for (int i = 0; i < 1000; i++)
        bs_sha256_update(&h, a, sizeof(a));
    bs_sha256_hex(&h, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void pieces_of_any_size_give_the_digest_of_the_whole(void **state)
{
    uint8_t data[1021];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 167 + i / 251);
    bs_sha256 h;
    char whole[BS_SHA256_HEX], pieces[BS_SHA256_HEX];
    bs_sha256_init_portable(&h);
    bs_sha256_update(&h, data, sizeof(data));
    bs_sha256_hex(&h, whole);
    for (size_t step = 1; step < 200; step += 7) {
        bs_sha256_init(&h);
        for (size_t at = 0; at < sizeof(data); at += step)
            bs_sha256_update(&h, data + at, at + step <= sizeof(data) ? step : sizeof(data) - at);
        bs_sha256_hex(&h, pieces);
        assert_string_equal(pieces, whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_fips_180),
        cmocka_unit_test(a_million_letters_a),
        cmocka_unit_test(pieces_of_any_size_give_the_digest_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
