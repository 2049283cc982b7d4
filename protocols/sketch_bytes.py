"""What sketch bytes must be before Apache DataSketches may read them.

The library reads native structures and trusts their lengths: bytes that were cut or altered can end the process.
They come from the wire, so every length, count and order is checked here first.

Source: Apache DataSketches C++ 5.2, kll_sketch_impl.hpp and frequent_items_sketch_impl.hpp, `serialize`.
"""

import itertools
import struct

import numpy as np

from protocols.errors import SketchError

_KLL_FAMILY, _FREQUENT_FAMILY = 15, 10
#: flags of a KLL sketch
_KLL_EMPTY, _LEVEL_ZERO_SORTED, _KLL_SINGLE = 1, 2, 4
_KLL_M, _KLL_LEVELS = 8, 60
#: No sketch of ours is larger; the sum of both sides of a merge is bounded by it.
_KLL_K_LIMIT, _FREQUENT_LG_LIMIT = 4096, 12


def check_kll(data: bytes) -> None:
    """Return if the bytes are a sound KLL sketch of float32.

    Raises:
        SketchError: they are not; the text says where.
    """
    if len(data) < 8:
        raise SketchError(f"not a KLL sketch: {len(data)} bytes")
    ints, serial, family, flags, k, m = struct.unpack_from("<BBBBHB", data)
    if family != _KLL_FAMILY or m != _KLL_M or not _KLL_M <= k <= _KLL_K_LIMIT:
        raise SketchError(f"not a KLL sketch: family {family}, m {m}, k {k}")
    if flags & _KLL_EMPTY:
        _check_kll_form(data, (ints, serial) == (2, 1), 8)
    elif flags & _KLL_SINGLE:
        _check_kll_form(data, (ints, serial) == (2, 2), 12)
        _check_items(np.frombuffer(data, "<f4", offset=8), [0, 1], level_zero_sorted=True)
    else:
        _check_kll_form(data, (ints, serial) == (5, 1), None)
        _check_kll_full(data, k, level_zero_sorted=bool(flags & _LEVEL_ZERO_SORTED))


def _check_kll_form(data: bytes, form_fits: bool, length: int | None) -> None:
    if not form_fits or (length is not None and len(data) != length):
        raise SketchError(f"not a KLL sketch: {len(data)} bytes contradict its form")


def _check_kll_full(data: bytes, k: int, *, level_zero_sorted: bool) -> None:
    if len(data) < 20:
        raise SketchError("not a KLL sketch: cut short")
    n, min_k, count = struct.unpack_from("<QHB", data, 8)
    start = 20 + 4 * count
    if not 1 <= count <= _KLL_LEVELS or not _KLL_M <= min_k <= k or len(data) < start + 8:
        raise SketchError(f"not a KLL sketch: {count} levels, least k {min_k}, {len(data)} bytes")
    levels = [*struct.unpack_from(f"<{count}I", data, 20), _kll_capacity(k, count)]
    sizes = [after - before for before, after in itertools.pairwise(levels)]
    if min(sizes) < 0 or sum(size << height for height, size in enumerate(sizes)) != n:
        raise SketchError(f"not a KLL sketch: its levels do not hold {n} values")
    if len(data) != start + 8 + 4 * sum(sizes):
        raise SketchError(f"not a KLL sketch: {len(data)} bytes for {sum(sizes)} values")
    least, most = np.frombuffer(data, "<f4", count=2, offset=start)
    items = np.frombuffer(data, "<f4", offset=start + 8)
    _check_items(items, [level - levels[0] for level in levels], level_zero_sorted=level_zero_sorted)
    if not np.isfinite([least, most]).all() or items.min() < least or items.max() > most:
        raise SketchError("not a KLL sketch: values beyond its least and most")


def _check_items(
    items: "np.ndarray[tuple[int], np.dtype[np.float32]]", levels: list[int], *, level_zero_sorted: bool
) -> None:
    if not items.size or not np.isfinite(items).all():
        raise SketchError("not a KLL sketch: values that are not finite, or none")
    for height in range(0 if level_zero_sorted else 1, len(levels) - 1):
        level = items[levels[height] : levels[height + 1]]
        if (level[1:] < level[:-1]).any():
            raise SketchError(f"not a KLL sketch: level {height} is out of order")


def _kll_capacity(k: int, levels: int) -> int:
    """Return how many values a sketch with so many levels has room for."""
    return sum(max(_KLL_M, _level_capacity(k, levels - height - 1)) for height in range(levels))


def _level_capacity(k: int, depth: int) -> int:
    """k * (2/3) ** depth, rounded as the library rounds it: in two steps beyond a depth of 30."""
    if depth > 30:
        half = depth // 2
        return _level_capacity(_level_capacity(k, half), depth - half)
    scaled: int = (k << 1 << depth) // 3**depth
    return (scaled + 1) >> 1


def check_frequent_items(data: bytes) -> None:
    """Return if the bytes are a sound frequent-items sketch of UTF-8 strings, each behind its 16-bit length.

    Raises:
        SketchError: they are not; the text says where.
    """
    if len(data) < 8:
        raise SketchError(f"not a frequent-items sketch: {len(data)} bytes")
    longs, serial, family, lg_most, lg_now, flags = struct.unpack_from("<BBBBBB", data)
    if family != _FREQUENT_FAMILY or serial != 1 or not 3 <= lg_now <= lg_most <= _FREQUENT_LG_LIMIT:
        raise SketchError(f"not a frequent-items sketch: family {family}, size 2^{lg_now} of 2^{lg_most}")
    if flags & 5:
        if longs != 1 or len(data) != 8:
            raise SketchError(f"not a frequent-items sketch: empty, and {len(data)} bytes")
        return
    if longs != 4 or len(data) < 32:
        raise SketchError("not a frequent-items sketch: cut short")
    count, _, total, offset = struct.unpack_from("<IIQQ", data, 8)
    if not 1 <= count <= 3 << lg_now >> 2 or len(data) < 32 + 8 * count:
        raise SketchError(f"not a frequent-items sketch: {count} items in {len(data)} bytes")
    weights = struct.unpack_from(f"<{count}Q", data, 32)
    if min(weights) < 1 or sum(weights) > total or offset > total:
        raise SketchError(f"not a frequent-items sketch: weights beyond the total {total}")
    _check_texts(data[32 + 8 * count :], count)


def _check_texts(data: bytes, count: int) -> None:
    texts = set()
    for _ in range(count):
        size = int.from_bytes(data[:2], "little")
        text, data = data[2 : 2 + size], data[2 + size :]
        if len(text) != size or not size or not _is_utf8(text):
            raise SketchError("not a frequent-items sketch: an item is cut short, empty or not UTF-8")
        texts.add(text)
    if data or len(texts) != count:
        raise SketchError("not a frequent-items sketch: an item twice, or bytes after the last")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
