"""The mean of several checkpoints of one run (Wortsman et al., 2022).

python train/average.py OUT.safetensors A.safetensors B.safetensors ...
"""

from __future__ import annotations

import sys

from safetensors.torch import load_file, save_file


def main() -> None:
    out, *paths = sys.argv[1:]
    loaded = [load_file(path) for path in paths]
    mean = {
        name: sum(each[name].float() for each in loaded) / len(loaded)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in loaded[0].items()
    }
    save_file({name: tensor.contiguous() for name, tensor in mean.items()}, out)


if __name__ == "__main__":
    main()
