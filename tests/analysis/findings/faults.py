"""The table of faults: how each is made, and the finding that has to tell it, with its layer and step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trainings import (
    Batch,
    Branches,
    Recurrent,
    Training,
    Transformer,
    adam,
    cnn,
    convolutional,
    language,
    mlp,
    pictures,
    plain,
    points,
    recurrent,
    regression,
    series,
    sgd,
)

START = 20  # the step at which faults begin that are not there from the first on


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is wrong, in a few words.
        make: Makes the training that has it.
        kind: The kind of finding that tells it.
        layer: The layer where it begins; empty for one of the whole run.
        step: The step at which it begins.
        headline: Kind and layer of the first finding told, where another finding names what was changed: the raised
            learning rate before the loss that diverges, the weight before the gradient that explodes.
    """

    name: str
    make: Callable[[], Training]
    kind: str
    layer: str
    step: int = 0
    headline: tuple[str, str] | None = None

    @property
    def first(self) -> tuple[str, str]:
        """Kind and layer of the finding that is to be told first."""
        return self.headline or (self.kind, self.layer)


def without(*names: str) -> Callable[[nn.Module], list[Tensor]]:
    """Return a choice of parameters for the optimizer that forgets those below some modules."""
    return lambda model: [p for name, p in model.named_parameters() if not name.startswith(names)]


def scaled(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    return model


def changed_at(name: str, model: nn.Module, change: Callable[[Tensor], object]) -> nn.Module:
    """Return a model one parameter of which is changed before the training."""
    with torch.no_grad():
        change(model.get_parameter(name))
    return model


def with_bias(model: nn.Module, value: float) -> nn.Module:
    """Return a recurrent model whose gates all have a bias."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rnn.bias" in name:
                parameter.fill_(value)
    return model


def one_group_decays(parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Return AdamW with two groups, the second with the parameters of the last layers."""
    return torch.optim.AdamW([{"params": parameters[:4]}, {"params": parameters[4:]}], lr=1e-2, weight_decay=0.0)


def decay_of_last_group(training: Training) -> None:
    training.made.param_groups[-1]["weight_decay"] = 80.0


def in_bfloat16(batch: Callable[[int], Batch]) -> Callable[[int], Batch]:
    return lambda step: (batch(step)[0].bfloat16(), batch(step)[1])


def constant(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def chaotic_tanh() -> nn.Module:
    return scaled(mlp(40, width=48, activation=nn.Tanh), 12.0)


def changed(where: str, change: Callable[[Tensor], object]) -> dict[int, Callable[[Training], None]]:
    """Return the change of one parameter at the start of the fault."""

    def apply(training: Training) -> None:
        with torch.no_grad():
            change(training.model.get_parameter(where))

    return {START: apply}


def frozen(where: str) -> dict[int, Callable[[Training], None]]:
    def apply(training: Training) -> None:
        training.model.get_submodule(where).requires_grad_(False)
        training.made.zero_grad()

    return {START: apply}


def rate(value: float) -> dict[int, Callable[[Training], None]]:
    def apply(training: Training) -> None:
        for group in training.made.param_groups:
            group["lr"] = value

    return {START: apply}


def attribute(name: str, value: object) -> dict[int, Callable[[Training], None]]:
    return {START: lambda training: setattr(training, name, value)}


def at_start(
    batch: Callable[[int], Batch], spoil: Callable[[Tensor, Tensor], Batch], *, once: bool
) -> Callable[[int], Batch]:
    """Return batches that are spoilt from the start of the fault on, or at that step alone."""

    def spoilt(step: int) -> Batch:
        now = step == START if once else step >= START
        return spoil(*batch(step)) if now else batch(step)

    return spoilt


def shuffled(batch: Callable[[int], Batch]) -> Callable[[int], Batch]:
    def with_random_labels(step: int) -> Batch:
        inputs, labels = batch(step)
        return inputs, torch.randint_like(labels, 2)

    return with_random_labels


def rank_one(weight: Tensor) -> None:
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    weight.copy_(s[0] * u[:, :1] @ v[:1])


def weight_decay(value: float) -> dict[int, Callable[[Training], None]]:
    def apply(training: Training) -> None:
        for group in training.made.param_groups:
            group["weight_decay"] = value

    return {START: apply}


def eval_of(kind: type[nn.Module]) -> Callable[[Training, int], None]:
    def apply(training: Training, step: int) -> None:
        for module in training.model.modules():
            if isinstance(module, kind):
                module.eval()

    return apply


def all_eval(training: Training, step: int) -> None:
    training.model.eval()


def with_dropout() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def all_dropped(training: Training) -> None:
    training.model[2].p = 1.0


def sigmoid_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (torch.sigmoid(outputs) - F.one_hot(targets, 2)).square().mean()


def large_bias(bias: Tensor) -> None:
    bias.fill_(-25.0)
    bias[0] = 25.0


FAULTS = (
    Fault("30 sigmoid layers", lambda: plain(model=mlp(30, activation=nn.Sigmoid)), "vanishing", "0"),
    Fault(
        "40 tanh layers with large weights", lambda: plain(model=chaotic_tanh(), optimizer=sgd(1e-9)), "exploding", "0"
    ),
    Fault(
        "loss scaled by a million",
        lambda: plain(optimizer=adam(), changes=attribute("scale", 1e6)),
        "exploding",
        "0",
        START,
        headline=("divergence", ""),
    ),
    Fault("layer frozen", lambda: plain(changes=frozen("2")), "frozen", "2", START),
    Fault("layer missing in the optimizer", lambda: plain(trained=without("4")), "no update", "4"),
    Fault("branch detached", lambda: plain(model=Branches(detached=True)), "detached", "right"),
    Fault("layer not called", lambda: plain(model=Branches(spare=True)), "unused", "spare"),
    Fault("learning rate 0", lambda: plain(optimizer=sgd(0.0)), "no training", "0"),
    Fault("learning rate falls to 0", lambda: plain(changes=rate(0.0)), "no training", "0", START),
    Fault("learning rate far too small", lambda: plain(optimizer=sgd(1e-5)), "small update", "0"),
    Fault("learning rate far too large", lambda: plain(optimizer=adam(1.0)), "large update", "0"),
    Fault(
        "learning rate multiplied by its schedule",
        lambda: plain(
            scheduler=lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [30], gamma=20.0), optimizer=sgd(0.1), steps=60
        ),
        "rate jump",
        "",
        30,
    ),
    Fault(
        "one deep layer initialised at another scale",
        lambda: plain(model=changed_at("8.weight", mlp(8, activation=nn.Tanh), lambda w: w.mul_(60)), steps=20),
        "odd scale",
        "8",
    ),
    Fault(
        "one layer is missing in a checkpoint that is loaded",
        lambda: plain(optimizer=sgd(0.5), changes=changed("2.weight", lambda w: torch.nn.init.normal_(w, std=0.3))),
        "replaced weight",
        "2",
        START,
    ),
    Fault("learning rate jumps", lambda: plain(optimizer=adam(), changes=rate(1.0)), "rate jump", "", START),
    Fault(
        "saturated tanh",
        lambda: plain(
            model=mlp(activation=nn.Tanh), optimizer=sgd(0.01), changes={0: lambda t: scaled(t.model[2], 200.0)}
        ),
        "saturation",
        "2",
    ),
    Fault(
        "ReLU layer dies", lambda: plain(changes=changed("2.bias", lambda b: b.fill_(-50))), "dead units", "2", START
    ),
    Fault(
        "weight of rank 1",
        lambda: plain(changes=changed("2.weight", rank_one)),
        "rank collapse",
        "2",
        START,
        headline=("replaced weight", "2"),
    ),
    Fault(
        "constant initial weights", lambda: plain(model=constant(mlp(), 0.1), optimizer=sgd(0.01)), "rank collapse", "0"
    ),
    Fault("initial weights of 0", lambda: plain(model=constant(mlp(), 0.0)), "zero gradient", "0"),
    Fault(
        "NaN in the inputs",
        lambda: plain(batch=at_start(points(), lambda x, y: (x * float("nan"), y), once=True)),
        "NaN",
        "0",
        START,
    ),
    Fault(
        "infinite weight",
        lambda: plain(changes=changed("4.weight", lambda w: w[0].fill_(float("inf")))),
        "NaN",
        "4",
        START,
    ),
    Fault("weight decay far too large", lambda: plain(changes=weight_decay(9.95)), "weight collapse", "0", START),
    Fault(
        "weight decay of one group far too large",
        lambda: plain(optimizer=one_group_decays, model=mlp(6), changes={START: decay_of_last_group}),
        "weight collapse",
        "4",
        START,
    ),
    Fault(
        "weights in bfloat16 with small steps",
        lambda: plain(model=mlp().bfloat16(), batch=in_bfloat16(points()), optimizer=sgd(1e-2)),
        "rounded updates",
        "0",
    ),
    Fault("labels shuffled", lambda: plain(batch=shuffled(points()), optimizer=sgd(0.01)), "plateau", ""),
    Fault("zero_grad before step", lambda: plain(order=("backward", "zero", "step")), "no training", "0"),
    Fault("backward missing", lambda: plain(order=("zero", "step")), "no training", "0"),
    Fault(
        "optimizer of a copy",
        lambda: plain(trained=lambda model: list(copy.deepcopy(model).parameters())),
        "no training",
        "0",
    ),
    Fault(
        "everything dropped out",
        lambda: plain(model=with_dropout(), changes={START: all_dropped}),
        "zero gradient",
        "0",
        START,
    ),
    Fault(
        "saturated output with squared error",
        lambda: plain(objective=sigmoid_squares, changes=changed("6.bias", large_bias)),
        "vanishing",
        "0",
        START,
    ),
    Fault(
        "loss diverges",
        lambda: plain(
            model=mlp(2, outputs=1), batch=regression(), objective=F.mse_loss, optimizer=sgd(0.05), changes=rate(20.0)
        ),
        "divergence",
        "",
        START,
        headline=("rate jump", ""),
    ),
    Fault(
        "one bad batch",
        lambda: plain(
            model=mlp(outputs=1),
            batch=at_start(regression(), lambda x, y: (x, y + 30), once=True),
            objective=F.mse_loss,
            optimizer=sgd(1e-3),
        ),
        "loss spike",
        "",
        START,
    ),
    Fault("batch norm in eval mode", lambda: convolutional(each=eval_of(nn.BatchNorm2d)), "eval mode", "1"),
    Fault("network in eval mode", lambda: convolutional(each=all_eval), "eval mode", "0"),
    Fault(
        "network left in eval mode by a validation",
        lambda: convolutional(each=lambda training, step: training.model.train(step < START)),
        "eval mode",
        "0",
        START,
    ),
    Fault(
        "channels die behind batch norm",
        lambda: convolutional(changes=changed("4.bias", lambda b: b.fill_(-20))),
        "dead units",
        "4",
        START,
    ),
    Fault(
        "weight of a convolution explodes",
        lambda: convolutional(changes=changed("3.weight", lambda w: w.mul_(50))),
        "spectral explosion",
        "3",
        START,
    ),
    Fault(
        "inputs not scaled",
        lambda: convolutional(model=cnn(norm=False), batch=at_start(pictures(), lambda x, y: (1e6 * x, y), once=False)),
        "overflow",
        "0",
        START,
    ),
    Fault(
        "zero_grad forgotten",
        lambda: convolutional(optimizer=sgd(1e-3), changes=attribute("order", ("backward", "step"))),
        "accumulated gradient",
        "0",
        START,
    ),
    Fault(
        "convolution missing in the optimizer", lambda: convolutional(trained=without("3"), every=5), "no update", "3"
    ),
    Fault(
        "weights pushed one way",
        lambda: language(changes=changed("head.weight", lambda w: w.add_(1.0))),
        "drift",
        "head",
        START,
    ),
    Fault(
        "attention detached",
        lambda: language(model=Transformer(detached=1)),
        "detached",
        "blocks.1.norm1",  # attention is all that uses it
    ),
    Fault("head missing in the optimizer", lambda: language(trained=without("head")), "no update", "head"),
    Fault("embedding frozen", lambda: language(changes=frozen("embedding")), "frozen", "embedding", START),
    Fault("transformer never updated", lambda: language(optimizer=adam(0.0)), "no training", "place"),
    Fault(
        "query weights infinite",
        lambda: language(changes=changed("blocks.0.attention.in_proj_weight", lambda w: w[0].fill_(float("inf")))),
        "NaN",
        "blocks.0.attention.in_proj_weight",
        START,
    ),
    Fault(
        "recurrence amplifies",
        lambda: recurrent(
            model=Recurrent(nn.RNN, nonlinearity="relu"),
            optimizer=sgd(1e-6),
            changes=changed("rnn.weight_hh_l0", lambda w: w.mul_(20)),
        ),
        "exploding",
        "rnn.weight_ih_l0",
        START,
        headline=("replaced weight", "rnn.weight_hh_l0"),
    ),
    Fault(
        "NaN in the targets",
        lambda: recurrent(
            batch=at_start(
                lambda step: (series()(step)[0], series()(step)[1].float()),
                lambda x, y: (x, y * float("nan")),
                once=True,
            ),
            objective=lambda outputs, targets: F.binary_cross_entropy_with_logits(outputs[:, 0], targets),
        ),
        "NaN",
        "rnn.weight_ih_l0",
        START,
        headline=("NaN", ""),
    ),
    Fault(
        "zero_grad never called",
        lambda: recurrent(order=("backward", "step")),
        "accumulated gradient",
        "rnn.weight_ih_l0",
    ),
    Fault(
        "recurrent weights missing in the optimizer",
        lambda: recurrent(trained=without("rnn")),
        "no update",
        "rnn.weight_ih_l0",
    ),
    Fault(
        "update gates shut by their bias",
        lambda: recurrent(model=with_bias(Recurrent(nn.GRU, num_layers=3), 5.0)),
        "vanishing",
        "rnn.weight_ih_l0",
    ),
    Fault("state detached", lambda: recurrent(model=Recurrent(detached=True)), "no gradient", "rnn.weight_ih_l0"),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
