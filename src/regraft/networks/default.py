"""The network that is taken when none is named."""

from regraft.errors import DownloadError
from regraft.networks.backbones import HUB_WEIGHTS
from regraft.networks.pocket import POCKET
from regraft.networks.weights import hub_file

# Of the convolutional networks with an open licence that run 100 photos a second or more on two CPU cores, one that has
# learned many classes (11,821, ImageNet-12k): docs/networks.md says how it was chosen.
STRONG = "convnext_nano.in12k"


def default_network() -> tuple[str, str]:
    """Return the name of a strong network where its weights are or can be had, else `POCKET`; and a sentence on it."""
    try:
        hub_file(STRONG, f"timm/{STRONG}", HUB_WEIGHTS)
    except DownloadError as error:
        return POCKET, (
            f"network: {POCKET}, the small one inside regraft, for {STRONG} cannot be downloaded ({error.reason}). "
            "With a connection, or a network of your own (--model), expect a better classifier."
        )
    return STRONG, f"network: {STRONG}, as no other is named"
