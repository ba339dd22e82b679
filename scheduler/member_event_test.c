/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "member_event.h"
#include "memory.h"

/* Everything in a text's place, so that one that is only borrowed shows. */
static void scratch(char *text)
{
    memset(text, 'x', strlen(text));
}

static void a_slice_is_copied_with_all_its_texts(void **state)
{
    char texts[12][16], labels[2][16];
    const char *label_list[] = {labels[0], labels[1]};
    struct slice_report report = {.id = texts[0],
                                  .node = texts[1],
                                  .region = texts[2],
                                  .zone = texts[3],
                                  .rack = texts[4],
                                  .nvlink_domain = texts[5],
                                  .switch_name = texts[6],
                                  .pcie_root = texts[7],
                                  .product = texts[8],
                                  .profile = texts[9],
                                  .owner = texts[10],
                                  .reason = texts[11],
                                  .labels = label_list,
                                  .label_count = 2,
                                  .memory_bytes = 77};
    struct member_event *event;

    (void)state;
    for (unsigned i = 0; i < 12; i++)
        (void)snprintf(texts[i], sizeof(texts[i]), "text%u", i);
    (void)snprintf(labels[0], sizeof(labels[0]), "eu");
    (void)snprintf(labels[1], sizeof(labels[1]), "hipaa");
    event = member_event_slice(&report);
    assert_non_null(event);
    for (unsigned i = 0; i < 12; i++)
        scratch(texts[i]);
    scratch(labels[0]);
    scratch(labels[1]);
    label_list[0] = label_list[1] = NULL;
    assert_int_equal(event->kind, MEMBER_EVENT_SLICE);
    assert_string_equal(event->slice.id, "text0");
    assert_string_equal(event->slice.node, "text1");
    assert_string_equal(event->slice.region, "text2");
    assert_string_equal(event->slice.zone, "text3");
    assert_string_equal(event->slice.rack, "text4");
    assert_string_equal(event->slice.nvlink_domain, "text5");
    assert_string_equal(event->slice.switch_name, "text6");
    assert_string_equal(event->slice.pcie_root, "text7");
    assert_string_equal(event->slice.product, "text8");
    assert_string_equal(event->slice.profile, "text9");
    assert_string_equal(event->slice.owner, "text10");
    assert_string_equal(event->slice.reason, "text11");
    assert_string_equal(event->slice.labels[0], "eu");
    assert_string_equal(event->slice.labels[1], "hipaa");
    assert_int_equal(event->slice.memory_bytes, 77);
    member_event_free(event);
}

static void what_is_not_known_of_a_slice_stays_unknown(void **state)
{
    struct slice_report report = {.id = "a"};
    struct member_event *event = member_event_slice(&report);

    (void)state;
    assert_non_null(event);
    assert_string_equal(event->slice.id, "a");
    assert_null(event->slice.node);
    assert_null(event->slice.reason);
    assert_int_equal(event->slice.label_count, 0);
    member_event_free(event);
}

static void a_replica_is_copied_with_its_parts_and_its_address(void **state)
{
    char handle[] = "job 7", node[] = "n1", endpoint[] = "n1:8000", reason[] = "queued",
         name[] = "smollm2-1f", address[] = "10.0.0.7", first[] = "n1/g0", second[] = "n2/g3";
    struct member_part parts[] = {{first, 100, 500}, {second, 200, 1000}};
    struct member_replica replica = {.uid = 9,
                                     .phase = MEMBER_REPLICA_RUNNING,
                                     .handle = handle,
                                     .node = node,
                                     .endpoint = endpoint,
                                     .reason = reason,
                                     .name = name,
                                     .address = address,
                                     .parts = parts,
                                     .part_count = 2};
    struct member_event *event = member_event_replica(&replica);
    char *texts[] = {handle, node, endpoint, reason, name, address, first, second};

    (void)state;
    assert_non_null(event);
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        scratch(texts[i]);
    memset(parts, 0, sizeof(parts));
    assert_int_equal(event->kind, MEMBER_EVENT_REPLICA);
    assert_int_equal(event->replica.uid, 9);
    assert_int_equal(event->replica.phase, MEMBER_REPLICA_RUNNING);
    assert_string_equal(event->replica.handle, "job 7");
    assert_string_equal(event->replica.node, "n1");
    assert_string_equal(event->replica.endpoint, "n1:8000");
    assert_string_equal(event->replica.reason, "queued");
    assert_string_equal(event->replica.name, "smollm2-1f");
    assert_string_equal(event->replica.address, "10.0.0.7");
    assert_int_equal(event->replica.part_count, 2);
    assert_string_equal(event->replica.parts[0].slice_id, "n1/g0");
    assert_int_equal(event->replica.parts[0].memory_bytes, 100);
    assert_int_equal(event->replica.parts[0].compute_milli, 500);
    assert_string_equal(event->replica.parts[1].slice_id, "n2/g3");
    assert_int_equal(event->replica.parts[1].compute_milli, 1000);
    member_event_free(event);
}

static void what_a_driver_leaves_out_of_a_replica_is_empty(void **state)
{
    struct member_replica replica = {.uid = 9};
    struct member_event *event = member_event_replica(&replica);

    (void)state;
    assert_non_null(event);
    assert_string_equal(event->replica.handle, "");
    assert_string_equal(event->replica.node, "");
    assert_string_equal(event->replica.endpoint, "");
    assert_string_equal(event->replica.reason, "");
    assert_string_equal(event->replica.name, "");
    assert_string_equal(event->replica.address, "");
    assert_int_equal(event->replica.part_count, 0);
    member_event_free(event);
}

static void a_text_is_copied(void **state)
{
    char text[] = "n1/g0";
    struct member_event *event = member_event_text(MEMBER_EVENT_STARTED, 5, STATUS_FULL, text);

    (void)state;
    assert_non_null(event);
    scratch(text);
    assert_int_equal(event->kind, MEMBER_EVENT_STARTED);
    assert_int_equal(event->uid, 5);
    assert_int_equal(event->result, STATUS_FULL);
    assert_string_equal(event->text, "n1/g0");
    member_event_free(event);
    member_event_free(NULL);
}

static void an_order_is_copied_with_its_lists(void **state)
{
    char name[] = "smollm2-1f", image[] = "registry/penstock:1", argument[] = "replica",
         variable[] = "KEY=value", path[] = "/models/x", slice[] = "n1/g0";
    const char *arguments[] = {"penstock", argument, NULL}, *environment[] = {variable, NULL};
    struct member_path paths[] = {{path, MEMBER_READS}, {"/run/penstock", MEMBER_WRITES}};
    struct member_part parts[] = {{slice, 1, 2}};
    struct member_order order = {.uid = 3,
                                 .name = name,
                                 .image = image,
                                 .arguments = arguments,
                                 .environment = environment,
                                 .paths = paths,
                                 .path_count = 2,
                                 .parts = parts,
                                 .part_count = 1,
                                 .priority = -4,
                                 .grace_ns = 6};
    struct member_order *copy = member_order_copy(&order);
    char *texts[] = {name, image, argument, variable, path, slice};

    (void)state;
    assert_non_null(copy);
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        scratch(texts[i]);
    arguments[1] = environment[0] = NULL;
    memset(paths, 0, sizeof(paths));
    memset(parts, 0, sizeof(parts));
    assert_int_equal(copy->uid, 3);
    assert_string_equal(copy->name, "smollm2-1f");
    assert_string_equal(copy->image, "registry/penstock:1");
    assert_string_equal(copy->arguments[0], "penstock");
    assert_string_equal(copy->arguments[1], "replica");
    assert_null(copy->arguments[2]);
    assert_string_equal(copy->environment[0], "KEY=value");
    assert_null(copy->environment[1]);
    assert_int_equal(copy->path_count, 2);
    assert_string_equal(copy->paths[0].path, "/models/x");
    assert_int_equal(copy->paths[0].access, MEMBER_READS);
    assert_string_equal(copy->paths[1].path, "/run/penstock");
    assert_int_equal(copy->paths[1].access, MEMBER_WRITES);
    assert_string_equal(copy->parts[0].slice_id, "n1/g0");
    assert_int_equal(copy->parts[0].compute_milli, 2);
    assert_int_equal(copy->priority, -4);
    assert_int_equal(copy->grace_ns, 6);
    memory_release(copy);
}

static void an_order_without_lists_has_empty_ones(void **state)
{
    struct member_order order = {.uid = 3}, *copy = member_order_copy(&order);

    (void)state;
    assert_non_null(copy);
    assert_non_null(copy->arguments);
    assert_null(copy->arguments[0]);
    assert_non_null(copy->environment);
    assert_null(copy->environment[0]);
    memory_release(copy);
}

static void without_memory_there_is_no_copy(void **state)
{
    struct slice_report report = {.id = "a"};
    struct member_replica replica = {.uid = 1};
    struct member_order order = {.uid = 1};

    (void)state;
    fail_nth_begin(1);
    assert_null(member_event_slice(&report));
    assert_true(fail_nth_end());
    fail_nth_begin(1);
    assert_null(member_event_replica(&replica));
    assert_true(fail_nth_end());
    fail_nth_begin(1);
    assert_null(member_event_text(MEMBER_EVENT_HEARD, 0, STATUS_OK, ""));
    assert_true(fail_nth_end());
    fail_nth_begin(1);
    assert_null(member_order_copy(&order));
    assert_true(fail_nth_end());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_copied_with_all_its_texts),
        cmocka_unit_test(what_is_not_known_of_a_slice_stays_unknown),
        cmocka_unit_test(a_replica_is_copied_with_its_parts_and_its_address),
        cmocka_unit_test(what_a_driver_leaves_out_of_a_replica_is_empty),
        cmocka_unit_test(a_text_is_copied),
        cmocka_unit_test(an_order_is_copied_with_its_lists),
        cmocka_unit_test(an_order_without_lists_has_empty_ones),
        cmocka_unit_test(without_memory_there_is_no_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
