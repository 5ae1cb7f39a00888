"""How many images are worked on at once."""

import pytest

from stages.dataset.pieces import pieces


@pytest.mark.parametrize(
    ("shape", "step", "size"),
    [
        ((28, 28), 1, 4096),
        ((28, 28), 100, 4000),
        ((224, 224, 3), 1, 83),
        ((224, 224, 3), 256, 256),
        ((9999, 9999), 1, 1),
    ],
)
def test_large_images_are_fewer_in_whole_steps_and_none_is_left_out(shape, step, size):
    found = [range(10_000)[piece] for piece in pieces(10_000, shape, step)]
    assert [index for piece in found for index in piece] == [*range(10_000)]
    assert {len(piece) for piece in found[:-1]} == {size}


def test_of_no_images_there_is_no_piece():
    assert [*pieces(0, (28, 28))] == []
