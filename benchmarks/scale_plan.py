"""Hours, bytes and memory of jobs past one machine: arithmetic on rates that one host was measured at.

A stage goes through all photos once. What it needs of the network, the cores, the GPUs and the disk of a host is done
at the same time, so the slowest of them is the time of a host; what the cores do is done one after the other. Hosts
share the photos evenly, and one store; what the first process does alone they do not share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from regraft.data.bit_sampling import compared_pairs
from regraft.images.sources import ROWS_IN_MEMORY

PHOTOS, MANY = 20_000_000, 1_000_000_000
NETWORK, WIDTH, LAST = "convnext_nano", 2800, 640  # features of all depths, and of the last one: docs/features.md
PARAMETERS = 15_600_000  # timm's results name 15.59 million
CLASSES, EPOCHS = 2, 3
BATCH = 32  # photos of one update, of each process that trains
PER_SHARD = 2000  # photos
LIMIT = 49  # bits of a hash that near-duplicates differ in at most, as learned of 20 million made-up hashes
_HOUR, _LINK = 3600, 8e-9  # seconds; gigabits of a byte

# what is measured, by name: of one host, with all its cores
BYTES, LOOKING, HASHING, PAIRS = "bytes of a photo", "looking", "hashing", "pairs of hashes"
DECODING, FORWARD, TRAINING = "decoding", "forward pass", "training step"
SUMS, SCATTER, READS = "sums of the head", "products of features", "times the head reads all features"
DIRECTIONS, LOGITS = "driver of the head", "times the head sends logits"
WORKER, NAME = "memory of a worker", "memory of a name"
UNITS = {
    BYTES: "bytes",
    LOOKING: "photos/s",
    HASHING: "photos/s",
    PAIRS: "million pairs/s",
    DECODING: "photos/s",
    FORWARD: "photos/s",
    TRAINING: "photos/s",
    SUMS: "microseconds per photo",
    SCATTER: "microseconds per photo",
    READS: "times",
    DIRECTIONS: "s",
    LOGITS: "times",
    WORKER: "MB",
    NAME: "bytes",
}
LINK, CORES, GPU, DISK = "network", "cores", "GPU", "disk"  # of each host
STORE, DRIVER, DRIVER_LINK = (
    "store",
    "driver",
    "network of the driver",
)  # of all: they do not become more with the hosts

Rates = Mapping[str, float]


@dataclass(frozen=True)
class Assumption:
    """What no measurement of this repository gives.

    Attributes:
        value: in its unit.
        unit: of it.
        why: where it comes from.
    """

    value: float
    unit: str
    why: str


_TIMM = "https://github.com/huggingface/pytorch-image-models/blob/main/results"
_BATCH_DOCS = "https://docs.aws.amazon.com/batch/latest/userguide/gpu-jobs.html"
_A10G = "https://www.baseten.co/blog/nvidia-a10-vs-a10g-for-ml-model-inference/"
_RTX_3090 = "https://gpu.spicedreamphone.com/en/gpu/a40-pcie-vs-geforce-rtx-3090"
_S3 = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html"
_LISTING = (
    "https://jboothomas.medium.com/fast-listing-s3-objects-from-buckets-with-millions-billions-of-items-380052fb6faf"
)
_OTHER_CARD = 600 / 936  # GB/s of memory of an A10 and of the RTX 3090 that was measured

CPU_NETWORK = "network of a CPU host"
GPU_NETWORK = "network of a GPU host"
GPU_CORES = "vCPUs of a GPU host"
GPUS = "GPUs of a GPU host"
GPU_FORWARD = "forward pass of a GPU"
GPU_TRAINING = "training step of a GPU"
STORE_LINK = "all that the store gives"
DISK_SPEED = "disk of a host"
LISTING = "a request for 1,000 names"
REQUESTS = "requests of one prefix"
ASSUMED = {
    CPU_NETWORK: Assumption(1, "Gb/s", "gigabit Ethernet; no source"),
    GPU_NETWORK: Assumption(40, "Gb/s", f"[g5.12xlarge]({_BATCH_DOCS})"),
    GPUS: Assumption(4, "", f"[g5.12xlarge]({_BATCH_DOCS}): A10G, 24 GB each"),
    GPU_CORES: Assumption(48, "", f"[g5.12xlarge]({_BATCH_DOCS}), 192 GiB; as fast, each, as a measured core"),
    GPU_FORWARD: Assumption(
        round(4416.5 * _OTHER_CARD),
        "photos/s",
        f"timm measured [4,417]({_TIMM}/benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv) on an RTX 3090 "
        f"([936 GB/s]({_RTX_3090}), batch 1024, pixels on the card); "
        f"an A10 has [600 GB/s]({_A10G}), and is taken to be slower in proportion",
    ),
    GPU_TRAINING: Assumption(
        round(1249 * _OTHER_CARD),
        "photos/s",
        f"timm measured [1,249]({_TIMM}/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv) of a variant "
        "(convnext_nano_hnf) on an RTX 3090, batch 512; likewise",
    ),
    STORE_LINK: Assumption(25, "Gb/s", "one 25-gigabit link, as of a store in the house; no source; S3 gives more"),
    DISK_SPEED: Assumption(1, "GB/s", "an NVMe disk, read in order; no source"),
    LISTING: Assumption(0.074, "s", f"[15 million names in 1,110 s]({_LISTING}), one request after the other"),
    REQUESTS: Assumption(5500, "/s", f"[S3's]({_S3}), at least"),
}


def assumed(name: str) -> float:
    """Return the value of an assumption."""
    return ASSUMED[name].value


@dataclass(frozen=True)
class Host:
    """One kind of machine.

    Attributes:
        name: in tables.
        cores: how many times the cores that were measured.
        gpus: how many.
        gigabits: of its network, per second.
        memory: in GB.
        fleets: how many of them the tables show.
    """

    name: str
    cores: float
    gpus: int
    gigabits: float
    memory: float
    fleets: tuple[int, ...]


def hosts_of(cores: int, memory: float) -> tuple[Host, Host]:
    """Return the machine that was measured, with its cores and GB of memory, and the one with GPUs."""
    return (
        Host(f"{cores} cores", 1, 0, assumed(CPU_NETWORK), memory, (1, 8, 64)),
        Host(
            f"{assumed(GPUS):.0f} GPUs",
            assumed(GPU_CORES) / cores,
            int(assumed(GPUS)),
            assumed(GPU_NETWORK),
            206,
            (1, 2, 8, 64),
        ),
    )


@dataclass(frozen=True)
class Part:
    """What a stage asks of one resource.

    Attributes:
        name: what is waited for where this is the slowest.
        resource: that it takes.
        seconds: of one host for all photos, or of the store or the driver.
    """

    name: str
    resource: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A job on so many hosts of a kind.

    Args:
        rates: that were measured, by name.
        host: the kind.
        hosts: how many.
        photos: how many.
        width: features of a photo.
    """

    rates: Rates
    host: Host
    hosts: int
    photos: float = PHOTOS
    width: int = WIDTH

    def stages(self) -> dict[str, list[Part]]:
        """Return what each stage asks for."""
        return {
            "look": [*self._reading(), self._cores(LOOKING)],
            "hashes": [*self._reading(), self._cores(HASHING)],
            "pairs": [
                Part(
                    "pairs",
                    DRIVER,
                    compared_pairs(int(self.photos), LIMIT) / (self.rates[PAIRS] * 1e6 * self.host.cores),
                )
            ],
            "features": [
                *self._reading(written=4 * self.width),
                self._cores(DECODING),
                self._network(FORWARD, GPU_FORWARD),
            ],
            "head": self._head(),
            "epoch": [
                *self._reading(),
                self._cores(DECODING),
                self._network(TRAINING, GPU_TRAINING),
                *self._gradients(),
            ],
        }

    def hours(self, stage: str) -> tuple[float, str]:
        """Return how long a stage takes, and what it waits for."""
        return slowest(self.stages()[stage], self.hosts)

    def command(self, stages: Sequence[str]) -> float:
        """Return the hours of stages, one after the other."""
        return sum(self.hours(stage)[0] for stage in stages)

    def feature_bytes(self) -> float:
        """Return the bytes of all features, float32."""
        return 4 * self.width * self.photos

    def worker_memory(self) -> float:
        """Return the GB of the processes of one host that look at photos and compute features.

        To what was measured comes what is kept of photos that were read from a store, most of Parquet shards.
        """
        return (self.rates[WORKER] / 1000 + ROWS_IN_MEMORY / 1e9) * max(self.host.gpus, 1)

    def mapped(self) -> float:
        """Return the GB of features that a host goes through for a head."""
        return self.feature_bytes() / self.hosts / 1e9

    def _reading(self, written: float = 0) -> list[Part]:
        """Return what it takes to read all photos, and to write so many bytes of each."""
        gigabits = self.photos * (self.rates[BYTES] + written) * _LINK
        return [
            Part("network", LINK, gigabits / self.host.gigabits),
            Part("store", STORE, gigabits / assumed(STORE_LINK)),
        ]

    def _cores(self, name: str) -> Part:
        return Part(name, CORES, self.photos / self.rates[name] / self.host.cores)

    def _network(self, name: str, of_gpu: str) -> Part:
        if not self.host.gpus:
            return self._cores(name)
        return Part(name, GPU, self.photos / assumed(of_gpu) / self.host.gpus)

    def _head(self) -> list[Part]:
        """Return what the choice of a strength and the fits by all folds ask for: sums and products of features."""
        wider = self.width / LAST
        seconds = (self.rates[SUMS] * wider + self.rates[SCATTER] * wider**2) * 1e-6 * self.photos
        logits = self.rates[LOGITS] * self.photos * CLASSES * 4 * _LINK
        features = 2 * self.feature_bytes() * _LINK  # from the workers that computed them, and to those that sum
        alone = self.hosts == 1
        parts = [
            Part("head", CORES, seconds / self.host.cores),
            Part("directions", DRIVER, self.rates[DIRECTIONS] * wider**3 / self.host.cores),
            Part("logits", DRIVER_LINK, 0 if alone else logits / self.host.gigabits),
            Part("driver's network", DRIVER_LINK, 0 if alone else features / self.host.gigabits),
        ]
        if self.mapped() > self.host.memory / 2:  # else the system keeps them in memory
            read = self.rates[READS] * self.feature_bytes() / 1e9
            parts.append(Part("disk", DISK, read / assumed(DISK_SPEED)))
        return parts

    def _gradients(self) -> Iterator[Part]:
        """Yield what is sent for the sum of gradients: a ring sends and receives each about twice."""
        if self.hosts > 1:
            updates = self.photos / (BATCH * max(self.host.gpus, 1))
            yield Part("gradients", LINK, 2 * 4 * PARAMETERS * updates * _LINK / self.host.gigabits)


def slowest(parts: Sequence[Part], hosts: int) -> tuple[float, str]:
    """Return hours, and the part that takes longest of the resource that takes longest."""
    seconds: dict[str, float] = {}
    for part in parts:
        alone = 1 if part.resource in (STORE, DRIVER, DRIVER_LINK) else hosts
        seconds[part.resource] = seconds.get(part.resource, 0) + part.seconds / alone
    resource = max(seconds, key=lambda name: seconds[name])
    longest = max((part for part in parts if part.resource == resource), key=lambda part: part.seconds)
    return seconds[resource] / _HOUR, longest.name


STAGES = ("look", "hashes", "pairs", "features", "head", "epoch")
PREDICT = ("look", "features")
FROZEN = ("look", "hashes", "pairs", "features", "head")
IGNORED = tuple(stage for stage in FROZEN if stage != "pairs")
COMMANDS = {
    "`predict`, `embed`": PREDICT,
    "`fit --strategy frozen`": FROZEN,
    "... `--near-duplicates ignore`": IGNORED,
    f"... `--strategy whole`, {EPOCHS} epochs": (*IGNORED, *["epoch"] * EPOCHS),
}
_NO_READING = ("pairs", "head")


def reads(stages: Sequence[str]) -> int:
    """Return how often stages go through all photos."""
    return sum(stage not in _NO_READING for stage in stages)
