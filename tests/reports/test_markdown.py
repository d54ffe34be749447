"""Tables, percentages and spreads."""

import pytest

from dense_hf.markdown import percent, spread, table


def test_a_table_has_sides_thousands_and_empty_corners():
    text = table(("", "images", "share"), [("train", 12_345, "1 %"), ("all", 1, "")], "lr")
    assert text == "| | images | share |\n|---|---:|---:|\n| train | 12,345 | 1 % |\n| all | 1 | |"


@pytest.mark.parametrize(
    ("share", "digits", "text"), [(0.385, 1, "38.5"), (0.0, 2, "0.00"), (None, 1, "-"), (float("nan"), 1, "-")]
)
def test_percentages(share, digits, text):
    assert percent(share, digits) == text


def test_spreads():
    assert spread(1.5, 1.25, 2) == "1.50 (1.25 to 2.00)"
    assert spread(0.5, -1, 2, "+.1f") == "+0.5 (-1.0 to +2.0)"
