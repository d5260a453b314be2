#!/usr/bin/env bash
# torch 2.13.0, CPU: a 3-D convolution of a batch of one can take several times as long as that of a
# batch of two.
#
# torch decides by size whether oneDNN or its own loop (slow_conv3d, im2col and a matrix product)
# does a convolution. For a batch of more than one it is oneDNN. For a batch of one it is oneDNN only
# if the product of the first four sizes N x C x D x H exceeds 20480. The rule was written for
# images: the last axis of a volume is not counted. So (1, 16, 32, 40, W) goes the slow way however
# large W is, and (1, 16, 32, 41, W) does not. A network for volumes can be slower on one small scan
# than on two; (1, 1, 128, 160, 128), a whole head at 1.5 mm, lies on the limit too.
#
# Seen on 2026-11-29, one thread, fp32, 16 -> 16 channels, 3 x 3 x 3, fastest of five:
#   (1, 16, 32, 40, 32)  slow_conv3d         70 to 80 ms
#   (2, 16, 32, 40, 32)  mkldnn_convolution  10 to 17 ms
#   (1, 16, 32, 41, 32)  mkldnn_convolution   5 to  9 ms
#
# Fails if torch chooses otherwise. The times are printed; only their order is checked.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install -q "torch==2.13.0+cpu" "numpy==2.4.6" ||
    "$work/env/bin/python" -m pip install -q "torch==2.13.0" "numpy==2.4.6"
"$work/env/bin/python" - <<'PYTHON'
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

torch.set_num_threads(1)
convolution = torch.nn.Conv3d(16, 16, 3, padding=1)


def done_by(x: torch.Tensor) -> str:
    """The operator that did the convolution of ``x``."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as seen:
        convolution(x)
    names = {event.key for event in seen.key_averages()}
    slow, fast = "aten::slow_conv3d_forward" in names, "aten::mkldnn_convolution" in names
    return {(True, False): "slow_conv3d", (False, True): "mkldnn_convolution"}.get((slow, fast), "?")


def seconds(x: torch.Tensor) -> float:
    """Fastest of five."""
    taken = []
    with torch.no_grad():
        convolution(x)
        for _ in range(5):
            start = time.perf_counter()
            convolution(x)
            taken.append(time.perf_counter() - start)
    return min(taken)


expected = {
    (1, 16, 32, 40, 32): "slow_conv3d",
    (1, 16, 32, 40, 64): "slow_conv3d",  # twice the volume: the last axis does not count
    (1, 16, 32, 41, 32): "mkldnn_convolution",
    (2, 16, 32, 40, 32): "mkldnn_convolution",
}
found, times = {}, {}
for shape in expected:
    x = torch.rand(shape)
    found[shape], times[shape] = done_by(x), seconds(x)
    print(f"torch {torch.__version__}  {shape}  {found[shape]:18}  {1000 * times[shape]:6.1f} ms")
if found != expected:
    sys.exit("torch chooses otherwise now")
if times[1, 16, 32, 40, 32] < times[2, 16, 32, 40, 32]:
    sys.exit("a batch of one is no longer slower than a batch of two")
PYTHON
echo "as described"
