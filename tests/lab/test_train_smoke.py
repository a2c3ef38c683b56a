"""All recipes run on synthesised tunes, and the product identifies music with the exported files."""

import sys

import pytest

for package in ("torch", "onnx", "pyroomacoustics"):
    pytest.importorskip(package, reason="training needs PyTorch and other packages: make lab")

from lab.train import smoke


@pytest.mark.heavy
def test_every_model_is_trained_exported_and_identifies_music(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "argv", ["smoke", str(tmp_path / "smoke")])
    smoke.main()
    assert "recordings and 4 covers identified with the exported files" in capfd.readouterr().out
