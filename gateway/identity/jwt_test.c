#include "unit_test.h"

#include "jwt.h"

/* RFC 8037, appendix A: the public key of A.2 and the signature of A.4, whose signed text is no claims. */
#define RFC8037_KEY                                                                                \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define RFC8037_TOKEN                                                                              \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."                                    \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
/* RFC 7515, appendix A.3: the key; the token says iss "joe" and exp 1300819380. */
#define RFC7515_KEY                                                                                \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define RFC7515_TOKEN                                                                              \
    "eyJhbGciOiJFUzI1NiJ9."                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ."                                                                                          \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

static const struct jwt_rules rules = {"joe", "penstock",
                                       1u << JWT_RS256 | 1u << JWT_ES256 | 1u << JWT_EDDSA, 30};

static struct jwks *keys_of(const char *list)
{
    struct jwks *keys = NULL;
    struct error_note note = {""};
    char text[2048];

    (void)snprintf(text, sizeof(text), "{\"keys\":[%s]}", list);
    assert_int_equal(jwks_read(text_slice_of(text), &keys, &note), STATUS_OK);
    return keys;
}

static const char *refused(const char *token, const struct jwks *keys, const struct jwt_rules *by)
{
    json_t *claims = NULL;
    const char *why = NULL;

    assert_int_equal(jwt_verify(text_slice_of(token), by, keys, 1300819000, &claims, &why),
                     STATUS_DENIED);
    return why;
}

/* What is refused for its claims has a signature that was found good. */
static void published_signatures_are_good(void **state)
{
    struct jwks *keys = keys_of(RFC8037_KEY "," RFC7515_KEY);
    char cut[] = RFC7515_TOKEN;

    (void)state;
    assert_int_equal(keys->count, 2);
    assert_string_equal(refused(RFC8037_TOKEN, keys, &rules), "its claims are not understood");
    assert_string_equal(refused(RFC7515_TOKEN, keys, &rules), "it is for another audience");
    cut[sizeof(cut) - 10] ^= 1;
    assert_string_equal(refused(cut, keys, &rules), "its signature is wrong");
    jwks_destroy(keys);
}

static void only_the_configs_algorithms_count(void **state)
{
    struct jwks *keys = keys_of(RFC7515_KEY);
    struct jwt_rules other = rules;

    (void)state;
    other.algorithms = 1u << JWT_RS256 | 1u << JWT_EDDSA;
    assert_string_equal(refused(RFC7515_TOKEN, keys, &other), "its algorithm is not allowed");
    jwks_destroy(keys);
}

static void the_issuer_is_read_without_a_key(void **state)
{
    char issuer[8];

    (void)state;
    assert_int_equal(jwt_issuer(text_slice_of(RFC7515_TOKEN), issuer, sizeof(issuer)), STATUS_OK);
    assert_string_equal(issuer, "joe");
    assert_int_equal(jwt_issuer(text_slice_of(RFC7515_TOKEN), issuer, 3), STATUS_INVALID);
    assert_int_equal(jwt_issuer(text_slice_of(RFC8037_TOKEN), issuer, 8), STATUS_INVALID);
}

static void keys_that_are_of_no_use_are_left_out(void **state)
{
    static const char *const none[] = {
        "{}",
        "[]",
        "{\"keys\":[]}",
        "{\"keys\":{}}",
        "",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":"
        "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
        /* not on the curve */
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
        "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":"
        "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"use\":\"enc\",\"crv\":\"Ed25519\",\"x\":"
        "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
    };
    struct error_note note;
    struct jwks *keys = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(jwks_read(text_slice_of(none[i]), &keys, &note), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_signatures_are_good),
        cmocka_unit_test(only_the_configs_algorithms_count),
        cmocka_unit_test(the_issuer_is_read_without_a_key),
        cmocka_unit_test(keys_that_are_of_no_use_are_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
