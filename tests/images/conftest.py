"""Photos that differ from each other, as the tests of data sets have them."""

from tests.data.conftest import parquet, pixels, png, write  # noqa: F401 (fixtures)
