"""What tasks say they need, against what the system counts: the memory of libraries is in it, which
Python's own count leaves out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from portrayer.tasks.matting import Matting, memory
from portrayer.tasks.options import read

PIXELS = 4000 * 3000
COUNTED = Path("/proc/self/clear_refs")
OPTIONS = [
    {},
    {"background": "#ffffff80"},
    {"background": "blur"},
    {"alpha_threshold": 10, "feather": 20, "erode": 1},
    {"erode": 4.5},
    {"looks": 2},
    {"roi": "0% 0% 99% 100%"},
    {"scale": "100%"},
    {"scale": "95%", "roi": "0% 0% 99% 100%", "background": "#ffffff80"},
    {"output": "both", "crop": True},
]
CHILD = """
import json, sys
from pathlib import Path
import cv2
import numpy as np
from portrayer.engine.device import keep_memory, trim_memory
from portrayer.tasks.matting import Matting, run
from portrayer.tasks.options import read

def counted(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))

def infer(model, samples):
    side = samples.shape[1]
    y, x = np.mgrid[:side, :side] / side
    return np.clip(3 - 8 * np.hypot(y - 0.6, x - 0.5), 0, 1).astype(np.float32)[None]

cv2.setNumThreads(1)
keep_memory()
noise = np.random.default_rng(3).integers(0, 255, (300, 400, 3), np.uint8)
for options in [json.loads(sys.argv[1])[0], *json.loads(sys.argv[1])]:
    trim_memory()
    before = counted("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    photo = cv2.resize(noise, (4000, 3000), interpolation=cv2.INTER_LINEAR)
    product = run([photo], read(Matting, options), infer)
    print(counted("VmHWM") - before)
    del photo, product
"""


@pytest.mark.skipif(not COUNTED.exists(), reason="the system does not count the peak anew")
def test_matting_takes_no_more_than_it_says() -> None:
    """With any option, a photo of 12 MP takes at its peak what was said of it at most, and more
    than half of that: nobody is kept waiting for memory that is not used."""
    child = [sys.executable, "-c", CHILD, json.dumps(OPTIONS)]
    told = subprocess.run(child, capture_output=True, text=True, timeout=120, check=True)
    _, *peaks = (int(line) for line in told.stdout.split())  # the first one loads libraries too
    for options, peak in zip(OPTIONS, peaks, strict=True):
        said = memory(read(Matting, options), PIXELS)
        assert said / 2 < peak <= said, options
