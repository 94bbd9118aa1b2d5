"""Ship a trained network: half precision into the package, its size and sha256 into the catalogue.

python train/export.py runs/b/ema.safetensors portrait-matting
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save

ROOT = Path(__file__).resolve().parents[1] / "portrayer"


def main() -> None:
    trained, name = Path(sys.argv[1]), sys.argv[2]
    tensors = {
        k: v.to(torch.float16).contiguous() if v.is_floating_point() else v
        for k, v in load_file(trained).items()
    }
    blob = save(tensors)
    target = ROOT / "weights" / f"{name}.safetensors"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(blob)
    digest = hashlib.sha256(blob).hexdigest()
    catalogue = ROOT / "models" / "catalog.py"
    text = catalogue.read_text()
    row = re.search(rf'file="{name}.safetensors".*?bytes=[\d_]+', text, re.DOTALL)
    if row is None:
        raise SystemExit(f"{name} is not in {catalogue}")
    changed = re.sub(r'sha256="[0-9a-f]*"', f'sha256="{digest}"', row[0])
    changed = re.sub(r"bytes=[\d_]+", f"bytes={len(blob):_}", changed)
    catalogue.write_text(text.replace(row[0], changed))
    print(f"{target}: {len(blob) / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
