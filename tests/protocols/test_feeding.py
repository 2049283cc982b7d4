"""What a manifest says of its feeding and variants: of version 2, never contradictory; a table's stays as it was."""

import msgspec
import pytest
from simulators.sample_documents import manifest

from protocols.errors import ManifestError
from protocols.feeding import FIGURES, Image, StatePair, Window
from protocols.manifest import Manifest, TensorSpec, Tolerance, Variant, decode_manifest, encode_manifest

COLUMNS = (TensorSpec("speed", "float32"), TensorSpec("load", "float32"))
PICTURE = tuple(TensorSpec(name, "float32") for name in FIGURES)
WINDOW = Window("x", 24)
IMAGE = Image("pixels", 64, 48, mean=(0.1, 0.2, 0.3), deviation=(1.0, 1.0, 2.0), batch=1)
STATE = (StatePair("h", "h_out", (1, 1, 8)),)


def fed(feeding: Window | Image | None, state: tuple[StatePair, ...] = (), **changes) -> Manifest:
    usual = {"inputs": PICTURE if isinstance(feeding, Image) else COLUMNS, "v": 2}
    return msgspec.structs.replace(manifest(), feeding=feeding, state=state, **{**usual, **changes})


def reduced(**changes) -> Manifest:
    """A table's, with a variant."""
    plain = manifest()
    files = {**plain.files, "model.int8.onnx": plain.files["model.onnx"]}
    variant = Variant("model.int8.onnx", Tolerance(1.0, 0.0), "by hand", 0.5, 0.1, 0)
    return msgspec.structs.replace(plain, **{"files": files, "variants": {"int8": variant}, "v": 2, **changes})


@pytest.mark.parametrize("made", [fed(WINDOW), fed(IMAGE), fed(None, STATE), fed(WINDOW, STATE), reduced()])
def test_it_is_read_back(made):
    data = encode_manifest(made)
    assert decode_manifest(data) == made
    assert encode_manifest(decode_manifest(data)) == data


def test_the_graph_takes_what_the_feeding_makes_and_its_state():
    window = fed(WINDOW, STATE)
    assert [(spec.name, spec.shape) for spec in window.graph_inputs] == [("x", (None, 24, 2)), ("h", (1, 1, 8))]
    assert [spec.name for spec in window.graph_outputs] == ["prediction", "h_out"]
    assert window.bound_inputs == ("speed", "load")
    image = fed(IMAGE)
    assert [spec.shape for spec in image.graph_inputs] == [(1, 3, 64, 48)]
    assert image.bound_inputs == ("image",)
    assert [spec.name for spec in fed(None, STATE).graph_inputs] == ["speed", "load", "h"]
    assert manifest().graph_inputs == manifest().inputs


def test_a_table_says_nothing_of_it_so_that_older_agents_take_it():
    page = msgspec.json.decode(encode_manifest(manifest()))
    assert not {"feeding", "state", "variants"} & page.keys()
    assert manifest().v == 1


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (fed(WINDOW, v=1), "version 1 with feeding, state or variants, which are of 2"),
        (fed(None, STATE, v=1), "version 1 with feeding"),
        (reduced(v=1), "version 1 with feeding, state or variants, which are of 2"),
        (fed(None), "version 2 without feeding, state or variants"),
        (fed(WINDOW, inputs=(TensorSpec("shift", "string"),)), "input 'shift' is none"),
        (fed(Window("x", 0)), "0 rows of 2 inputs"),
        (fed(Window("x", 10**6)), "1000000 rows"),
        (fed(Window("", 3)), "names no tensor"),
        (fed(Window("x", 3, batch=0)), "batch 0; it counts from 1"),
        (fed(IMAGE, inputs=COLUMNS), "inputs of an image model are brightness, contrast, sharpness"),
        (fed(Image("x", 0, 5)), "0 x 5 pixels"),
        (fed(Image("x", 8192, 8192)), "8192 x 8192 pixels"),
        (fed(Image("x", 5, 5, scale=0.0)), "the scale 0.0"),
        (fed(Image("x", 5, 5, "L", mean=(0.1, 0.2, 0.3))), "3 means for 1 channels"),
        (fed(Image("x", 5, 5, deviation=(1.0, 0.0, 1.0))), "deviation that is not above 0"),
        (fed(None, (StatePair("h", "h_out", ()),)), "must be fixed"),
        (fed(None, (StatePair("h", "h_out", (1, 0)),)), "must be fixed"),
        (fed(None, (StatePair("speed", "h_out", (1,)),)), "each input once"),
        (fed(None, (StatePair("h", "prediction", (1,)),)), "each output once"),
        (fed(None, (StatePair("h", "h_out", (2**25,)),)), "more than 16777216 values"),
    ],
)
def test_a_feeding_that_contradicts_itself_is_refused_by_field(made, text):
    with pytest.raises(ManifestError, match=text):
        decode_manifest(encode_manifest(made))


def test_an_unknown_feeding_is_refused():
    page = msgspec.json.decode(encode_manifest(fed(WINDOW)))
    page["feeding"]["kind"] = "video"
    with pytest.raises(ManifestError, match="Invalid value 'video'"):
        decode_manifest(msgspec.json.encode(page))
