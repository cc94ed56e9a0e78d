"""Formats: one list of endings and decoders."""

from regraft.images.formats import IMAGE_SUFFIXES, PHOTO_FORMATS, decoders


def test_image_suffixes_are_compared_in_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic"} <= IMAGE_SUFFIXES


def test_only_decoders_of_photos_are_called() -> None:
    """None of Pillow's that start a process (EPS) or are for other things than photos."""
    assert set(decoders()) == {
        *("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "HEIF", "TGA"),
    }
    assert {suffix for name in decoders() for suffix in PHOTO_FORMATS[name]} == set(IMAGE_SUFFIXES)
