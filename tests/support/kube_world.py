"""Clusters and members of one test; all of them end with it."""
from support import kube_api, kube_member

GPU_LABELS = {"topology.kubernetes.io/region": "eu-de", "topology.kubernetes.io/zone": "eu-de-a",
              "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}


def gpu(number, node="n0"):
    return f"{node}/nvidia.com/gpu#{number}"


class KubeWorld:
    def __init__(self, folder):
        self.folder, self.made = folder, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for thing in reversed(self.made):
            thing.close()

    def cluster(self, nodes=1, gpus=4, **options):
        folder = self.folder / f"api{len(self.made)}"
        folder.mkdir()
        api = kube_api.KubeApi(folder, **options)
        self.made.append(api)
        for number in range(nodes):
            api.add_node(f"n{number}", {"nvidia.com/gpu": str(gpus), "cpu": "8", "memory": "32Gi"}, GPU_LABELS)
        return api

    def member(self, api, *others, users=None, cluster=None, **config):
        path = self.folder / f"config{len(self.made)}"
        api.write_kubeconfig(path, users=users, others=others, **(cluster or {}))
        member = kube_member.KubeMember(path, **config)
        self.made.append(member)
        return member

    def listed(self, *api, **options):
        """A member that has told all."""
        member = self.member(*api, **options)
        member.wait_listed()
        return member
