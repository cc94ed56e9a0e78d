"""`regraft cache`: what is kept so that no photo goes through a network twice."""

import time
from typing import Annotated

import typer

from regraft.cli.console import counted, result


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Empty the cache.")] = False,
) -> None:
    """Show what the cache of features holds, or empty it. Only what can be computed again is in it."""
    from regraft.learn import store

    if clear:
        result(f"freed {store.clear() / 1e6:.1f} MB in {store.features_folder()}")
        return
    infos = store.describe()
    result(f"{store.features_folder()}: {sum(i.size for i in infos) / 1e6:.1f} of {store.size_limit() / 1e6:,.0f} MB")
    for info in infos:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.last_used))
        result(
            f"  {info.about.get('architecture', 'unknown')}  {counted(info.vectors, 'photo')}  "
            f"{info.size / 1e6:.1f} MB  {info.about.get('engine', '')}  last used {used}"
        )
