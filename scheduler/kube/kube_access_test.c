#include "unit_test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kube_credential.h"
#include "kube_text.h"

/* Kubeconfigs in a folder of their own. */
struct folder {
    char path[64], config[96];
};

static void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void folder_init(struct folder *folder, const char *config)
{
    (void)snprintf(folder->path, sizeof(folder->path), "/tmp/kube_access_XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    (void)snprintf(folder->config, sizeof(folder->config), "%s/config", folder->path);
    file_write(folder->config, config);
}

static void folder_deinit(struct folder *folder)
{
    char name[160];
    static const char *const names[] = {"config", "ca.pem", "token", "plugin"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s/%s", folder->path, names[i]);
        (void)unlink(name);
    }
    (void)rmdir(folder->path);
}

static const char two_clusters[] =
    "apiVersion: v1\nkind: Config\ncurrent-context: near\n"
    "clusters:\n"
    "- {name: one, cluster: {server: 'https://one:6443/', certificate-authority: ca.pem}}\n"
    "- name: two\n  cluster:\n    server: https://two\n    insecure-skip-tls-verify: true\n"
    "    certificate-authority-data: Q0EgdHdvCg==\n"
    "contexts:\n"
    "- {name: near, context: {cluster: one, user: a, namespace: llm}}\n"
    "- {name: far, context: {cluster: two, user: b}}\n"
    "- {name: lost, context: {cluster: three, user: b}}\n"
    "users:\n- {name: a, user: {tokenFile: token}}\n- {name: b, user: {token: '007'}}\n";

static void contexts_of_one_kubeconfig_are_read_apart(void **state)
{
    (void)state;
    struct folder folder;
    struct kube_access access;
    struct error_note note;
    folder_init(&folder, two_clusters);
    char ca[96];
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", folder.path);
    file_write(ca, "CA one\n");
    assert_int_equal(kube_access_open(folder.config, NULL, &access, &note), STATUS_OK);
    assert_string_equal(access.server, "https://one:6443");
    assert_string_equal(access.namespace_name, "llm");
    assert_string_equal(access.ca_pem, "CA one\n");
    assert_false(access.is_insecure);
    kube_access_close(&access);
    assert_int_equal(kube_access_open(folder.config, "far", &access, &note), STATUS_OK);
    assert_string_equal(access.server, "https://two");
    assert_string_equal(access.namespace_name, "default");
    assert_string_equal(access.ca_pem, "CA two\n");
    assert_string_equal(access.token, "007");
    assert_true(access.is_insecure);
    kube_access_close(&access);
    folder_deinit(&folder);
}

static void what_a_context_names_must_be_there(void **state)
{
    (void)state;
    struct folder folder;
    struct kube_access access;
    struct error_note note;
    folder_init(&folder, two_clusters);
    assert_int_equal(kube_access_open(folder.config, "lost", &access, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "cluster \"three\""));
    assert_int_equal(kube_access_open(folder.config, "none", &access, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "no context \"none\""));
    file_write(folder.config, "a: [1, 2\n");
    assert_int_equal(kube_access_open(folder.config, NULL, &access, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "line 2"));
    folder_deinit(&folder);
    assert_int_equal(kube_access_open(folder.config, NULL, &access, &note), STATUS_NOT_FOUND);
}

static void a_tokens_file_is_read_again_when_it_is_refused(void **state)
{
    (void)state;
    struct folder folder;
    struct kube_access access;
    struct kube_credential credential;
    struct error_note note;
    char path[96];
    folder_init(&folder, two_clusters);
    (void)snprintf(path, sizeof(path), "%s/ca.pem", folder.path);
    file_write(path, "CA");
    (void)snprintf(path, sizeof(path), "%s/token", folder.path);
    file_write(path, "first\n");
    assert_int_equal(kube_access_open(folder.config, NULL, &access, &note), STATUS_OK);
    kube_credential_init(&credential, &access, NULL);
    assert_int_equal(kube_credential_refresh(&credential, false, &note), STATUS_OK);
    assert_string_equal(kube_credential_token(&credential), "first");
    file_write(path, "second\n");
    assert_int_equal(kube_credential_refresh(&credential, false, &note), STATUS_OK);
    assert_string_equal(kube_credential_token(&credential), "first");
    assert_int_equal(kube_credential_refresh(&credential, true, &note), STATUS_OK);
    assert_string_equal(kube_credential_token(&credential), "second");
    kube_credential_deinit(&credential);
    kube_access_close(&access);
    folder_deinit(&folder);
}

static void a_plugin_gives_tokens_until_they_expire(void **state)
{
    (void)state;
    struct folder folder;
    struct kube_access access;
    struct kube_credential credential;
    struct error_note note;
    char path[96];
    folder_init(&folder,
                "current-context: c\n"
                "clusters: [{name: k, cluster: {server: 'https://k'}}]\n"
                "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
                "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, "
                "command: ./plugin, args: [a], env: [{name: WORD, value: w}]}}}]\n");
    (void)snprintf(path, sizeof(path), "%s/plugin", folder.path);
    file_write(path,
               "#!/bin/sh\nprintf '{\"status\":{\"token\":\"%s-%s-%s\",\"expirationTimestamp\":"
               "\"2001-01-01T00:00:00Z\"}}' \"$1\" \"$WORD\" \"$(date +%s%N)\"\n");
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(kube_access_open(folder.config, NULL, &access, &note), STATUS_OK);
    kube_credential_init(&credential, &access, NULL);
    assert_int_equal(kube_credential_refresh(&credential, false, &note), STATUS_OK);
    assert_int_equal(strncmp(kube_credential_token(&credential), "a-w-", 4), 0);
    /* It has expired long since. */
    assert_int_equal(kube_credential_refresh(&credential, false, &note), STATUS_OK);
    file_write(path, "#!/bin/sh\nexit 1\n");
    assert_int_equal(kube_credential_refresh(&credential, true, &note), STATUS_DENIED);
    kube_credential_deinit(&credential);
    kube_access_close(&access);
    folder_deinit(&folder);
}

static void what_kubernetes_has_no_more_is_refused(void **state)
{
    (void)state;
    static const char *const users[] = {"{auth-provider: {name: gcp}}",
                                        "{username: a, password: b}"};
    for (size_t i = 0; i < 2; i++) {
        struct folder folder;
        struct kube_access access;
        struct error_note note;
        char config[512];
        (void)snprintf(config, sizeof(config),
                       "current-context: c\nclusters: [{name: k, cluster: {server: 'https://k'}}]\n"
                       "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
                       "users: [{name: u, user: %s}]\n",
                       users[i]);
        folder_init(&folder, config);
        assert_int_equal(kube_access_open(folder.config, "", &access, &note), STATUS_UNSUPPORTED);
        assert_non_null(strstr(note.text, "gone from Kubernetes"));
        folder_deinit(&folder);
    }
}

static void times_are_read_with_fractions_and_offsets(void **state)
{
    (void)state;
    assert_int_equal(kube_time_ms("2026-11-21T03:00:02Z"), 1795230002000);
    assert_int_equal(kube_time_ms("2026-11-21T03:00:02.250000Z"), 1795230002250);
    assert_int_equal(kube_time_ms("2026-11-21T04:00:02+01:00"), 1795230002000);
    assert_int_equal(kube_time_ms("2026-11-21"), 0);
    assert_int_equal(kube_time_ms("2026-11-21T03:00:02"), 0);
    assert_int_equal(kube_time_ms(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_of_one_kubeconfig_are_read_apart),
        cmocka_unit_test(what_a_context_names_must_be_there),
        cmocka_unit_test(a_tokens_file_is_read_again_when_it_is_refused),
        cmocka_unit_test(a_plugin_gives_tokens_until_they_expire),
        cmocka_unit_test(what_kubernetes_has_no_more_is_refused),
        cmocka_unit_test(times_are_read_with_fractions_and_offsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
