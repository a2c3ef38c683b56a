"""Load an exported ONNX graph into a network for further training, so that checkpoints need not be kept.

The export folds batch normalisations into the layers before them. `restore` keeps the folded weights and makes the
normalisations neutral. `settle` then sets their means and deviations from data, without changing the output of the
network in evaluation mode, so that training continues as it would have before the export.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lab.models.fingerprint import FingerprintNetwork

PRODUCTS = {"Conv": False, "Gemm": False, "MatMul": True}  # operators with weights, and whether these are transposed
FAINT = 0.02  # deviation of new rows, relative to the restored ones
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def restore(network: nn.Module, graph: Path, prefix: str = "", later: str | None = None) -> None:
    """Load the weights of a graph that `lab.ship.export_cover` wrote.

    Axes of the last layer that the export left out get weights near zero.

    Args:
        prefix: of the network's weights in the graph.
        later: layers whose names begin with it may be missing in the graph; they are left as they are.

    Raises ValueError when the graph lacks another layer of the network.
    """
    model = onnx.load(graph)
    constants = _constants(model)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    found = {name: constants[prefix + name] for name in state if prefix + name in constants}
    for node in model.graph.node:
        path = node.name.strip("/").split("/")
        if node.op_type not in PRODUCTS or len(path) < 2 or node.input[1] not in constants:
            continue
        layer = _module_name(path[:-1]).removeprefix(prefix)
        if f"{layer}.weight" not in state:
            continue
        weight = constants[node.input[1]]
        found[f"{layer}.weight"] = weight.T if PRODUCTS[node.op_type] else weight
        if len(node.input) > 2 and f"{layer}.bias" not in state:
            found |= _folded(network, layer, constants[node.input[2]])
        elif len(node.input) > 2:
            found[f"{layer}.bias"] = constants[node.input[2]]
    missing = [name for name in state if name not in found]
    if others := [name for name in missing if later is None or not name.startswith(later)]:
        raise ValueError(f"{graph.name} belongs to another network: it lacks {', '.join(others[:3])}")
    network.load_state_dict({name: _filled(value, state[name]) for name, value in found.items()}, strict=False)


def _module_name(path: list[str]) -> str:
    """`trunk`, `trunk.0`, `mix`, `mix.1` -> `trunk.0.mix.1`: elements of a sequence repeat its name."""
    parts: list[str] = []
    for part in path:
        if parts and parts[-1] == part.rpartition(".")[0]:
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _folded(network: nn.Module, layer: str, bias: Tensor) -> dict[str, Tensor]:
    """The normalisation after a layer, reduced to adding the bias."""
    parent, _, number = layer.rpartition(".")
    norm = f"{parent}.{int(number) + 1}"
    return {f"{norm}.{name}": value for name, value in _only_adding(bias, network.get_submodule(norm).eps).items()}


def _only_adding(bias: Tensor, epsilon: float) -> dict[str, Tensor]:
    return {
        "weight": torch.ones_like(bias),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1 - epsilon),
    }


def restore_integers(network: FingerprintNetwork, graph: Path) -> None:
    """Load the weights of a graph that `lab.ship.export` wrote, with the precision of its 8-bit integers.

    Raises ValueError when the graph belongs to a network of another shape.
    """
    model = onnx.load(graph)
    constants = _constants(model)
    made_by = {output: node for node in model.graph.node for output in node.output}

    def exact(name: str) -> Tensor:
        if name in constants:
            return constants[name]
        whole, scale, zero = (constants[each] for each in made_by[name].input)
        scale, zero = (each.reshape(-1, *[1] * (whole.ndim - 1)) for each in (scale, zero))
        return (whole.float() - zero.float()) * scale

    products = sorted(
        (node for node in model.graph.node if node.op_type in ("Conv", "Gemm")),
        key=lambda node: int(node.name.rsplit("_", 1)[1]),
    )  # in the order of `lab.ship.graph`
    layers: list[tuple[nn.Module, nn.Module | None]] = [(part[0], part[1]) for part in network.stem]
    times = [
        network.flatten,
        *(layer for block in network.trunk for layer in (block.first, block.second, block.shortcut)),
    ]
    layers += [(layer.linear, layer.norm) for layer in times] + [(network.head[0], None), (network.head[2], None)]
    if len(products) != len(layers):
        raise ValueError(f"{graph.name} belongs to another network: {len(products)} layers instead of {len(layers)}")
    with torch.no_grad():
        for node, (layer, norm) in zip(products, layers, strict=True):
            weight, bias = exact(node.input[1]), exact(node.input[2])
            if weight.shape[1:] != layer.weight.shape[1:] or len(weight) > len(layer.weight):
                raise ValueError(f"{graph.name} belongs to another network: {node.name} has {list(weight.shape)}")
            layer.weight.copy_(_filled(weight, layer.weight))
            if norm is None:
                layer.bias.copy_(_filled(bias, layer.bias))
            else:
                norm.load_state_dict(_only_adding(bias, norm.eps), strict=False)


def _constants(model: onnx.ModelProto) -> dict[str, Tensor]:
    return {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer}


def _filled(value: Tensor, like: Tensor) -> Tensor:
    """`value` extended to the rows of `like`; missing rows are small but not zero, because zeros would not learn."""
    if len(value) == len(like):
        return value
    whole: Tensor = FAINT * value.std() * torch.randn_like(like)
    whole[: len(value)] = value
    return whole


def settle(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set means and deviations of all normalisations from the batches; the output in evaluation mode stays the same."""
    norms = [module for module in network.modules() if isinstance(module, NORMS)]
    counts = dict.fromkeys(norms, 0)
    sums = {norm: torch.zeros(norm.num_features, dtype=torch.float64) for norm in norms}
    squares = {norm: torch.zeros(norm.num_features, dtype=torch.float64) for norm in norms}

    def count(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1).double()
        counts[norm] += values.shape[1]
        sums[norm] += values.sum(1)
        squares[norm] += values.square().sum(1)

    hooks = [norm.register_forward_pre_hook(count) for norm in norms]
    network.eval()
    with torch.no_grad():
        for batch in batches:
            network(batch)
        for hook in hooks:
            hook.remove()
        for norm, number in counts.items():
            first, second = sums[norm] / number, squares[norm] / number
            mean, variance = first.float(), (second - first.square()).clamp(min=1e-12).float()
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            norm.bias.add_((mean - norm.running_mean) * scale)
            norm.weight.copy_(scale * (variance + norm.eps).sqrt())
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    network.train()
