from math import inf, nan

import pytest

from hfprune.rounding import rounded, rounded_interval


@pytest.mark.parametrize(
    ("form", "number", "doubt", "text"),
    [
        ("{:.3f}", 8.2904, 0.799, "8.29"),
        ("{:.3f}", 0.7994, 0.799, "0.80"),
        ("{:.2f}", 1.03, 1.03, "1.0"),
        # No finer than the form.
        ("{:.3f}", 0.78512, 0.0002, "0.785"),
        # Coarser than whole numbers.
        ("{:,.2f}", 123_492.06, 83_977.14, "123,000"),
        ("{:+.1f}", -0.46, 12.0, "+0"),
        ("{:+.1%}", 1.1584, 0.27, "+116%"),
        # A doubt that is not known changes nothing.
        ("{:.2f}", 3.14159, None, "3.14"),
        ("{:.2f}", 3.14159, 0.0, "3.14"),
        ("{:.2f}", inf, 0.5, "inf"),
        ("{:,}", 1234, 500, "1,234"),
    ],
)
def test_numbers_have_the_decimals_that_their_doubt_allows(form, number, doubt, text) -> None:
    assert rounded(form, number, doubt) == text


@pytest.mark.parametrize(
    ("form", "numbers", "about", "texts"),
    [
        # All have the same decimals.
        ("{:+.3f}", (0.2214, -0.0031, 0.4459), {"neutral": 0}, ["+0.221", "-0.003", "+0.446"]),
        ("{:+.2f}", (21.2, 2.4, 40.0), {"neutral": 0}, ["+21", "+2", "+40"]),
        # An end that is not 0, or not 1, does not become it, if need be beyond the form.
        ("{:+.2f}", (0.33, 0.0044, 0.66), {"neutral": 0}, ["+0.330", "+0.004", "+0.660"]),
        ("{:.2f}", (1.036, 1.0023, 1.07), {"neutral": 1, "ratio": True}, ["1.04", "1.002", "1.07"]),
        ("{:.2f}", (1.0007, 0.85, 1.05), {"neutral": 1, "ratio": True}, ["1.00", "0.85", "1.05"]),
        # Nor does it cross the threshold of a claim.
        ("{:.2f}", (0.66, 0.63, 0.6941), {"neutral": 0.695, "ratio": True}, ["0.66", "0.63", "0.69"]),
        ("{:.2f}", (0.72, 0.6965, 0.75), {"neutral": 0.699, "ratio": True}, ["0.72", "0.697", "0.75"]),
        # Those of a ratio have decimals of their own: errors multiply.
        ("{:.2f}", (3.2449, 0.98, 10.79), {"neutral": 1, "ratio": True}, ["3.2", "0.98", "11"]),
        ("{:,.2f}", (590.0, 78.0, 4500.0), {"ratio": True}, ["600", "80", "4,500"]),
        # An interval that is not known changes nothing.
        ("{:.2f}", (3.14159, nan, nan), {"neutral": 0}, ["3.14", "nan", "nan"]),
        ("{:.2f}", (2.0, 2.0, 2.0), {"neutral": 0}, ["2.00", "2.00", "2.00"]),
    ],
)
def test_intervals_have_two_figures_of_their_half(form, numbers, about, texts) -> None:
    assert rounded_interval(form, *numbers, **about) == texts
