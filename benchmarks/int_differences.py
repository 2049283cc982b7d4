"""The same int8 graphs on x86 and on emulated Arm boards: how far each is from float32, and from one another.

A difference is the largest over 512 rows, as a share of the output's deviation. Needs Debian's `qemu-user-static`.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> int:
    from simulators.board import NoBoardError, make_board
    from simulators.processors import PI_4, commands, outputs
    from simulators.quantized_models import EIGHT_BITS, convolution, dense, rows, write_variants

    try:
        starts = commands(make_board())
    except NoBoardError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 0
    for title, model in (("dense layers", dense()), ("convolutions", convolution())):
        with tempfile.TemporaryDirectory() as temporary:
            graphs = write_variants(Path(temporary), model)
            found = {name: outputs(command, rows(), graphs) for name, command in starts.items()}
        exact = found[PI_4]["float32"]
        for against in ("float32", PI_4):
            print(f"{f'{title}: from {against}':44}" + "".join(f"{name:>28}" for name in found))
            for variant in graphs:
                other = exact if against == "float32" else found[PI_4][variant]
                far = [abs(one[variant] - other).max() / exact.std() for one in found.values()]
                print(f"  {variant:42}" + "".join(f"{value:28.2g}" for value in far))
            if against == PI_4:
                unlike = [sum(abs(one[EIGHT_BITS] - found[PI_4][EIGHT_BITS]).ravel() > 1e-6) for one in found.values()]
                print(f"  {'rows that differ, signed of 8 bits':42}" + "".join(f"{value:28}" for value in unlike))
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
