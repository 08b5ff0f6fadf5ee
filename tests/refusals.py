"""Messages of refused calls."""

import pytest


def refusal(error, call, *arguments, **settings):
    """The message of an error of exactly this type."""
    with pytest.raises(error) as caught:
        call(*arguments, **settings)
    assert type(caught.value) is error
    return str(caught.value)
