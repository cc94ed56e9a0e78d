"""The formats of photos: the endings that are looked for, and the only decoders that are ever called.

Pillow has decoders for 45 formats, one of which starts Ghostscript. A photo is what one of these few opens, by its
content, whatever its name.
"""

import functools

# Pillow's name of each decoder, and the endings of its files. TGA files have no signature: they come last.
PHOTO_FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
    "TGA": (".tga",),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in PHOTO_FORMATS.values() for suffix in suffixes)
_BLOCK = 1 << 26  # bytes; up to 1 << 25 the C library allocates from memory that it keeps
# ISO/IEC 23008-12: the brands that an HEIC file names after "ftyp"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@functools.cache
def decoders() -> tuple[str, ...]:
    """Load the available decoders, before threads do, and return their names.

    Pillow loads decoders when a file first needs them, and two threads that do so at once may each assume that the
    other has finished.
    """
    from PIL import Image

    # Large blocks go back to the system when they are freed; of smaller ones each thread would keep its own
    Image.core.set_block_size(_BLOCK)  # type: ignore[attr-defined] # as Pillow documents it
    Image.preinit()
    for name in ("Avif", "Jpeg2K", "Mpo", "Tga", "Tiff", "WebP"):
        __import__(f"PIL.{name}ImagePlugin")  # Mpo: Pillow's JPEG decoder hands some files to it
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    return tuple(name for name in PHOTO_FORMATS if name in Image.OPEN)


def is_heif(start: bytes) -> bool:
    """Tell whether a file that begins with these 12 bytes is HEIC, which needs a package of its own."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS
