"""What the user has to change, said in a line or two."""

import re


class UserError(Exception):
    """A mistake in params, data, files, network or tracker; its message is one or two lines with the remedy."""


def without_credentials(text: str) -> str:
    """Return `text` with the user and password cut out of every URL in it, also of a URL that is not well formed."""
    text = re.sub(r"://(?:(?!://)[^@\n])*@", "://", text)
    text = re.sub(r"[^\s=/:]+:[^\s/@]+@", "", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token)=[^&\s]+", r"\1=…", text)
