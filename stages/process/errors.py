"""Errors that the user can mend, and their one or two lines."""

import os
import re


class UserError(Exception):
    """A mistake in params, data, files, network or tracker; its message is one or two lines with the remedy."""


def one_line(text: object, limit: int = 300) -> str:
    """Return `text`, of an exception its first line or else its name, as one line that a terminal only shows.

    It has no more characters than `limit`; the line of an exception has no credentials.
    """
    if isinstance(text, Exception):
        # Longer ones only cost time.
        text = without_credentials((str(text).strip()[:10_000] or type(text).__name__).splitlines()[0])
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text)[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


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
