"""`regraft cache`: what is kept so that no photo goes through a network twice."""

import time
from typing import Annotated

import typer

from regraft.cache import cache_folder
from regraft.cli.console import result
from regraft.errors import counted, printable


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Empty the cache.")] = False,
) -> None:
    """Show or empty the cache of features and converted networks.

    It holds only what can be computed again.
    """
    from regraft import cache as store

    if clear:
        result(f"freed {store.clear() / 1e6:.1f} MB in {printable(cache_folder())}")
        return
    infos, converted = store.describe(), store.converted_size()
    size = sum(info.size for info in infos) + converted
    result(f"{printable(cache_folder())}: {size / 1e6:.1f} of {store.size_limit() / 1e6:,.0f} MB")
    if converted:
        result(f"  networks converted for faster engines: {converted / 1e6:.1f} MB")
    for info in infos:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.last_used))
        result(
            f"  {printable(info.about.get('architecture', 'unknown'))}  {counted(info.vectors, 'photo')}  "
            f"{info.size / 1e6:.1f} MB  {printable(info.about.get('engine', ''))}  last used {used}"
        )
