"""How networks are run: onnxruntime on the processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_network(network: bytes, threads: int = 1) -> InferenceSession:
    """An ONNX graph, ready to run with so many threads. Safe to use from several threads at once."""
    import onnxruntime  # 0.1 s: nobody who only lists a library should wait for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # threads that have nothing to do for a moment shall leave the core to whoever has
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
