"""What of an exported PyTorch program's JSON would run its maker's code when it is loaded.

Texts of it become code: a node's `target` is looked up from `torch` downwards and called; formulas of sizes and guards
of the inputs are evaluated; names are written into the Python function that the program becomes. Allowed are PyTorch's
operators, arithmetic of sizes, and names that are names.

Source: PyTorch 2.13, `torch/_export/serde/serialize.py` (`deserialize_operator`, `_parse_sym_expr`) and
`torch/export/_unlift.py`; SymPy, "sympify", which evaluates what it is given.
"""

import ast
import json
import re
from collections.abc import Iterator

_OPERATORS = re.compile(
    r"torch\.ops\.(?:aten|prims?|quantized|quantized_decomposed|torchvision|onnx|onnx_symbolic)"
    r"\.(?!(?:from_file|save|load)\b)(?:(?!__)\w+|__i?(?:and|or|xor|lshift|rshift)__)(?:\.(?!__)\w+)?"
    r"|torch\.ops\.higher_order\.(?!__)(?!\w*(?:delegate|triton|torchbind|print))\w+"
    r"|torch\._?sym_\w+|math\.[a-z]\w*"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|and_|or_|not_|xor|lshift|rshift"
    r"|eq|ne|lt|le|gt|ge)"
)
#: What SymPy writes sizes with, what PyTorch adds to it, and what guards call.
_FUNCTIONS = {
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "And", "Or", "Not",
    "Equality", "Unequality", "Eq", "Ne", "LessThan", "GreaterThan", "StrictLessThan", "StrictGreaterThan", "Piecewise",
    "ExprCondPair", "floor", "ceiling", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt",
    "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv",
    "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat",
    "Identity", "abs", "max", "min",
}  # fmt: skip
#: What a symbol may be said to be.
_ASSUMPTIONS = {"positive", "nonnegative", "nonzero", "negative", "integer", "real", "rational", "finite", "evaluate"}
#: Symbols, as PyTorch names them, and the inputs of a guard; no name that Python itself knows.
_SYMBOL = re.compile(r"[szu][a-z]{0,2}\d+|L")
_METHODS = ("size", "stride", "storage_offset", "dim", "numel")
#: No line ends, which SymPy leaves out; no comments and no escapes.
_FORMULA = re.compile(r"[ \w()\[\]+\-*/%<>=!~&|,.'\"]*", re.ASCII)
_NAME, _PATH, _TEXT = re.compile(r"[\w.]*"), re.compile(r"[\w.\-/ ]*"), re.compile(r"[\w.+\- ]*")
#: The nesting of inputs and outputs, in JSON; without it, the keys of a dictionary would be written as code.
_NESTING = re.compile(r"(?:[\w\[\]{}\":,.<> \-]|\\\")*")


def code_in_program(data: bytes) -> str | None:
    """Return what of an exported program's JSON runs code, in words; None where nothing was seen."""
    try:
        return next((said for key, text in _texts(json.loads(data)) if (said := _code_in_text(key, text))), None)
    except (ValueError, RecursionError):
        return "a program in it that cannot be read"


def _texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a JSON document with the key that it, or the list that it is in, belongs to."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)


def _code_in_text(key: str, text: str) -> str | None:
    shown = repr(text[:80])
    if key in ("target", "as_operator"):
        return None if _OPERATORS.fullmatch(text) else f"the program in it calls {shown}"
    if key in ("expr_str", "guards_code"):
        return None if _is_formula(text) else f"the program in it evaluates {shown}"
    if key in ("name", "as_name", "forward_arg_names"):
        allowed = _NAME
    elif key in ("in_spec", "out_spec"):
        if "__" in text or "default_factory" in text:  # its types are looked up in modules that it names
            return f"the program in it has the nesting {shown}"
        allowed = _NESTING
    elif key.endswith("_name"):
        allowed = _PATH
    else:
        return None
    return None if allowed.fullmatch(text) else f"the program in it has the name {shown}"


def _is_formula(text: str) -> bool:
    """Whether a text is arithmetic of symbols and sizes, and nothing else."""
    if not _FORMULA.fullmatch(text) or "__" in text:
        return False
    try:
        return _is_arithmetic(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_arithmetic(node: ast.AST) -> bool:
    """Whether an expression is of the few forms that are allowed here, and so is all in it."""
    match node:
        case ast.Constant(value=str(text)):  # SymPy evaluates it where a function is given it
            return _TEXT.fullmatch(text) is not None
        case ast.Constant(value=value):
            return isinstance(value, int | float)
        case ast.Name(id=name):
            return _SYMBOL.fullmatch(name) is not None
        case ast.UnaryOp(operand=inner):
            return _is_arithmetic(inner)
        case ast.BinOp(left=left, right=right) | ast.Subscript(value=left, slice=right):
            return _is_arithmetic(left) and _is_arithmetic(right)
        case ast.BoolOp(values=parts):
            return all(map(_is_arithmetic, parts))
        case ast.Compare(left=left, comparators=others):
            return all(map(_is_arithmetic, [left, *others]))
        case ast.Call(func=called, args=given, keywords=named):
            return _may_be_called(called) and all(map(_is_arithmetic, given)) and all(map(_is_assumption, named))
    return False


def _may_be_called(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _FUNCTIONS
        case ast.Attribute(value=ast.Name(id="math"), attr=name):
            return name.isalnum()
        case ast.Attribute(value=ast.Name(id="torch"), attr=name):
            return name.startswith(("sym_", "_sym_"))
        case ast.Attribute(value=ast.Subscript() as of, attr=name):  # of an input: L['rows'].size()
            return name in _METHODS and _is_arithmetic(of)
    return False


def _is_assumption(given: ast.keyword) -> bool:
    return given.arg in _ASSUMPTIONS and isinstance(given.value, ast.Constant) and isinstance(given.value.value, bool)
