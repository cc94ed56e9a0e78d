"""The loop: equal to a loop written by hand, true to its plan, stopped by what is held out, and never silent."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.jobs import CPU, LABELS, PLAIN, Remembered, a_head, finetuner, stages_of, top_plan, top_stages
from torch import nn
from torch.nn import functional
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from regraft.errors import TrainingError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.cutting import Top, cut_before
from regraft.networks.freezing import plan_training
from regraft.networks.plan import Plan
from regraft.progress import Observer
from regraft.training.checkpoints import Run, nowhere
from regraft.training.distributed import Accelerator, accelerator
from regraft.training.finetuner import Finetuner, TrainingRecord
from regraft.training.losses import LabelLoss
from regraft.training.optimisation import TrainingStep
from regraft.training.schedule import Schedule


def by_hand(
    network: Backbone, images: torch.Tensor, plan: Plan, batches: list[list[int]], *, optimizer: str
) -> tuple[nn.Module, nn.Linear]:
    """Train the whole network by a plain loop, the frozen part without gradients; five steps of rate 0.05.

    The rates by hand: two of the five steps rise to 0.05, then half a cosine over three.
    """
    module, head = copy.deepcopy(network.module), nn.Linear(network.features, 3)
    start = a_head(network.features)
    head.weight.data, head.bias.data = torch.from_numpy(start.weight.copy()), torch.from_numpy(start.bias.copy())
    convert_conv2d_weight_memory_format(module, torch.channels_last)  # other kernels round differently
    module.eval()  # batch norm held; this network has no dropout
    if plan.batch_norm == "trained":
        for name, part in module.named_modules():
            if isinstance(part, nn.BatchNorm2d) and f"{name}.running_mean" in plan.names("statistics"):
                part.train()
    learning = [p for n, p in module.named_parameters() if n in plan.names("trained")] + [*head.parameters()]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kinds = {"sgd": lambda **how: torch.optim.SGD(momentum=0.9, nesterov=True, **how), "adamw": torch.optim.AdamW}
    stepper = kinds[optimizer](params=groups, lr=1.0, fused=True)
    rates = [0.025, 0.05, 0.05, 0.05 * 0.75, 0.05 * 0.25]  # (1 + cos 0, cos pi/3, cos 2 pi/3) / 2 = 1, 3/4, 1/4
    for rate, batch in zip(rates, batches, strict=True):
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.zero_grad()
        functional.cross_entropy(head(module(images[batch])), torch.from_numpy(LABELS[batch])).backward()
        stepper.step()
    return module, head


@pytest.mark.parametrize("batch_norm", ["held", "trained"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stages", [stages_of, top_stages])
def test_five_steps_are_those_of_a_plain_loop(
    network: Backbone, images: torch.Tensor, stages: Callable[[Backbone], list[str]], optimizer: str, batch_norm: str
) -> None:
    plan = plan_training(network, trained=stages(network), batch_norm=batch_norm)
    schedule = Schedule(**{**PLAIN.__dict__, "optimizer": optimizer})
    tuner, top, activations = finetuner(network, images, plan, schedule)
    before = copy.deepcopy(network.module.state_dict())
    records = [record for record in tuner.train() if record.photos]
    assert [record.step for record in records] == [1, 2, 3, 4, 5]
    module, head = by_hand(network, images, plan, activations.asked[:5], optimizer=optimizer)
    state, fitted = tuner.finish()
    expected = module.state_dict()
    moved = 0.0
    for name in plan.names("trained", "statistics"):
        assert torch.allclose(state[name].float(), expected[name].float(), rtol=0, atol=1e-5), name
        moved = max(moved, float((state[name].float() - before[name].float()).abs().max()))
    assert moved > 1e-3
    assert np.allclose(fitted.weight, head.weight.detach().numpy(), rtol=0, atol=1e-5)
    assert np.allclose(fitted.bias, head.bias.detach().numpy(), rtol=0, atol=1e-5)
    assert all(torch.equal(state[name], before[name]) for name in plan.frozen if name in state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.module.state_dict().items())
    del top


def test_bfloat16_learns_what_float32_does(network: Backbone, images: torch.Tensor) -> None:
    """Eight bits turn the way that the weights go in five steps by a few degrees."""
    plan, before, moves = top_plan(network), network.module.state_dict(), []
    for precision in ("fp32", "bf16"):
        using = accelerator(torch.device("cpu"), precision)
        tuner, _, _ = finetuner(network, images, plan, Schedule(**{**PLAIN.__dict__, "optimizer": "sgd"}), using=using)
        list(tuner.train())
        state, _ = tuner.finish()
        assert all(tensor.dtype == before[name].dtype for name, tensor in state.items())
        moves.append(torch.cat([(state[name] - before[name]).reshape(-1) for name in plan.names("trained")]))
    assert not torch.equal(*moves)
    assert float(functional.cosine_similarity(*moves, dim=0)) > 0.99


def test_each_stage_learns_at_its_own_rate(network: Backbone, images: torch.Tensor) -> None:
    """Plain gradient descent of one step moves weights by rate times gradient: a stage with half the rate by half."""
    moves = []
    for decay in (1.0, 0.5):
        plan = top_plan(network, lr_decay=decay)
        schedule = Schedule(batch_size=20, averaging=0, clip=0, warm_up=0, weight_decay=0, optimizer="sgd", mixup=0)
        tuner, _, _ = finetuner(network, images, plan, schedule)
        list(tuner.train())
        state, _ = tuner.finish()
        before = network.module.state_dict()
        moves.append({n: (state[n] - before[n]) for n in plan.names("trained")})
    first, last = plan.trained_stages
    stage_of = {tensor.name: tensor.stage for tensor in plan.tensors}
    for name, move in moves[0].items():
        share = {first: 0.5, last: 1.0}[stage_of[name]]
        assert torch.allclose(moves[1][name], share * move, atol=1e-7), name


def test_averaging_keeps_the_mean_of_the_weights(network: Backbone, images: torch.Tensor) -> None:
    """With a span far beyond the steps, the running mean is the plain mean of the start and the five results."""
    plan = top_plan(network)
    long = Schedule(**{**PLAIN.__dict__, "averaging": 1e9})
    tuner, top, _ = finetuner(network, images, plan, long)
    name = plan.names("trained")[0]
    seen = [network.module.state_dict()[name].clone()]
    for record in tuner.train():
        if record.photos:
            seen.append(top.network.state_dict()[name].clone())
    state, _ = tuner.finish()
    assert torch.allclose(state[name], torch.stack(seen).mean(dim=0), atol=1e-6)


def test_the_best_weights_come_back_and_training_stops(network: Backbone, images: torch.Tensor) -> None:
    """Labels that cannot be learned: what is held out says that the start was best, and after two epochs it is over."""
    labels = np.random.default_rng(3).integers(0, 3, 20)
    plan = top_plan(network)
    hasty = Schedule(batch_size=4, averaging=0, patience=2, clip=0, mixup=0)
    tuner, _, _ = finetuner(network, images, plan, hasty, epochs=50, rate=0.3, tune=range(12, 20), labels=labels)
    start = tuner.logits(np.arange(20))
    ends = [record for record in tuner.train() if not record.photos]
    losses = [record.tuning_loss for record in ends]
    assert all(loss is not None for loss in losses)
    assert tuner.stopped_early
    assert len(ends) < 50
    assert min(losses) not in losses[-2:] or len(ends) == 2  # no lower one in the last two epochs
    if len(ends) == 2:
        assert np.array_equal(tuner.logits(np.arange(20)), start)


def test_without_patience_the_last_weights_are_kept(network: Backbone, images: torch.Tensor) -> None:
    plan = top_plan(network)
    tuner, top, _ = finetuner(network, images, plan, PLAIN, epochs=3, tune=range(12, 20))
    ends = [record for record in tuner.train() if not record.photos]
    assert len(ends) == 3
    assert all(record.tuning_loss is not None for record in ends)
    assert not tuner.stopped_early
    name = plan.names("trained")[0]
    assert torch.equal(tuner.finish()[0][name], top.network.state_dict()[name])


def test_a_loss_that_is_not_finite_names_epoch_and_step(network: Backbone, images: torch.Tensor) -> None:
    plan = top_plan(network)
    images = images.clone()
    images[7] = float("nan")
    tuner, _, activations = finetuner(network, images, plan, PLAIN)
    with pytest.raises(TrainingError, match=r"the training loss is nan in epoch 1, step .*lr, now 0.05") as caught:
        list(tuner.train())
    step = next(place for place, batch in enumerate(activations.asked, 1) if 7 in batch)
    assert f"step {step} of 5" in str(caught.value)


def test_short_memory_halves_the_batch_and_gives_the_same_weights(
    network: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = top_plan(network)
    plain = Schedule(**{**PLAIN.__dict__, "optimizer": "sgd"})  # AdamW takes whole steps by what rounding left of zeros
    expected = finetuner(network, images, plan, plain)[0]
    list(expected.train())
    answers = expected.logits(np.arange(20))
    forward = Top.forward

    def small(self: Top, activation: torch.Tensor) -> torch.Tensor:
        if len(activation) > 2:
            raise torch.OutOfMemoryError
        return forward(self, activation)

    monkeypatch.setattr(Top, "forward", small)
    tuner, _, _ = finetuner(network, images, plan, plain)
    assert sum(record.photos for record in tuner.train()) == 20
    assert np.allclose(tuner.logits(np.arange(20)), answers, atol=1e-4)
    state, whole = tuner.finish()[0], expected.finish()[0]
    assert all(torch.allclose(state[name], whole[name], atol=1e-5) for name in plan.names("trained"))


def test_no_memory_for_one_photo_is_an_error(
    network: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Top, activation: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    tuner, _, _ = finetuner(network, images, top_plan(network), PLAIN)
    monkeypatch.setattr(Top, "forward", full)
    with pytest.raises(TrainingError, match=r"cpu has no memory for training on a single photo. Train fewer stages"):
        list(tuner.train())


def test_no_memory_for_the_optimizer_is_an_error(
    network: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is allocated in the first step."""

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    tuner, _, _ = finetuner(network, images, top_plan(network), PLAIN)
    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(
        TrainingError, match=r"cpu has no memory for training: the optimizer's state. Train fewer stages"
    ):
        list(tuner.train())


def test_no_memory_at_an_epoch_s_end_is_an_error(
    network: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    tuner, _, _ = finetuner(network, images, top_plan(network), PLAIN)
    monkeypatch.setattr("regraft.training.ema.WeightAverage.load", full)
    with pytest.raises(TrainingError, match=r"cpu has no memory for training. Train fewer stages"):
        list(tuner.train())


def small_maps() -> tuple[Backbone, torch.Tensor, Plan]:
    """Return a network whose last batch norms stand behind the pooling, on maps of one pixel."""
    torch.manual_seed(0)
    backbone = build_untrained("mobilenetv4_conv_small_035")
    return backbone, torch.randn(9, 3, 32, 32), top_plan(backbone, batch_norm="trained")


def test_a_last_photo_joins_the_others_where_statistics_are_trained() -> None:
    """Nine photos in batches of four: the ninth alone would have no variance."""
    backbone, photos, plan = small_maps()
    tuner, _, activations = finetuner(backbone, photos, plan, PLAIN, epochs=2, labels=LABELS[:9])
    records = [record for record in tuner.train() if record.photos]
    assert [record.photos for record in records] == [4, 5, 4, 5]
    assert [record.steps for record in records] == [4] * 4
    assert [tuner.images_from(step) for step in range(5)] == [18, 14, 9, 5, 0]
    assert [sorted(activations.asked[at] + activations.asked[at + 1]) for at in (0, 2)] == [list(range(9))] * 2
    held = top_plan(backbone)
    tuner, _, _ = finetuner(backbone, photos, held, PLAIN, labels=LABELS[:9])
    assert [record.photos for record in tuner.train() if record.photos] == [4, 4, 1]


def test_short_memory_leaves_two_photos_where_statistics_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of five in parts of two and three; and what an attempt that failed did to the statistics is undone."""
    backbone, photos, plan = small_maps()
    forward, seen = Top.forward, []

    def small(self: Top, activation: torch.Tensor) -> torch.Tensor:
        found = forward(self, activation)
        if torch.is_grad_enabled():
            if len(activation) > 3:
                raise torch.OutOfMemoryError
            seen.append(len(activation))
        return found

    monkeypatch.setattr(Top, "forward", small)
    tuner, _, _ = finetuner(backbone, photos[:5], plan, Schedule(batch_size=5, averaging=0), labels=LABELS[:5])
    list(tuner.train())
    assert seen == [2, 3]
    state, _ = tuner.finish()
    counts = {int(state[name]) for name in plan.names("statistics") if name.endswith("num_batches_tracked")}
    assert counts == {2}  # not three


def scaled(scale: float) -> Accelerator:
    """Return float32 with gradients that are scaled as those of float16 are."""
    return replace(CPU, loss_scale=scale)


@pytest.mark.parametrize("scale", [2.0**10, 2.0**127])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_scaled_gradients_give_the_weights_of_plain_ones(
    network: Backbone, images: torch.Tensor, scale: float, clip: float
) -> None:
    """A power of two changes no digit. The larger one goes beyond float32: its steps are taken again, not lost."""
    plan = top_plan(network, batch_norm="trained")
    schedule = Schedule(**{**PLAIN.__dict__, "clip": clip, "optimizer": "sgd"})
    plain, _, _ = finetuner(network, images, plan, schedule)
    list(plain.train())
    tuner, _, _ = finetuner(network, images, plan, schedule, using=scaled(scale))
    assert [record.step for record in tuner.train() if record.photos] == [1, 2, 3, 4, 5]
    state, head = plain.finish()
    other, others = tuner.finish()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert np.array_equal(head.weight, others.weight)
    assert tuner._training_step._scaler is not None
    lowered = tuner._training_step._scaler.get_scale() < scale
    assert lowered == (scale == 2.0**127)


def test_a_killed_run_goes_on_with_its_scale(
    network: Backbone, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.training.finetuner.SECONDS_PER_CHECKPOINT", 0.0)
    monkeypatch.setattr("regraft.training.finetuner._PAUSES", 0.0)
    plan, using = top_plan(network), scaled(2.0**127)

    def started(folder: str) -> Finetuner:
        run = Run(tmp_path / folder, {}, restart=False, observer=Observer())
        return finetuner(network, images, plan, PLAIN, epochs=2, run=run, using=using)[0]

    whole, killed = started("whole"), started("killed")
    list(whole.train())
    training = killed.train()
    for record in training:
        if not record.photos:
            training.close()
    assert killed._training_step._scaler is not None
    scale = killed._training_step._scaler.get_scale()
    assert scale < 2.0**127
    resumed = started("killed")
    next(resumed.train())
    assert resumed._training_step._scaler is not None
    assert resumed._training_step._scaler.get_scale() == scale
    resumed = started("killed")
    list(resumed.train())
    state, _ = whole.finish()
    assert all(torch.equal(state[name], tensor) for name, tensor in resumed.finish()[0].items())


def test_a_gradient_beyond_every_scale_is_an_error(network: Backbone, images: torch.Tensor) -> None:
    tuner, _, _ = finetuner(network, images, top_plan(network), PLAIN, using=scaled(2.0**10))
    weight = tuner._model.head.weight
    before = weight.detach().clone()
    weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError) as caught:
        list(tuner.train())
    assert str(caught.value) == (
        "the gradient overflows float16 at any scale in epoch 1, step 1 of 5. Set precision to bf16 or fp32, "
        "or lower the learning rate (lr, now 0.05)."
    )
    assert torch.equal(weight, before)


@pytest.mark.parametrize("tune", [(), range(12, 20)])
def test_a_rate_that_is_much_too_high_is_reported_even_in_the_last_step(
    network: Backbone, images: torch.Tensor, tune: Sequence[int]
) -> None:
    """No later loss is there to show it."""
    hasty = Schedule(batch_size=20, averaging=0, warm_up=0)
    tuner, _, _ = finetuner(network, images, top_plan(network), hasty, rate=1e30, tune=tune)
    with pytest.raises(TrainingError) as caught:
        list(tuner.train())
    assert str(caught.value) == (
        "the logits of the network are not finite in epoch 1, step 1 of 1. Lower the learning rate (lr, now 1e+30); "
        "or the weights of the network are damaged."
    )


def test_weights_that_are_not_finite_are_neither_kept_nor_saved(
    network: Backbone, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", {}, restart=False, observer=Observer())
    tuner, _, _ = finetuner(network, images, top_plan(network), PLAIN, run=run)
    step = TrainingStep.step

    def breaks(self: TrainingStep, *given: object, **named: object) -> float:
        loss = step(self, *given, **named)  # type: ignore[arg-type]
        if "step 5" in str(named["where"]):
            tuner._model.head.weight.data[0, 0] = math.nan
        return loss

    monkeypatch.setattr(TrainingStep, "step", breaks)
    with pytest.raises(TrainingError, match=r"^the weights are not finite in epoch 1, step 5 of 5. Lower the learning"):
        list(tuner.train())
    assert not (tmp_path / "run").exists()


def test_gradients_are_clipped_to_their_norm(network: Backbone, images: torch.Tensor) -> None:
    """One step of plain descent moves all weights together by rate times the clipped norm."""
    plan = top_plan(network)
    schedule = Schedule(batch_size=20, averaging=0, clip=0.01, warm_up=0, weight_decay=0, optimizer="sgd")
    tuner, _, _ = finetuner(network, images, plan, schedule, rate=1.0)
    list(tuner.train())
    state, head = tuner.finish()
    before, start = network.module.state_dict(), a_head(network.features)
    squares = sum(float((state[n] - before[n]).square().sum()) for n in plan.names("trained"))
    squares += float(np.square(head.weight - start.weight).sum() + np.square(head.bias - start.bias).sum())
    assert math.sqrt(squares) == pytest.approx(0.01 * 1.9, rel=1e-3)  # Nesterov's first step is 1 + 0.9 gradients


def test_mixed_photos_have_mixed_labels(network: Backbone, images: torch.Tensor) -> None:
    """A head of zeros gives log 3 whatever the photos and labels are mixed from; smoothing keeps it so."""
    plan = top_plan(network)
    mixed = Schedule(batch_size=20, mixup=0.4, label_smoothing=0.1)
    tuner, top, activations = finetuner(network, images, plan, mixed)
    del top, activations
    tuner._model.head.weight.data.zero_()
    first: TrainingRecord = next(tuner.train())
    assert first.loss == pytest.approx(math.log(3), abs=1e-6)


def with_adapters(backbone: Backbone, photos: torch.Tensor, *, lr_decay: float = 1.0) -> tuple[Finetuner, Plan]:
    plan = top_plan(backbone, lora=2, lr_decay=lr_decay)
    assert plan.cut is not None
    trunk, top = cut_before(backbone.module, plan.cut, tuple(photos.shape[1:]))
    tuner = Finetuner(
        top,
        a_head(backbone.features),
        plan,
        Schedule(batch_size=4),
        activations=Remembered(trunk, photos),
        objective=LabelLoss(LABELS[:8], 3),
        train=np.arange(8),
        validation=np.array([], dtype=np.int64),
        rate=0.01,
        epochs=3,
        accelerator=CPU,
        seed=0,
        run=nowhere(),
        job="lora",
    )
    return tuner, plan


def small_vit() -> tuple[Backbone, torch.Tensor]:
    torch.manual_seed(0)
    backbone = build_untrained("test_vit")
    side = backbone.preprocess.height
    return backbone, torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_adapters_start_from_the_seed_whatever_ran_before() -> None:
    backbone, photos = small_vit()
    ends = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        tuner, _ = with_adapters(backbone, photos)
        list(tuner.train())
        ends.append(tuner.finish()[0])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_adapters_learn_at_the_rate_of_their_stage() -> None:
    backbone, photos = small_vit()
    tuner, plan = with_adapters(backbone, photos, lr_decay=0.1)
    planned = {tensor.rate for tensor in plan.tensors if tensor.name in plan.names("low-rank")}
    assert len(planned) == 2
    assert {group["rate"] for group in tuner._training_step._optimizer.param_groups} == planned | {1.0}


def test_adapters_are_added_to_the_weights_they_stand_beside() -> None:
    backbone, photos = small_vit()
    tuner, plan = with_adapters(backbone, photos)
    list(tuner.train())
    adapted = tuner.logits(np.arange(8))
    state, head = tuner.finish()
    before = backbone.module.state_dict()
    changed = {name for name in state if not torch.equal(state[name], before[name])}
    assert changed == set(plan.names("low-rank"))
    for name in changed:
        rank = int(torch.linalg.matrix_rank((state[name] - before[name]).double(), rtol=1e-4))
        assert rank <= 2, name
    merged = backbone.with_tensors(state, "merged")
    with torch.no_grad():
        features = merged.module(photos).numpy()
    assert np.allclose(head.logits(features), adapted, atol=1e-4)
