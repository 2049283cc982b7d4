"""Images: what is decoded and how, what is refused and why."""

import io
import resource
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures
from simulators.bad_pictures import bomb, crumbled_jpeg, endless_jpeg, profile_bomb, text_bomb, thread

from protocols.errors import ImageRefusedError
from protocols.feeding import Image
from protocols.images import IMAGE_LIMIT_BYTES, SEGMENT_LIMIT, SIDE_LIMIT, figures, read_pixels, to_tensor

SMALL = Image("x", height=4, width=6)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def encoded(picture: Pictures.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def halves(size=(6, 4)) -> Pictures.Image:
    """Red on the left, green on the right."""
    picture = Pictures.new("RGB", size, RED)
    picture.paste(GREEN, (size[0] // 2, 0, *size))
    return picture


def refusal(data: bytes) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        read_pixels(data, SMALL)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_png_comes_out_as_it_went_in():
    pixels = read_pixels(encoded(halves()), SMALL)
    assert pixels.shape == (4, 6, 3)
    assert pixels[0, 0].tolist() == list(RED)
    assert pixels[0, 5].tolist() == list(GREEN)


def test_a_jpeg_comes_out_nearly_so():
    data = encoded(Pictures.new("RGB", (6, 4), (200, 100, 50)), "JPEG", quality=95)
    assert np.abs(read_pixels(data, SMALL).astype(int) - [200, 100, 50]).max() <= 3


def test_colours_and_layout_are_those_of_the_manifest():
    data = encoded(halves())
    assert read_pixels(data, Image("x", 4, 6, "BGR"))[0, 0].tolist() == [0, 0, 255]
    grey = Image("x", 4, 6, "L", scale=1.0)
    assert read_pixels(data, grey)[0, 0].tolist() == [76]
    assert to_tensor(read_pixels(data, grey), grey).shape == (1, 4, 6)
    rows_first = Image("x", 4, 6, layout="NHWC")
    assert to_tensor(np.stack([read_pixels(data, rows_first)] * 2), rows_first).shape == (2, 4, 6, 3)


def test_pixels_are_scaled_by_channel():
    image = Image("x", 4, 6, mean=(0.5, 0.25, 0.0), deviation=(0.5, 0.25, 2.0))
    tensor = to_tensor(read_pixels(encoded(halves()), image), image)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[:, 0, 0].tolist() == [1.0, -1.0, 0.0]


@pytest.mark.parametrize(("rule", "black", "left"), [("stretch", 0, RED), ("fit", 32, (0, 0, 0)), ("crop", 0, RED)])
def test_a_picture_of_other_proportions_is_resized_by_the_rule(rule, black, left):
    """Twice as high as wide, so that `fit` leaves a quarter of the width black on both sides."""
    pixels = read_pixels(encoded(halves((8, 16))), Image("x", 8, 8, resize=rule))
    assert int((pixels.sum(axis=2) == 0).sum()) == black
    assert pixels[4, 0].tolist() == list(left)


def test_crop_takes_the_middle():
    picture = Pictures.new("RGB", (12, 4), RED)
    picture.paste(GREEN, (4, 0, 8, 4))
    assert (read_pixels(encoded(picture), Image("x", 4, 4, resize="crop")) == GREEN).all()


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (3, 5)), (6, (0, 5)), (8, (3, 0))])
def test_a_picture_is_turned_upright_as_its_camera_says(orientation, corner):
    picture = Pictures.new("RGB", (6, 4) if orientation in (1, 3) else (4, 6))
    picture.putpixel((0, 0), RED)
    exif = Pictures.Exif()
    exif[0x0112] = orientation
    pixels = read_pixels(encoded(picture, exif=exif), SMALL)
    assert [tuple(place) for place in np.argwhere(pixels[:, :, 0] == 255).tolist()] == [corner]


def test_sixteen_bits_become_eight_and_are_not_clipped():
    deep = np.full((4, 6), 128 * 256, dtype=np.uint16)
    assert (read_pixels(encoded(Pictures.fromarray(deep)), SMALL) == 128).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGB"])
def test_every_mode_of_a_png_becomes_colour(mode):
    assert (read_pixels(encoded(Pictures.new("RGB", (6, 4), "white").convert(mode)), SMALL) == 255).all()


def test_a_palette_with_transparency_and_a_jpeg_for_printers_are_taken():
    palette = Pictures.new("RGB", (6, 4), "white").convert("P")
    assert (read_pixels(encoded(palette, transparency=bytes([0] * 256)), SMALL) == 255).all()
    printed = Pictures.new("RGB", (6, 4), "white").convert("CMYK")
    assert (read_pixels(encoded(printed, "JPEG"), SMALL) >= 250).all()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it is empty"),
        (b"hello there", "no JPEG or PNG: it begins 'hello there'"),
        (b'{"image": ""}', "bind its path: --input image=PATH"),
        (b"\0\1\2", "it begins with the bytes 00 01 02"),
        (("x" + "\u00e9" * 20).encode(), f"it begins 'x{7 * chr(0xE9)}'"),
        (encoded(halves(), "GIF"), "it is a GIF"),
        (encoded(halves(), "TIFF"), "a TIFF"),
        (encoded(halves(), "WEBP"), "WebP"),
    ],
)
def test_what_is_no_jpeg_or_png_is_refused_by_what_it_is(data, text):
    error = refusal(data)
    assert error.reason == "not-an-image"
    assert text in str(error)


def test_a_decompression_bomb_is_refused_by_its_header(monkeypatch):
    """Its pixels are never decoded: the loader would be reached, and is not."""
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("it was decoded"))
    error = refusal(bomb())
    assert error.reason == "too-large"
    assert "60000 x 60000 pixels" in str(error)


@pytest.mark.parametrize("make", [text_bomb, profile_bomb])
def test_what_a_png_carries_beside_its_pixels_is_no_way_around_the_limit(make):
    data = make()
    assert len(data) < 300_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(data).reason == "broken-image"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("lying", [False, True])
def test_few_enough_pixels_in_one_column_or_row_are_refused_by_their_header(monkeypatch, lying):
    """They would take up to a gigabyte: the loader would be reached, and is not."""
    data = thread(SIDE_LIMIT + 1, lying=lying)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("it was decoded"))
    error = refusal(data)
    assert error.reason == "too-large"
    assert f"{SIDE_LIMIT} on a side" in str(error)


def test_what_is_thin_takes_little_memory():
    data = thread()
    assert len(data) < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(data).reason == "too-large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_the_longest_side_that_is_allowed_is_taken():
    assert read_pixels(thread(SIDE_LIMIT), SMALL).shape == (4, 6, 3)


def test_a_jpeg_in_crumbs_is_refused_before_they_are_put_together():
    data = crumbled_jpeg()
    began = time.monotonic()
    error = refusal(data)
    assert (error.reason, time.monotonic() - began < 1) == ("too-large", True)
    assert f"more than {SEGMENT_LIMIT} parts before its pixels" in str(error)


def test_a_jpeg_with_large_data_beside_its_pixels_is_taken():
    """EXIF data, and seven megabytes of a profile in parts; what they hold looks like markers, and is none."""
    whole = encoded(halves(), "JPEG", quality=95)
    part = b"\xff\xe2\xff\xff" + b"\xff\xe1" * 32766 + b"\0"
    assert read_pixels(whole[:2] + part * 110 + whole[2:], SMALL).shape == (4, 6, 3)


def test_parts_are_counted_whatever_lies_between_them():
    """As Pillow goes on over padding, stray bytes and markers without a length, so must the count."""
    whole = encoded(halves(), "JPEG")
    for between in (b"", b"\xff\xff\xff", b"junk", b"\xff\x00", b"\xff\xd9"):
        crumbs = (b"\xff\xe1\0\x08Exif\0\0" + between) * (SEGMENT_LIMIT + 1)
        assert "parts before its pixels" in str(refusal(whole[:2] + crumbs + whole[2:]))


def test_a_jpeg_that_takes_hours_is_refused_before_it_begins():
    data = endless_jpeg()
    began = time.monotonic()
    error = refusal(data)
    assert (error.reason, time.monotonic() - began < 1) == ("too-large", True)
    assert "scans, and 50 are allowed" in str(error)


def test_a_progressive_jpeg_is_taken():
    data = encoded(halves((300, 200)), "JPEG", progressive=True, quality=95)
    assert read_pixels(data, SMALL)[0, 0] == pytest.approx(RED, abs=3)


def test_a_file_beyond_the_limit_is_not_opened():
    assert refusal(b"\xff\xd8\xff" + bytes(IMAGE_LIMIT_BYTES)).reason == "too-large"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused(form):
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Pictures.fromarray(noise), form)
    for share in (0.02, 0.3, 0.7, 0.95):
        error = refusal(whole[: int(len(whole) * share)])
        assert error.reason == "broken-image"
        assert f"a {form} that cannot be decoded" in str(error)


_WHOLE = {form: encoded(halves((40, 30)), form) for form in ("JPEG", "PNG")}


@pytest.mark.filterwarnings("default")
@given(st.sampled_from(["JPEG", "PNG"]), st.lists(st.tuples(st.integers(8, 400), st.integers(0, 255)), min_size=1))
def test_damaged_bytes_give_pixels_or_one_line(form, changes):
    data = bytearray(_WHOLE[form])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        assert read_pixels(bytes(data), SMALL).shape == (4, 6, 3)
    except ImageRefusedError as error:
        assert "\n" not in str(error)


def test_figures_follow_light_and_focus():
    random = np.random.default_rng(2)
    sharp = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    blurred = (sharp.astype(np.float32) / 8 + 100).astype(np.uint8)
    image = Image("x", 32, 32)
    brightness, contrast, sharpness = figures(sharp, image)
    assert brightness == pytest.approx(127, abs=6)
    assert figures(blurred, image)[1] < contrast / 4
    assert figures(blurred, image)[2] < sharpness / 4
    assert figures(sharp[:, :, ::-1], Image("x", 32, 32, "BGR")) == pytest.approx((brightness, contrast, sharpness))
    assert figures(np.zeros((1, 1, 1), np.uint8), Image("x", 1, 1, "L")) == (0.0, 0.0, 0.0)
