"""Errors that the user can mend, and their one or two lines."""

import os
import re


class UserError(Exception):
    """A mistake in params, data, files, network or tracker; its message is one or two lines with the remedy."""


def one_line(text: object, limit: int = 300) -> str:
    """Return the first line of `text`, of an exception without one its name, for a message.

    It has no credentials, nothing that a terminal would act upon, and no more characters than `limit`.
    """
    # Longer ones only cost time.
    first, *_ = (str(text).strip()[:10_000] or type(text).__name__).partition("\n")
    line = without_credentials("".join(each if each.isprintable() else repr(each)[1:-1] for each in first))
    return line if len(line) <= limit else f"{line[: limit - 3]}…"


def without_credentials(text: str) -> str:
    """Return `text` without the user and password of every URL in it, also of a URL that is not well formed.

    The values of all parameters of URLs go too: keys and signatures have many names. So do those of
    MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN, wherever they stand.
    """
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        # As a header that cannot be sent, say: it comes without a name.
        if secret := os.environ.get(name, "").strip():
            text = text.replace(secret, "…")
    # To the last @, as a password may have one too; only before the first there may be a space.
    text = re.sub(r"://(?:(?!://)[^@\n])*@(?:(?!://)[^@\s]*@)*", "://", text)
    text = re.sub(r"[^\s=/:]+:[^\s/@]+@", "", text)
    text = re.sub(r"([?&;#][^\s=?&;#]+)=[^\s&;#]+", r"\1=…", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token)=[^&\s]+", r"\1=…", text)
