"""Code in PyTorch archives and pickles, hidden in the ways that it can be hidden; and honest ones, which pass."""

import collections
import datetime
import decimal
import io
import json
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.foreign.code_inside import code_in
from trainer.foreign.kinds import Found
from trainer.foreign.pickled_names import UNTOLD, pickled_names


def zipped(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return data.getvalue()


def text(content: str) -> bytes:
    """The opcode that pushes a text."""
    return pickle.SHORT_BINUNICODE + bytes([len(content)]) + content.encode()


CALL = text("id") + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
BEGIN = pickle.PROTO + b"\x04"
SYSTEM = text("os") + pickle.MEMOIZE + text("system") + pickle.MEMOIZE
ALLOWED = text("collections") + text("OrderedDict")
#: What PyTorch writes for a tensor, less its numbers, which lie beside it.
TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01ctorch\nFloatStorage\nq\x02"
    b"X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04K\x02tq\x05QK\x00K\x02\x85q\x06K\x01\x85q\x07\x89"
    b"ccollections\nOrderedDict\nq\x08)Rq\ttq\nRq\x0b."
)
PROGRAM = {
    "graph_module": {
        "graph": {
            "inputs": [{"as_tensor": {"name": "rows"}}],
            "nodes": [
                {
                    "target": "torch.ops.aten.linear.default",
                    "inputs": [{"name": "input", "arg": {"as_tensor": {"name": "rows"}}, "kind": 1}],
                    "metadata": {"stack_trace": "File 'net.py', line 3, in forward\n    return self.inner(rows)"},
                },
                {"target": "_operator.mul", "inputs": [{"name": "a", "arg": {"as_int": 2}}], "metadata": {}},
                {"target": "torch.ops.higher_order.cond", "inputs": [], "metadata": {}},
                {"target": "torch.ops.aten.__and__.Tensor", "inputs": [], "metadata": {}},
            ],
            "tensor_values": {
                "rows": {
                    "sizes": [
                        {"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 4}}},
                        {"as_expr": {"expr_str": "Add(Mul(Integer(2), Symbol('s77', integer=True)), Integer(-1))"}},
                        {"as_expr": {"expr_str": "FloorDiv(Symbol('s77', integer=True), Integer(2))"}},
                        {"as_int": 3},
                    ]
                }
            },
        },
        "signature": {"input_specs": [{"parameter": {"parameter_name": "inner.0.weight"}}]},
        "module_call_graph": [
            {
                "fqn": "",
                "signature": {
                    "in_spec": '[1, {"type": "builtins.dict", "context": "[\\"rows\\"]", "children_spec": []}]',
                    "out_spec": '[1, {"type": null, "context": null, "children_spec": []}]',
                    "forward_arg_names": ["rows"],
                },
            }
        ],
    },
    "guards_code": ["L['rows'].size()[0] >= 2", "Eq(Mod(L['rows'].size()[0], 2), 0)", "not (math.ceil(1.5) < 2)"],
}
WEIGHTS = {"config": {"inner.weight": {"path_name": "weight_0", "is_param": True, "use_pickle": False}}}
EXPORTED = {
    "m/archive_format": b"pt2",
    "m/models/model.json": json.dumps(PROGRAM).encode(),
    "m/data/weights/model_weights_config.json": json.dumps(WEIGHTS).encode(),
    "m/data/weights/weight_0": b"cos\nsystem\n",  # numbers, whatever they look like
    "m/data/constants/model_constants_config.json": b'{"config": {}}',
    "m/data/sample_inputs/model.pt": zipped({"a/data.pkl": TENSOR, "a/data/0": b"\0" * 8}),
}
SCRIPT = {"m/constants.pkl": b"\x80\x02).", "m/code/m.py": b"", "m/data.pkl": TENSOR}


def seen_in(folder: Path, members: dict[str, bytes], kind: Any = "torch-program") -> str | None:
    file = folder / "m.pt2"
    file.write_bytes(zipped(members))
    return code_in(Found(kind, file))


def test_an_honest_archive_passes(tmp_path: Path) -> None:
    assert seen_in(tmp_path, EXPORTED) is None
    assert seen_in(tmp_path, {**EXPORTED, "m/data/sample_inputs/model.pt": b""}) is None
    assert seen_in(tmp_path, SCRIPT, "torchscript") is None


HIDDEN = {
    "in the memo, under an allowed name": (
        BEGIN + SYSTEM + b"00" + ALLOWED + b"00" + pickle.BINGET + b"\0" + pickle.BINGET + b"\1" + b"\x93" + CALL,
        "calls os.system",
    ),
    "in a long memo": (
        BEGIN + text("os") + pickle.LONG_BINPUT + b"\0\1\0\0" + b"0" + text("collections") + b"0" + pickle.LONG_BINGET
        + b"\0\1\0\0" + text("system") + b"\x93" + CALL,
        "calls os.system",
    ),
    "in a memo of text": (
        BEGIN + text("os") + b"p7\n0" + text("collections") + b"0g7\n" + text("system") + b"\x93" + CALL,
        "calls os.system",
    ),
    "under a slice that is thrown away": (
        BEGIN + SYSTEM + pickle.MARK + ALLOWED + pickle.POP_MARK + b"\x93" + CALL, "calls os.system"
    ),
    "as one text twice": (BEGIN + text("posix") + pickle.DUP + ALLOWED + b"00" + b"\x93" + CALL, "calls posix.posix"),
    "as what a harmless function gives back": (
        BEGIN + b"ctorch.jit._pickle\nrestore_type_tag\n" + text("os") + text("str") + pickle.TUPLE2 + pickle.REDUCE
        + text("system") + b"\x93" + CALL,
        f"calls {UNTOLD}",
    ),
    "as a number of a registry": (b"\x80\x02" + pickle.EXT1 + b"\x01)R.", f"calls {UNTOLD}"),
    "as an instance": (b"(S'id'\nios\nsystem\n.", "calls os.system"),
    "behind a module that PyTorch has": (BEGIN + text("torch") + text("os.system") + b"\x93" + CALL, "torch.os.system"),
    "in a pickle inside a pickle": (b"\x80\x02ctorch.storage\n_load_from_bytes\n)R.", "torch.storage._load_from_bytes"),
    "before a break": (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R\xff", "calls os.system"),
    "taken from an empty stack": (BEGIN + b"\x93" + CALL, "a pickle that cannot be read"),
    "taken from an empty memo": (BEGIN + pickle.BINGET + b"\7.", "a pickle that cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("how", HIDDEN)
def test_a_name_hidden_in_a_pickle_is_told(tmp_path: Path, how: str) -> None:
    data, says = HIDDEN[how]
    assert says in str(seen_in(tmp_path, {**SCRIPT, "m/data.pkl": data}, "torchscript"))
    inner = zipped({"a/data.pkl": data})
    assert says in str(seen_in(tmp_path, {**EXPORTED, "m/data/sample_inputs/model.pt": inner}))


def test_the_attack_by_the_memo_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("os.system", called.append)
    pickle.loads(HIDDEN["in the memo, under an allowed name"][0])  # noqa: S301
    assert called == ["id"]


def program(**given: Any) -> bytes:
    return json.dumps({**PROGRAM, **given}).encode()


def node(**given: Any) -> bytes:
    return program(extra=[{"target": "torch.ops.aten.relu.default", **given}])


BARE = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."
MODEL, CONFIG = "m/models/model.json", "m/data/weights/model_weights_config.json"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("m/data/weights/model.pt", b"x", "model.pt is no archive of tensors but a bare pickle"),
        ("m/data/weights/model.pt", BARE, "is no archive of tensors but a bare pickle"),
        ("m/data/weights/model.pt", BARE + zipped({"a/data.pkl": TENSOR}), "a bare pickle"),
        ("m/data/weights/model.pt", zipped({"a/data.pkl": TENSOR})[:40], "an archive in it that cannot be read"),
        ("M/DATA/WEIGHTS/MODEL.PT", zipped({"a/DATA.PKL": BARE}), "calls os.system"),
        (CONFIG, b'{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}', "names a pickle"),
        (CONFIG, b'{"config": {"w": {"path_name": "opaque_obj_0", "use_pickle": false}}}', "names a pickle"),
        (CONFIG, b'{"config": []}', "weights_config.json, which cannot be read"),
        ("m/data/aotinductor/model/a.so", b"\x7fELF", "is a part of a compiled library"),
        ("serialized_state_dict.json", BARE, "a bare pickle"),
        (MODEL, b"{", "a program in it that cannot be read"),
        (MODEL, b"[" * 100_000, "a program in it that cannot be read"),
        (MODEL, node(target="torch.os.system"), "the program in it calls 'torch.os.system'"),
        (MODEL, node(target="torch.ops.load_library"), "calls 'torch.ops.load_library'"),
        (MODEL, node(target="torch.ops.aten.__class__.mro"), "calls 'torch.ops.aten.__class__.mro'"),
        (MODEL, node(target="torch.ops.aten.from_file.default"), "calls 'torch.ops.aten.from_file.default'"),
        (MODEL, node(target="_operator.methodcaller"), "calls '_operator.methodcaller'"),
        (MODEL, node(inputs=[{"arg": {"as_operator": "torch.hub.load"}}]), "calls 'torch.hub.load'"),
        (MODEL, program(size={"expr_str": "__import__('os').system('id')"}), 'evaluates "__import__('),
        (MODEL, program(size={"expr_str": "eval(chr(105))"}), "evaluates 'eval(chr(105))'"),
        (MODEL, program(size={"expr_str": "FloorDiv('eval(chr(105))', 2)"}), "evaluates"),
        (MODEL, program(size={"expr_str": "(lambda: 0)()"}), "evaluates"),
        (MODEL, program(size={"expr_str": "Symbol('a').func"}), "evaluates"),
        (MODEL, program(guards_code=["torch.os.system('id')"]), "evaluates \"torch.os.system('id')\""),
        (MODEL, program(guards_code=["L['a\" + exec(1) + \"'] > 1"]), "evaluates"),
        (MODEL, program(guards_code=["1 > 0)\n  exec(1"]), "evaluates"),
        (MODEL, program(guards_code=["max(b'exec(1)', b'1', key=exec) == 1"]), "evaluates"),
        (MODEL, program(guards_code=["max('import os', 'x', key=exec)"]), "evaluates"),
        (MODEL, program(guards_code=["max(L['rows'].size()[0], exec)"]), "evaluates"),
        (MODEL, program(guards_code=["L['rows'].size(math.e)"]), "evaluates"),
        (MODEL, node(target="torch.ops.aten.save.default"), "calls 'torch.ops.aten.save.default'"),
        (MODEL, program(signature={"in_spec": '[1, {"context": "{\\"__enum__\\": true}"}]'}), "has the nesting"),
        (MODEL, program(signature={"in_spec": '[1, {"context": "[\\"default_factory_module\\"]"}]'}), "the nesting"),
        ("m/code/m.py", b"  _0 = torch.save(x, 'path')", "m/code/m.py calls torch.save"),
        (
            "m/data/sample_inputs/model.pt",
            zipped({"a/data.pkl": b"ctorch.jit._pickle\n__builtins__\n."}),
            "__builtins__",
        ),
        ("m/data/sample_inputs/model.pt", zipped({"a/data.pkl": b"c__torch__.a\nB\n."}), "calls __torch__.a.B"),
        (
            "m/data/sample_inputs/model.pt",
            zipped({"a/data.pkl": b"ctorch._utils\n_rebuild_tensor_v2\n}b."}),
            "a name that is made while it is loaded",
        ),
        (MODEL, node(name="x=exec('1')"), "has the name \"x=exec('1')\""),
        (MODEL, program(signature={"forward_arg_names": ["rows", "x=exec(1)"]}), "has the name 'x=exec(1)'"),
        (MODEL, program(signature={"parameter_name": 'w"), exec("1'}), "has the name"),
        (MODEL, program(signature={"in_spec": '{"context": "[\\"x=exec(1)\\"]"}'}), "has the name"),
        (MODEL, program(signature={"in_spec": '{"context": "[\\"x\\\\u003dy\\"]"}'}), "has the name"),
    ],
)
def test_code_in_an_exported_program_is_told(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    members = {key: value for key, value in EXPORTED.items() if key != name}
    assert says in str(seen_in(tmp_path, {**members, name: data}))


def test_the_second_of_two_entries_with_one_name_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "m.pt2"
    for first, second in ((TENSOR, BARE), (BARE, TENSOR)):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("m/data.pkl", first)
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("m/data.pkl", second)
        assert "calls os.system" in str(code_in(Found("torchscript", file)))


def test_an_entry_that_cannot_be_unpacked_is_told(tmp_path: Path) -> None:
    whole = bytearray(zipped({"m/data.pkl": TENSOR}))
    whole[40] ^= 0xFF  # its checksum no longer holds
    (tmp_path / "m.pt").write_bytes(whole)
    assert "cannot be read" in str(code_in(Found("torchscript", tmp_path / "m.pt")))


class Recorder(pickle.Unpickler):
    """Loads a pickle, and notes what it imports."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(f"{module}.{name}")
        return super().find_class(module, name)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_names_of_an_honest_pickle_are_those_that_it_imports(protocol: int) -> None:
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})
    made = [
        (collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], 3), {1, 2}, frozenset("a")),
        [decimal.Decimal("1.5"), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), 1j, b"x", bytearray(b"y")],
        (np.arange(3.0), np.float32(1), table, make_pipeline(StandardScaler(), Ridge()).fit(table, [1.0, 2.0, 3.0])),
    ]
    for data in (pickle.dumps(made, protocol), pickletools.optimize(pickle.dumps(made, protocol))):
        recorder = Recorder(data)
        recorder.load()
        assert list(pickled_names(data)) == recorder.names
        assert len(recorder.names) > 10
