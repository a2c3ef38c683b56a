"""The fingerprint network as an ONNX graph: the same function, arranged for the runtime.

Batch normalisations are folded into the preceding weights, every shape but the number of windows is constant, and a
convolution over time is one gather of rows and one matrix product over the whole batch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from lab.models.fingerprint import FingerprintNetwork, Residual, TimeConvolution
from songprint.fingerprint import logmel

OPSET = 17


def build(network: FingerprintNetwork) -> onnx.ModelProto:
    """`logmel (n, 128, 32)` -> `vectors (n, 128)`, both float32."""
    graph = _Graph()
    x = graph.add("Transpose", "logmel", perm=[0, 2, 1])  # (n, 32, 128)
    x = graph.reshape(x, -1, 1, logmel.WINDOW_FRAMES, logmel.BANDS)
    for convolution, norm, _ in network.stem:
        x = graph.convolve(x, fuse_conv_bn_eval(convolution, norm))  # (n, c, time, bands)
        x = graph.add("Relu", x)
    steps = logmel.WINDOW_FRAMES // network.stem[0][0].stride[0]  # 16
    x = graph.add("Transpose", x, perm=[0, 2, 3, 1])
    x = graph.reshape(x, -1, network.flatten.linear.in_features)  # (n * steps, bands * c)
    x = graph.add("Relu", graph.multiply(x, _folded(network.flatten)))  # (n * steps, trunk)
    for residual in network.trunk:
        x = _residual(graph, x, residual, steps)
        steps //= 2
    hidden, activation, last = network.head
    x = graph.reshape(x, -1, hidden.in_features)  # (n, 2 * trunk)
    x = graph.add("Elu", graph.multiply(x, hidden), alpha=activation.alpha)
    x = graph.multiply(x, last)
    graph.add("LpNormalization", x, output="vectors", axis=1, p=2)
    return graph.model(last.out_features)


def _residual(graph: _Graph, x: str, residual: Residual, steps: int) -> str:
    """(n * steps, c) -> (n * steps / 2, c')."""
    y = graph.add("Relu", _convolve_time(graph, x, residual.first, steps))
    y = _convolve_time(graph, y, residual.second, steps // 2)
    return graph.add("Relu", graph.add("Add", y, _convolve_time(graph, x, residual.shortcut, steps)))


def _convolve_time(graph: _Graph, x: str, layer: TimeConvolution, steps: int) -> str:
    """(n * steps, c) -> (n * steps / stride, c'): padded with zero rows, then with taps side by side."""
    inputs = layer.linear.in_features // layer.kernel
    padding = layer.kernel // 2
    first = np.arange(0, steps + 2 * padding - layer.kernel + 1, layer.stride)
    rows = (first[:, None] + np.arange(layer.kernel)).ravel()
    x = graph.reshape(x, -1, steps, inputs)
    if padding:
        after = max(0, int(rows.max()) + 1 - steps - padding)
        x = graph.add("Pad", x, graph.constant(np.array([0, padding, 0, 0, after, 0])))
    x = graph.add("Gather", x, graph.constant(rows), axis=1)
    return graph.multiply(graph.reshape(x, -1, layer.linear.in_features), _folded(layer))


def _folded(layer: TimeConvolution) -> nn.Linear:
    return fuse_linear_bn_eval(layer.linear, layer.norm)


class _Graph:
    """Nodes and constants in order. Methods return the name of the value that they add."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: np.ndarray | Tensor) -> str:
        if isinstance(values, Tensor):
            values = values.detach().numpy()
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.constant(np.array(shape)))

    def multiply(self, x: str, layer: nn.Linear) -> str:
        """(m, inputs) -> (m, outputs)"""
        return self.add("Gemm", x, self.constant(layer.weight), self.constant(layer.bias), transB=1)

    def convolve(self, x: str, layer: nn.Conv2d) -> str:
        return self.add(
            "Conv",
            x,
            self.constant(layer.weight),
            self.constant(layer.bias),
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=list(layer.padding) * 2,
        )

    def model(self, dim: int) -> onnx.ModelProto:
        windows = helper.make_tensor_value_info("logmel", TensorProto.FLOAT, ["n", logmel.BANDS, logmel.WINDOW_FRAMES])
        vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", dim])
        graph = helper.make_graph(self._nodes, "fingerprint", [windows], [vectors], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model
