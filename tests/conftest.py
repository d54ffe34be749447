"""Shared by all tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Marks that the common tests of transformers bring along."""
    for mark in (
        "accelerate_tests",
        "flash_attn_test",
        "flash_attn_3_test",
        "flash_attn_4_test",
        "generate",
        "torch_compile_test",
    ):
        config.addinivalue_line("markers", f"{mark}: set by transformers")
