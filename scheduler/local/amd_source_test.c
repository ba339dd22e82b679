#include "unit_test.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "amd_source.h"

#define GIB (1ull << 30)

static char root[64];
static struct device_list list;

/* Makes the folders above it, too. */
static void file_write(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int tree_make(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/amd_source_test.XXXXXX");
    assert_non_null(mkdtemp(root));
    return 0;
}

static int tree_remove(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static status scan(void)
{
    struct device_source source;
    struct error_note note = {""};
    status result;

    memset(&list, 0, sizeof list);
    assert_int_equal(amd_source_create(root, &source), STATUS_OK);
    result = source.scan(source.context, &list, &note);
    source.destroy(source.context);
    return result;
}

static void an_mi300_make(void)
{
    file_write("class/drm/card2/device/vendor", "0x1002\n");
    file_write("class/drm/card2/device/unique_id", "b1d4a8c76f0e2233\n");
    file_write("class/drm/card2/device/product_name", "AMD Instinct MI300X\n");
    file_write("class/drm/card2/device/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c1:00.0\n");
    file_write("class/drm/card2/device/numa_node", "1\n");
    file_write("class/drm/card2/device/current_compute_partition", "SPX\n");
    file_write("class/drm/card2/device/mem_info_vram_total", "206141652992\n");
    file_write("class/drm/card2/device/mem_info_vram_used", "1073741824\n");
    file_write("class/drm/card2/device/gpu_busy_percent", "37\n");
    file_write("class/drm/card2/device/hwmon/hwmon5/temp1_input", "45000\n");
    file_write("class/drm/card2/device/hwmon/hwmon5/power1_average", "312000000\n");
    file_write("class/drm/card2/device/ras/umc_err_count", "ue: 0\nce: 4\n");
}

static void a_card_is_read_with_its_sensors(void **state)
{
    const struct device *card = &list.items[0];

    (void)state;
    an_mi300_make();
    assert_int_equal(scan(), STATUS_OK);
    assert_int_equal(list.count, 1);
    assert_string_equal(card->id, "AMD-b1d4a8c76f0e2233");
    assert_string_equal(card->product, "AMD Instinct MI300X");
    assert_string_equal(card->profile, "SPX");
    assert_string_equal(card->pci, "0000:c1:00.0");
    assert_int_equal(card->vendor, SLICE_AMD);
    assert_int_equal(card->numa, 1);
    assert_int_equal(card->memory_bytes, 206141652992);
    assert_int_equal(card->memory_used_bytes, GIB);
    assert_int_equal(card->readings[DEVICE_GPU_UTILIZATION], 37);
    assert_int_equal(card->readings[DEVICE_TEMPERATURE], 45);
    assert_int_equal(card->readings[DEVICE_POWER_MW], 312000);
    assert_int_equal(card->readings[DEVICE_ECC_CORRECTED], 4);
    assert_int_equal(card->readings[DEVICE_ENERGY_MJ], DEVICE_UNKNOWN);
    assert_int_equal(card->health, SLICE_OK);
}

static void other_vendors_and_connectors_are_passed_over(void **state)
{
    (void)state;
    an_mi300_make();
    file_write("class/drm/card0/device/vendor", "0x10de\n");
    file_write("class/drm/card1/device/vendor", "0x8086\n");
    file_write("class/drm/card2-DP-1/device/vendor", "0x1002\n");
    file_write("class/drm/card10/device/vendor", "0x1002\n");
    file_write("class/drm/card10/device/uevent", "PCI_SLOT_NAME=0000:d1:00.0\n");
    file_write("class/drm/card10/device/mem_info_vram_total", "17179869184\n");
    file_write("class/drm/card10/device/numa_node", "-1\n");
    assert_int_equal(scan(), STATUS_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].index, 2);
    assert_string_equal(list.items[1].id, "AMD-0000:d1:00.0");
    assert_int_equal(list.items[1].numa, -1);
}

static void faults_are_health(void **state)
{
    (void)state;
    an_mi300_make();
    file_write("class/drm/card2/device/ras/umc_err_count", "ue: 2\nce: 4\n");
    file_write("class/drm/card3/device/vendor", "0x1002\n");
    assert_int_equal(scan(), STATUS_OK);
    assert_int_equal(list.items[0].health, SLICE_DEGRADED);
    assert_string_equal(list.items[0].reason, "2 uncorrected errors of memory");
    assert_int_equal(list.items[1].health, SLICE_BAD);
}

static void no_card_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(scan(), STATUS_NOT_FOUND);
    file_write("class/drm/card0/device/vendor", "nonsense\n");
    assert_int_equal(scan(), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_card_is_read_with_its_sensors, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(other_vendors_and_connectors_are_passed_over, tree_make,
                                        tree_remove),
        cmocka_unit_test_setup_teardown(faults_are_health, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(no_card_is_not_found, tree_make, tree_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
