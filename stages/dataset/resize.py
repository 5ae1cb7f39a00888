"""Images of one size, from images of any."""

import numpy as np


def resized(image: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    """Return a uint8 image (height, width) or (height, width, 3) in another `size`, height and width.

    `how`: "pad" keeps the aspect and fills up with black, "crop" keeps it and cuts off what is too much on both sides,
    "stretch" does not keep it. Pillow computes in whole numbers, and so alike on every processor.
    """
    if image.shape[:2] == size:
        return image
    from PIL import Image, ImageOps

    picture, (height, width) = Image.fromarray(image), size
    if how == "pad":
        made = ImageOps.pad(picture, (width, height), Image.Resampling.BICUBIC, color=0)
    elif how == "crop":
        made = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    else:
        made = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(made)
