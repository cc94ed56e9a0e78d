"""`regraft fit --dry-run` with several networks: which, how many features they give, and how long that takes."""

from collections.abc import Mapping

from regraft.cli.console import counted, note, result, result_json
from regraft.cli.training_options import networks_to_choose_from
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import printable
from regraft.networks.names import NetworkNames


def print_networks(networks: NetworkNames, splits: Mapping[str, Samples], compute: Compute, *, json: bool) -> None:
    """Print what would be done with several networks, without a download.

    Args:
        networks: that are joined, or to be chosen from.
        splits: photos.
        compute: where to.
        json: whether to print one JSON object.
    """
    from regraft.engines.speed import Speeds
    from regraft.networks.backbones import build_untrained
    from regraft.transfer.forecast import seconds_in_words

    names = networks_to_choose_from(networks.names, fetch=False)
    photos = {split: len(samples) for split, samples in splits.items()}
    speeds = Speeds(compute.torch_device, keep=compute.cache)
    features = {name: build_untrained(name).features for name in names}  # neither depends on the weights
    seconds = {name: sum(photos.values()) / speeds.of(name) for name in names}
    if json:
        found = [{"network": n, "features": features[n], "features_seconds": round(seconds[n], 1)} for n in names]
        result_json(
            {
                "photos": photos,
                "network": networks.title,
                "features_seconds": round(sum(seconds.values()), 1),
                "networks": found,
            }
        )
        return
    lines = [f"{counted(sum(photos.values()), 'photo')} of {len(splits['train'].classes):,} classes"]
    lines += [f"{name}: {features[name]:,} features; {seconds_in_words(seconds[name])}" for name in names]
    if networks.choose:
        lines.append("a new last layer is tried on each; the cheapest that is not proven worse is taken, and goes on")
    else:
        lines.append("a new last layer on the features of all together is trained, the networks stay as they are")
    lines.append(
        f"time: {seconds_in_words(sum(seconds.values()))} for all features: an estimate, from a trial of a few blank "
        f"images in PyTorch on this machine ({compute.torch_device.type}); a faster engine, or features in the cache, "
        "make it less"
    )
    result("\n".join(map(printable, lines)))
    if speeds.doubtful:
        note("other programs kept the machine busy: it may take less")
