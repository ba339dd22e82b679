/* Groups of GPUs, by union of pairs: a pair of GPUs that share a switch puts both into one group, and so on. A GPU with nobody
 * beside it has a group of its own, so that "within one domain" is false for two such GPUs; where the driver tells nothing, the name
 * stays empty.
 *
 * NVLink, by what is known best: a fabric over several machines names its domain itself (cluster and clique). Else links to a switch
 * put all GPUs that have any into one group, since the switches of a machine form one fabric; links from GPU to GPU join
 * the two. */
#include "nvml_scan.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

struct groups {
    uint32_t of[NVML_GPUS_MAX]; /* the lowest index of the group */
    bool is_known[NVML_GPUS_MAX];
};

static void groups_init(struct groups *groups)
{
    for (uint32_t i = 0; i < NVML_GPUS_MAX; i++) {
        groups->of[i] = i;
        groups->is_known[i] = false;
    }
}

static void groups_join(struct groups *groups, uint32_t a, uint32_t b)
{
    uint32_t low = groups->of[a] < groups->of[b] ? groups->of[a] : groups->of[b];
    uint32_t high = groups->of[a] < groups->of[b] ? groups->of[b] : groups->of[a];

    for (uint32_t i = 0; i < NVML_GPUS_MAX; i++)
        if (groups->of[i] == high)
            groups->of[i] = low;
}

static void group_name(const struct groups *groups, uint32_t index, const char *what, char *text,
                       size_t bytes)
{
    if (groups->is_known[index])
        (void)snprintf(text, bytes, "%s%u", what, groups->of[index]);
}

static void pcie_join(const struct nvml_library *library, const struct nvml_gpu *gpus, uint32_t a,
                      uint32_t b, struct groups *switches, struct groups *roots)
{
    int ancestor;

    if (gpus[a].handle == NULL || gpus[b].handle == NULL ||
        library->ancestor(gpus[a].handle, gpus[b].handle, &ancestor) != NVML_OK)
        return;
    switches->is_known[a] = switches->is_known[b] = true;
    roots->is_known[a] = roots->is_known[b] = true;
    if (ancestor <= NVML_ANCESTOR_SWITCHES)
        groups_join(switches, a, b);
    if (ancestor <= NVML_ANCESTOR_HOST_BRIDGE)
        groups_join(roots, a, b);
}

static void pcie_fill(const struct nvml_library *library, struct nvml_gpu *gpus, uint32_t count)
{
    struct groups switches, roots;

    if (library->ancestor == NULL)
        return;
    groups_init(&switches);
    groups_init(&roots);
    for (uint32_t a = 0; a < count; a++)
        for (uint32_t b = a + 1; b < count; b++)
            pcie_join(library, gpus, a, b, &switches, &roots);
    for (uint32_t i = 0; i < count; i++) {
        struct device *device = &gpus[i].facts;

        group_name(&switches, i, "pcie-switch", device->pcie_switch, sizeof device->pcie_switch);
        group_name(&roots, i, "pcie-root", device->pcie_root, sizeof device->pcie_root);
    }
}

/* A domain that may span machines: its name is the same on all of them. */
static bool fabric_fill(const struct nvml_library *library, struct nvml_gpu *gpu)
{
    static const uint8_t none[16];
    struct nvml_fabric fabric = {.version = NVML_FABRIC_VERSION};
    char *text = gpu->facts.nvlink_domain;
    size_t used = 0;

    if (library->fabric == NULL || library->fabric(gpu->handle, &fabric) != NVML_OK ||
        fabric.state != NVML_FABRIC_COMPLETED || memcmp(fabric.cluster, none, sizeof none) == 0)
        return false;
    for (size_t i = 0; i < sizeof fabric.cluster; i++)
        used += (size_t)snprintf(text + used, DEVICE_TEXT_BYTES - used, "%02x", fabric.cluster[i]);
    (void)snprintf(text + used, DEVICE_TEXT_BYTES - used, ".%u", fabric.clique);
    return true;
}

static uint32_t gpu_at(const struct nvml_gpu *gpus, uint32_t count, const struct nvml_pci *pci)
{
    for (uint32_t i = 0; i < count; i++)
        if (gpus[i].handle != NULL && gpus[i].pci.domain == pci->domain &&
            gpus[i].pci.bus == pci->bus && gpus[i].pci.device == pci->device)
            return i;
    return count;
}

/* `hub`: the first GPU with a link to a switch, or `count`. */
static void link_join(const struct nvml_library *library, const struct nvml_gpu *gpus,
                      uint32_t count, uint32_t index, unsigned link, struct groups *groups,
                      uint32_t *hub)
{
    void *handle = gpus[index].handle;
    struct nvml_pci remote = {.domain = 0};
    int state = 0, type = -1;
    uint32_t other;

    if (library->link_state(handle, link, &state) != NVML_OK || state != 1)
        return;
    groups->is_known[index] = true;
    if (library->link_remote_type != NULL)
        (void)library->link_remote_type(handle, link, &type);
    if (type == NVML_REMOTE_SWITCH) {
        if (*hub == count)
            *hub = index;
        groups_join(groups, *hub, index);
    } else if (library->link_remote != NULL &&
               library->link_remote(handle, link, &remote) == NVML_OK) {
        other = gpu_at(gpus, count, &remote);
        if (other < count)
            groups_join(groups, other, index);
    }
}

void nvml_topology_fill(const struct nvml_library *library, struct nvml_gpu *gpus, uint32_t count)
{
    struct groups groups;
    uint32_t hub = count;

    CHECK(count <= NVML_GPUS_MAX);
    pcie_fill(library, gpus, count);
    groups_init(&groups);
    for (uint32_t i = 0; library->link_state != NULL && i < count; i++)
        for (unsigned link = 0; gpus[i].handle != NULL && link < NVML_LINKS_MAX; link++)
            link_join(library, gpus, count, i, link, &groups, &hub);
    for (uint32_t i = 0; i < count; i++)
        if (gpus[i].handle != NULL && !fabric_fill(library, &gpus[i]))
            group_name(&groups, i, "nvlink", gpus[i].facts.nvlink_domain,
                       sizeof gpus[i].facts.nvlink_domain);
}
