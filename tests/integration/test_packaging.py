"""What operators install: the Debian package and what is in it, manual pages, completions, the unit, the container and cluster files."""
import pathlib
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHELLS = {"bash": "usr/share/bash-completion/completions/penstock", "zsh": "usr/share/zsh/vendor-completions/_penstock",
          "fish": "usr/share/fish/vendor_completions.d/penstock.fish"}


def run(*command, **keywords):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=250, **keywords)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory, penstock_binary):
    folder = tmp_path_factory.mktemp("package")
    run("cpack", "-G", "DEB", "-B", folder, cwd=penstock_binary.parent)
    (deb,) = folder.glob("penstock_*.deb")
    return deb


@pytest.fixture(scope="module")
def tree(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    run("dpkg-deb", "-x", package, folder)
    return folder


def test_the_package_names_what_the_program_needs(package):
    fields = run("dpkg-deb", "-f", package, "Package", "Depends", "Description")
    for library in ("libh2o-evloop", "libssl3", "libsqlite3-0", "libpq5", "libhwloc15", "libyaml-0-2", "libjansson4"):
        assert library in fields
    assert "Package: penstock\n" in fields
    files = run("dpkg-deb", "-I", package)
    assert "conffiles" in files and "postinst" in files


def test_the_packaged_program_runs_and_its_config_is_right(tree, model_path):
    program = tree / "usr/bin/penstock"
    assert run(program, "version").startswith("penstock ")
    assert "is good" in run(program, "check", tree / "etc/penstock/penstock.yaml", "--model-path", model_path)
    for script in ("postinst", "prerm"):
        run("sh", "-n", ROOT / "packaging/debian" / script)


@pytest.mark.parametrize("page", ["man1/penstock.1", "man5/penstock.yaml.5"])
def test_manual_pages_are_sound_and_have_every_verb_and_setting(tree, page, penstock_binary):
    path = tree / "usr/share/man" / page
    result = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou", path], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stderr == ""
    text = result.stdout.replace("\u2010", "-").replace("\u2212", "-")
    if page.endswith(".1"):
        words = [line.split()[1] for line in run(penstock_binary, "help").splitlines() if line.startswith("  penstock ")]
    else:
        words = ["server.listen", "models[].max_num_seqs", "models[].autoscale.max", "pool.members[].name", "tenants.limits[].requests_per_minute"]
    for word in words:
        assert word in text


def test_cmake_installs_for_a_prefix_and_leaves_a_config_that_is_there(penstock_binary, tmp_path):
    prefix = tmp_path / "prefix"
    for _ in range(2):
        run("cmake", "--install", penstock_binary.parent, "--prefix", prefix)
        config = prefix / "etc/penstock/penstock.yaml"
        assert config.exists()
        config.write_text("mine")
    assert config.read_text() == "mine"
    assert run(prefix / "bin/penstock", "version").startswith("penstock ")


def complete(tree, *words):
    script = f'source "{tree / SHELLS["bash"]}"; COMP_WORDS=(penstock "$@"); COMP_CWORD=$#; _penstock; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return run("bash", "-c", script, "bash", *words).split()


def test_the_shell_completes_verbs_and_their_flags(tree):
    assert complete(tree, "ser") == ["serve"]
    assert set(complete(tree, "")) >= {"serve", "check", "replica", "simulate"}
    assert complete(tree, "serve", "--po") == ["--port"]
    assert complete(tree, "check", "--model-path", "x", "--dev") == ["--device"]
    assert complete(tree, "keys", "ro") == ["rotate"]
    assert complete(tree, "help", "expl") == ["explain"]
    assert complete(tree, "version", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_theirs(tree, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    run(shell, "-n", tree / SHELLS[shell])


def test_the_unit_is_sound_and_closed(tree, tmp_path):
    unit = tmp_path / "penstock.service"
    text = (tree / "usr/lib/systemd/system/penstock.service").read_text()
    unit.write_text(text.replace("/usr/bin/penstock", str(tree / "usr/bin/penstock")).replace("User=penstock", "User=root"))
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert "penstock.service" not in found.stderr, found.stderr
    shown = run("systemd-analyze", "security", "--offline=true", unit)
    exposure = float(shown.split("Overall exposure level for penstock.service:")[1].split()[0])
    assert exposure < 3.0, shown


def test_the_clusters_config_is_one_that_the_program_takes(tree, tmp_path, penstock_binary):
    documents = list(yaml.safe_load_all((ROOT / "packaging/kubernetes/gateway.yaml").read_text()))
    (settings,) = [d["data"]["penstock.yaml"] for d in documents if d["kind"] == "ConfigMap"]
    config = tmp_path / "penstock.yaml"
    config.write_text(settings)
    assert "is good" in run(penstock_binary, "check", config)
    (pod,) = [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"]
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    listens = yaml.safe_load(settings)
    assert f":{ports['api']}" in listens["server"]["listen"] and f":{ports['admin']}" in listens["server"]["admin_listen"]
    assert f":{ports['join']}" in listens["pool"]["listen"] and str(ports["join"]) in listens["pool"]["advertise"]
    assert pod["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    parts = yaml.safe_load((ROOT / "packaging/kubernetes/kustomization.yaml").read_text())
    assert all((ROOT / "packaging/kubernetes" / name).exists() for name in parts["resources"])


def test_wrong_pages_and_shells_are_refused(penstock_binary):
    for command, words in ((("manual", "pages"), "there is no page 'pages'"), (("completion", "tcsh"), "bash, zsh or fish")):
        result = subprocess.run([penstock_binary, *command], capture_output=True, text=True, timeout=30)
        assert result.returncode == 2 and words in result.stderr
