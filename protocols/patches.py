"""Patches: what turns one file into another, as Zstandard makes it with the old file for its prefix.

A patch is no matter of trust: what it makes is verified as the whole file would be. It is a matter of size: a patch
that saves little is not worth its memory on the device.
"""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from collections.abc import Iterable, Iterator

#: Smaller files travel whole: the round trip that a patch costs is worth more.
LEAST_FILE_BYTES = 64 * 1024
#: A patch travels if it is at most this share of the file.
WORTH_SHARE = 0.8
_CHUNK_BYTES = 256 * 1024
_LEVEL = 6


class PatchError(ValueError):
    """Bytes that are no patch of this base, or make more than they may."""


def patch_resource(target: str, base_sha256: str, sha256: str) -> str:
    """The resource that is the patch of a target path, `ccpp/3/model.onnx`, from the file of another digest."""
    folder, _, file = target.rpartition("/")
    return f"image/patches/{folder}/{base_sha256}.{sha256}.{file}"


def patch_limit(size_bytes: int) -> int:
    """Return how large the patch of a file may be."""
    return int(size_bytes * WORTH_SHARE)


def memory_needed(base_bytes: int, size_bytes: int) -> int:
    """Return what applying a patch takes in memory: the base, and a window that covers both."""
    return base_bytes + (1 << _window_log(base_bytes, size_bytes))


def make_patch(base: bytes, chunks: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """Yield the patch that makes `chunks` (`size_bytes` in all) of `base`."""
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {
        parameter.compression_level: _LEVEL,
        parameter.window_log: _window_log(len(base), size_bytes),
        parameter.enable_long_distance_matching: 1,
        parameter.checksum_flag: 1,
    }
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=_prefix(base))
    compressor.set_pledged_input_size(size_bytes)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def apply_patch(base: bytes, chunks: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """Yield the file, at most `size_bytes`, that a patch makes of `base`, piece by piece.

    Raises:
        PatchError: it is not a patch of this base, wants a larger window than it needs, or makes more.
    """
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _window_log(len(base), size_bytes)}
    made = 0
    try:
        decompressor = zstd.ZstdDecompressor(options=options, zstd_dict=_prefix(base))
        for chunk in chunks:
            while chunk or not decompressor.needs_input:
                if decompressor.eof:
                    raise PatchError("more follows its end")
                piece = decompressor.decompress(chunk, max_length=_CHUNK_BYTES)
                chunk = b""
                made += len(piece)
                if made > size_bytes:
                    raise PatchError(f"it makes more than {size_bytes} bytes")
                yield piece
                if decompressor.eof:
                    break
    except zstd.ZstdError as error:
        raise PatchError(str(error)) from error
    if not decompressor.eof:
        raise PatchError("it ends too early")


def _prefix(base: bytes) -> "tuple[zstd.ZstdDict, int] | None":
    # Zstandard takes nothing under 8 bytes for a dictionary, and needs none.
    return zstd.ZstdDict(base, is_raw=True).as_prefix if len(base) >= 8 else None


def _window_log(base_bytes: int, size_bytes: int) -> int:
    return min(max(max(base_bytes, size_bytes).bit_length(), 10), 31)
