from math import inf, nan

import pytest

from hfprune.rounding import rounded


@pytest.mark.parametrize(
    ("form", "number", "doubt", "text"),
    [
        ("{:.3f}", 8.2904, 0.799, "8.29"),
        ("{:.3f}", 0.7994, 0.799, "0.80"),
        # No finer than the form.
        ("{:.3f}", 0.78512, 0.0002, "0.785"),
        # Coarser than whole numbers.
        ("{:,.2f}", 123_492.06, 83_977.14, "123,000"),
        ("{:,.2f}", 83_977.14, 83_977.14, "84,000"),
        ("{:+.1f}", -0.46, 12.0, "-0.5"),
        ("{:+.1%}", 1.1584, 0.27, "+116%"),
        ("× {:.2f}", 3.2449, 4.9, "× 3.2"),
        # An end that is not 1, or not 0, does not become it.
        ("{:.2f}", 0.98, 4.9, "0.98"),
        ("{:+.3f}", 0.004, 0.5, "+0.004"),
        ("{:+.3f}", 0.0, 0.5, "+0.00"),
        # A doubt that is not known changes nothing.
        ("{:.2f}", 3.14159, None, "3.14"),
        ("{:.2f}", 3.14159, nan, "3.14"),
        ("{:.2f}", 3.14159, 0.0, "3.14"),
        ("{:.2f}", inf, 0.5, "inf"),
        ("{:,}", 1234, 500, "1,234"),
    ],
)
def test_numbers_have_the_decimals_that_their_doubt_allows(form, number, doubt, text) -> None:
    assert rounded(form, number, doubt) == text
