"""`regraft fit --dry-run` with several networks: which, how many features they give, and how long that takes."""

from collections.abc import Mapping

from regraft.cli.console import note, result, result_json
from regraft.cli.dry_run import inputs_in_words, inputs_of_layer
from regraft.cli.training_options import networks_to_choose_from
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import counted, printable
from regraft.networks.names import NetworkNames
from regraft.transfer.settings import FitSettings


def print_networks(
    networks: NetworkNames, splits: Mapping[str, Samples], settings: FitSettings, compute: Compute, *, json: bool
) -> None:
    """Print what would be done with several networks, without a download.

    Args:
        networks: that are joined, or to be chosen from.
        splits: photos.
        settings: how to train.
        compute: where to.
        json: whether to print one JSON object.
    """
    from regraft.classifier.named import outline_network
    from regraft.engines.speed import Speeds
    from regraft.networks.registry import networks_to_download
    from regraft.transfer.forecast import seconds_in_words

    names = networks_to_choose_from(networks.names, fetch=False)
    others = [] if networks.names else networks_to_download()
    photos = {split: len(samples) for split, samples in splits.items()}
    speeds = Speeds(compute.torch_device, keep=compute.cache)
    depths = settings.features  # neither how many features they give nor the speed depends on the weights
    features = {name: inputs_of_layer(outline_network(name), depths) for name in names}
    seconds = {name: sum(photos.values()) / speeds.of(name) for name in names}
    if json:
        found = [{"network": n, "features": features[n], "features_seconds": round(seconds[n], 1)} for n in names]
        result_json(
            {
                "photos": photos,
                "network": networks.title,
                "features_seconds": round(sum(seconds.values()), 1),
                "networks": found,
                "not_timed": others,
            }
        )
        return
    lines = [f"{counted(sum(photos.values()), 'photo')} of {len(splits['train'].classes):,} classes"]
    lines += [f"{n}: {inputs_in_words(features[n], depths)}; {seconds_in_words(seconds[n])}" for n in names]
    if others:
        lines.append(
            f"not timed, as nothing is downloaded here; with a connection `fit` tries them, too: {', '.join(others)}"
        )
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
