"""Files that other tools leave beside the rows: `_SUCCESS`, `_metadata`, `_temporary/`, `.part-0.crc`, `.git/`."""

import glob
import logging
from collections.abc import Sequence

from samsum_stream.errors.once import warn_once
from samsum_stream.errors.redaction import redact

logger = logging.getLogger(__name__)


def visible(paths: Sequence[str], *, pattern: str) -> list[str]:
    """The paths without hidden ones: those with a name that starts with `_` or `.`, as Spark, Arrow and Hive have it.

    Names that the pattern spells are visible, and so are the matches of a pattern like `_*`, and `_key=value`.

    Args:
        paths: The matches of `pattern`; of a folder, all files in it and below.
        pattern: A folder or a glob.
    """
    names = pattern.strip("/").split("/")
    num_spelled = next((number for number, name in enumerate(names) if glob.has_magic(name)), len(names))
    signs = {"_", "."} - {name[:1] for name in names[num_spelled:]}

    def is_hidden(path: str) -> bool:
        below = path.strip("/").split("/")[num_spelled:]
        return any(name[:1] in signs and "=" not in name and name != "." for name in below)

    kept = [path for path in paths if not is_hidden(path)]
    suffixes = {_suffix(path) for path in kept}
    for path in paths:
        if is_hidden(path) and _suffix(path) in suffixes - {""}:
            warn_once(logger, "%s is hidden, and not read: name it to read it", redact(path))
    return kept


def _suffix(path: str) -> str:
    return path.rpartition("/")[2].lstrip("._").partition(".")[2]
