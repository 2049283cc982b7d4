"""An example of an image's model: a picture of a part in, `ok` or `scratched` out.

    python docs/examples/image_model.py ./image

writes model.onnx, which takes (batch, 3, 64, 64) and gives one logit a class, and a folder of pictures: parts/ok/ and
parts/scratched/.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

SIDE = 64
#: Answers to thin bright lines, not to the even shine of a part.
KERNEL = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=np.float32) / 8


def part(random: np.random.Generator, *, scratched: bool) -> Image.Image:
    """Draw a grey disc on a dark ground, with a scratch or without."""
    picture = Image.new("RGB", (96, 96), (30, 30, 34))
    draw = ImageDraw.Draw(picture)
    shine = int(random.integers(110, 160))
    draw.ellipse((10, 10, 86, 86), fill=(shine, shine, shine + 5))
    if scratched:
        start, end = random.integers(25, 70, 2), random.integers(25, 70, 2)
        end = end if np.abs(end - start).sum() > 20 else start + 25
        draw.line((*start.tolist(), *end.tolist()), fill=(250, 250, 250), width=2)
    return picture


def network() -> onnx.ModelProto:
    """Return logits of `ok` and `scratched` from the strongest edge inside the part."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Slice", ["grey", "from", "to", "axes"], ["middle"]),
        helper.make_node("Conv", ["middle", "kernel"], ["edges"]),
        helper.make_node("GlobalMaxPool", ["edges"], ["strongest"]),
        helper.make_node("Flatten", ["strongest"], ["edge"]),
        helper.make_node("Gemm", ["edge", "weights", "bias"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([14, 14], dtype=np.int64), "from"),
        numpy_helper.from_array(np.array([50, 50], dtype=np.int64), "to"),
        numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes"),
        numpy_helper.from_array(KERNEL.reshape(1, 1, 3, 3), "kernel"),
        numpy_helper.from_array(np.array([[-40.0, 40.0]], dtype=np.float32), "weights"),
        numpy_helper.from_array(np.array([4.0, -4.0], dtype=np.float32), "bias"),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "image", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(folder: Path) -> None:
    random = np.random.default_rng(3)
    for number in range(40):
        kind = ("ok", "scratched")[number % 2]
        (folder / "parts" / kind).mkdir(parents=True, exist_ok=True)
        name = folder / "parts" / kind / f"{number}.{('jpg', 'png')[number // 2 % 2]}"
        part(random, scratched=kind == "scratched").save(name, quality=92)
    onnx.save(network(), folder / "model.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
