"""Running networks: ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_network(network: bytes, threads: int = 1) -> InferenceSession:
    """Open an ONNX graph that runs on `threads` threads. The session may be used from several threads at once."""
    import onnxruntime  # takes 0.1 s: commands that run no network should not wait for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads release their core to other processes instead of spinning.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
