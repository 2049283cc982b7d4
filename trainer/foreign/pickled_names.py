"""The names that a pickle would import, told by following its stack and its memo; nothing of it is run.

A name is what GLOBAL says, or the two texts that STACK_GLOBAL finds on the stack, whichever way they came there. What
else lies on the stack is followed as "something": a name that is made from it cannot be told, and is said to be so.

Source: Python's `pickletools`, whose table says what each opcode takes from the stack and puts there.
"""

import pickletools
from collections.abc import Iterator

#: Stands among the names for one that only running the pickle would tell.
UNTOLD = "a name that is made while it is loaded"

_MARK = pickletools.markobject
#: Stands on the stack for what was imported.
_NAMED = object()
_TEXTS = {opcode.name for opcode in pickletools.opcodes if opcode.name.endswith(("UNICODE", "UNICODE8", "STRING"))}
_GETS = ("GET", "BINGET", "LONG_BINGET")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")


def pickled_names(data: bytes) -> Iterator[str]:
    """Yield each name that a pickle would import, as module.name, in its order; `UNTOLD` for one that is not told.

    What is named must not be given a state either, by which a function would be made another: `UNTOLD`, too.

    Raises:
        ValueError: it is no pickle from here on; what came before would already have been run.
    """
    stack: list[object] = []
    memo: dict[object, object] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".", 1)
            elif opcode.name == "STACK_GLOBAL":
                module, name = stack[-2:]
                yield f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else UNTOLD
            # An extension is a number, for which copyreg knows a name.
            elif opcode.name.startswith("EXT") or (opcode.name == "BUILD" and stack[-2] is _NAMED):
                yield UNTOLD
            _follow(opcode, argument, stack, memo)
    except (LookupError, ArithmeticError, MemoryError) as error:
        raise ValueError(f"no pickle: {error}") from error


def _follow(opcode: pickletools.OpcodeInfo, argument: object, stack: list[object], memo: dict[object, object]) -> None:
    """Do to the stack and the memo what an opcode does."""
    if opcode.name in _PUTS:
        memo[len(memo) if argument is None else argument] = stack[-1]
        return
    top = stack[-1] if stack else None
    taken = len(opcode.stack_before)
    if _MARK in opcode.stack_before:
        while stack.pop() is not _MARK:
            pass
        taken = opcode.stack_before.index(_MARK)
    if taken > len(stack):
        raise ValueError("no pickle: it takes more than there is")
    del stack[len(stack) - taken :]
    if opcode.name in _TEXTS:
        stack.append(argument)
    elif opcode.name in _GETS:
        stack.append(memo[argument])
    elif opcode.name in ("GLOBAL", "STACK_GLOBAL"):
        stack.append(_NAMED)
    elif opcode.name == "DUP":
        stack += [top, top]
    else:
        stack += [_MARK if put is _MARK else None for put in opcode.stack_after]
